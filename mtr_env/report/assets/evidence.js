// Where values come from: references such as p3s1 (paragraph 3, sentence 1) or t5 (fact 5) of the question's evidence.

// What a reference stands for: {title, text, sentences} with the references of a fact's sentences.
function resolve(question, reference) {
  const [, kind, first, second] = /^([ptc])(\d+)(?:s(\d+))?$/.exec(reference) ?? [];
  if (kind === "p") {
    const paragraph = question.paragraphs[Number(first)];
    const sentence = second === undefined ? null : paragraph?.sentences[Number(second)];
    if (paragraph && second === undefined) return { title: paragraph.title, text: null };
    if (sentence !== undefined && paragraph) return { title: paragraph.title, text: sentence };
  }
  if (kind === "t") {
    const fact = question.facts[Number(first)];
    if (fact)
      return {
        title: `${fact.subject} · ${fact.relation}`,
        text: fact.object,
        sentences: fact.sources,
        isFact: true,
      };
  }
  if (kind === "c")
    return {
      title: `document ${first} of the corpus${second === undefined ? "" : `, sentence ${second}`}`,
      text: null,
    };
  if (reference === "q") return { title: "the question itself", text: question.text };
  if (reference.startsWith("m")) return { title: "told by the model that plays the tools", text: null };
  return { title: "not in this question's evidence", text: null };
}

// The strings and numbers of a JSON value, without those that only repeat an argument.
function strings(value, echoes = new Set(), found = []) {
  if (typeof value === "string" || typeof value === "number") {
    if (!echoes.has(String(value))) found.push(String(value));
  } else if (value instanceof BigNumber) found.push(value.text);
  else if (value !== null && typeof value === "object")
    for (const item of Object.values(value)) strings(item, echoes, found);
  return found;
}

// The text with what the response states of it marked: all of it where the response holds it as a whole.
function marked(sentence, values) {
  const lower = sentence.toLowerCase();
  if (values.some((value) => value.toLowerCase().includes(lower))) return [h("mark", { dir: "auto" }, sentence)];
  const spans = [];
  for (const value of values) {
    const needle = value.toLowerCase();
    if (!needle || lower.length !== sentence.length) continue; // a letter whose lower case is longer moves all places
    for (let at = lower.indexOf(needle); at >= 0; at = lower.indexOf(needle, at + needle.length)) {
      if (!/[\p{L}\p{N}]/u.test(`${lower[at - 1] ?? ""}${lower[at + needle.length] ?? ""}`))
        spans.push([at, at + needle.length]);
    }
  }
  spans.sort((a, b) => a[0] - b[0] || b[1] - a[1]);
  const pieces = [];
  let end = 0;
  for (const [from, to] of spans) {
    if (from < end) continue;
    pieces.push(sentence.slice(end, from), h("mark", null, sentence.slice(from, to)));
    end = to;
  }
  return [...pieces, sentence.slice(end)];
}

const FEW = 3;

// Where a response came from: each place with its sentence.
function origins(question, call, response, needed) {
  const values = strings(response.value, new Set(strings(call.arguments)));
  const stated = response.sources.filter(
    (source) => !/^[pc]\d+$/.test(source) || !response.sources.some((other) => other.startsWith(`${source}s`)),
  );
  const items = stated.map((source) => origin(question, source, values, needed));
  return h(
    "div",
    { class: "origins" },
    h("h5", null, "Where it came from"),
    h("ul", { class: "plain" }, items.slice(0, FEW)),
    items.length > FEW
      ? h(
          "details",
          null,
          h("summary", null, `${count(items.length - FEW)} more`),
          h("ul", { class: "plain" }, items.slice(FEW)),
        )
      : null,
  );
}

function origin(question, source, values, needed) {
  const found = resolve(question, source);
  const quoted = (found.sentences ?? [])
    .map((reference) => resolve(question, reference))
    .filter((sentence) => sentence.text !== null);
  return h(
    "li",
    { class: needed.has(source) ? "needed" : null },
    h("button", { type: "button", class: "ref", "data-ref": source, title: "Show it among the paragraphs" }, source),
    said(found.title, { class: "where" }),
    needed.has(source) ? h("span", { class: "tag evidence" }, "evidence") : null,
    found.text === null
      ? null
      : h("q", { dir: "auto", class: found.isFact ? "fact" : null }, marked(found.text, values)),
    quoted.map((sentence) => h("q", { dir: "auto" }, marked(sentence.text, values))),
  );
}

// ---------------------------------------------------------------------------------------------------------- the panel

// Which references are evidence of the question; a fact's sentences are, too.
function neededReferences(question) {
  const needed = new Set(question.evidence.flatMap((unit) => unit.any_of));
  for (const reference of [...needed])
    for (const sentence of resolve(question, reference).sentences ?? []) needed.add(sentence);
  return needed;
}

// The calls that stated a reference, by reference; a fact's sentences are stated with it.
function sightings(trace) {
  const seen = new Map();
  trace.steps.forEach((step, number) =>
    step.responses.forEach((response, call) => {
      for (const source of response?.sources ?? []) {
        for (const reference of [source, ...(resolve(trace.question, source).sentences ?? [])]) {
          if (!seen.has(reference)) seen.set(reference, []);
          seen.get(reference).push([number, call]);
        }
      }
    }),
  );
  return seen;
}

function evidencePanel({ trace, why }, goTo) {
  const { question } = trace;
  const needed = neededReferences(question);
  const seen = sightings(trace);
  const found = why.evidence.filter(Boolean).length;
  return h(
    "details",
    { class: "panel", open: true },
    h(
      "summary",
      null,
      h("h3", null, "Evidence"),
      h("span", { class: "small" }, why.evidence.length ? `${found} of ${why.evidence.length} seen` : "not annotated"),
    ),
    h(
      "ol",
      { class: "units" },
      question.evidence.map((unit, i) => evidenceUnit(question, unit, why.evidence[i], goTo)),
    ),
    question.decomposition.length
      ? h(
          "details",
          null,
          h("summary", null, "Decomposition"),
          h(
            "ol",
            null,
            question.decomposition.map(({ text, answer }) => h("li", null, said(text), " → ", said(answer))),
          ),
        )
      : null,
    h(
      "details",
      { class: "paragraphs" },
      h(
        "summary",
        null,
        `All ${plural(question.paragraphs.length, "paragraph")}${question.facts.length ? ` and ${plural(question.facts.length, "fact")}` : ""}`,
      ),
      question.paragraphs.map((paragraph, p) => [
        h("h4", { "data-at": `p${p}`, dir: "auto" }, h("span", { class: "ref" }, `p${p}`), paragraph.title),
        paragraph.sentences.map((sentence, i) => statement(`p${p}s${i}`, sentence, needed, seen, goTo)),
      ]),
      question.facts.length ? h("h4", null, "Facts") : null,
      question.facts.map((fact, t) =>
        statement(`t${t}`, `${fact.subject} · ${fact.relation} → ${fact.object}`, needed, seen, goTo),
      ),
    ),
  );
}

function statement(reference, text, needed, seen, goTo) {
  const calls = seen.get(reference) ?? [];
  return h(
    "p",
    { class: `statement ${needed.has(reference) ? "needed" : ""} ${calls.length ? "seen" : ""}`, "data-at": reference },
    h("span", { class: "ref" }, reference),
    said(text),
    needed.has(reference) ? h("span", { class: "tag evidence" }, "evidence") : null,
    calls.slice(0, 4).map((at) => placeLink(at, goTo)),
  );
}

function evidenceUnit(question, unit, first, goTo) {
  const shown = unit.any_of.map((reference) => resolve(question, reference));
  const best = shown.find((item) => item.text !== null && !item.isFact) ?? shown[0];
  return h(
    "li",
    { class: first ? "seen" : "missed" },
    h("b", { class: "tick", title: first ? "seen" : "not seen" }, first ? "✓" : "○"),
    said(best?.title ?? ""),
    best?.text ? h("q", { dir: "auto" }, best.text) : null,
    first ? placeLink(first, goTo) : h("span", { class: "small" }, "not seen"),
  );
}

function placeLink([step, call], goTo) {
  return h(
    "button",
    { type: "button", class: "place", onclick: () => goTo(step, call), title: "Go to the call" },
    `step ${step + 1}.${call + 1}`,
  );
}
