// One episode: its head and its steps.

const isAt = (places, step, call) => places.some(([s, c]) => s === step && c === call);
const chip = (kind, label, title) => h("span", { class: `tag ${kind}`, title }, label);

function traceHead({ trace, why, row }, { level = "h1", withQuestion = true } = {}) {
  const { question } = trace;
  const outcome = OUTCOMES[OUTCOME[row]];
  return h(
    "header",
    { class: "trace-head" },
    h(
      "p",
      { class: "over" },
      runName(COLUMNS.run[row]),
      said(words(question.family)),
      h("span", null, question.hops === null ? "hops unknown" : plural(question.hops, "hop")),
      h("span", null, `seed ${trace.seed}`),
      said(question.id, { class: "mono" }),
    ),
    withQuestion ? h(level, { dir: "auto" }, question.text) : null,
    h(
      "div",
      { class: "verdict" },
      h("b", { class: `badge o-${OUTCOME[row]}` }, outcome.sign),
      h(
        "dl",
        null,
        h(
          "div",
          null,
          h("dt", null, "answer"),
          h("dd", null, trace.steps.at(-1)?.answer == null ? h("em", null, "none") : said(trace.steps.at(-1).answer)),
        ),
        h(
          "div",
          null,
          h("dt", null, "gold"),
          h(
            "dd",
            null,
            said(question.answer),
            question.aliases.length
              ? h(
                  "span",
                  { class: "small" },
                  " also ",
                  question.aliases.map((alias, i) => [i ? ", " : "", said(alias)]),
                )
              : null,
          ),
        ),
        h("div", null, h("dt", null, "reward"), h("dd", null, why.reward === null ? "unscored" : fixed(why.reward))),
        h("div", null, h("dt", null, "F1"), h("dd", null, why.reward === null ? "–" : fixed(COLUMNS.f1[row], 2))),
        h("div", null, h("dt", null, "ended by"), h("dd", null, words(COLUMNS.stop[row]))),
        h("div", null, h("dt", null, "calls"), h("dd", null, count(COLUMNS.calls[row]))),
      ),
    ),
    why.unscored === null
      ? null
      : h("p", { class: "notice alarm" }, h("b", null, "Unscored, which is not 0: "), said(why.unscored)),
  );
}

// -------------------------------------------------------------------------------------------------------------- steps

function stepElement(entry, number, address, isNamed = false) {
  const { trace, why, tokens } = entry;
  const step = trace.steps[number];
  const needed = neededReferences(trace.question);
  const isPlain = step.calls.length === 0 && step.answer === null; // nothing in it was understood
  const loose = step.faults.filter((fault) => fault.call === null || fault.call >= step.calls.length);
  return h(
    "section",
    {
      class: `step ${runClass(COLUMNS.run[entry.row])}`,
      "data-step": number,
      tabindex: "-1",
      "aria-label": `Step ${number + 1}`,
    },
    h(
      "header",
      null,
      h("h3", null, `Step ${number + 1}`, h("span", { class: "small" }, ` of ${trace.setup.max_steps}`)),
      isNamed ? h("span", { class: "small" }, runName(COLUMNS.run[entry.row])) : null,
      tokens ? h("span", { class: "small" }, `${plural(tokens[number], "token")} sampled`) : null,
      h(
        "a",
        {
          class: "anchor",
          href: address(number),
          title: "Link to this step",
          "aria-label": `Link to step ${number + 1}`,
        },
        "#",
      ),
    ),
    why.thoughts[number]
      ? h("blockquote", { class: "thought", dir: "auto" }, longTextInline(why.thoughts[number]))
      : null,
    isPlain && step.action ? longText(step.action, { class: "written" }) : null,
    step.calls.map((call, i) => callElement(entry, number, i, needed)),
    loose.map(faultElement),
    step.answer === null ? null : answerElement(entry, step.answer),
    h(
      "div",
      { class: "raw" },
      step.action && !isPlain
        ? h("details", null, h("summary", null, "What the policy wrote"), longText(step.action, { class: "written" }))
        : null,
      step.observation
        ? h(
            "details",
            { open: isPlain },
            h("summary", null, "What it saw next"),
            longText(step.observation, { class: "written" }),
          )
        : null,
    ),
  );
}

const longTextInline = (text) => (text.length > LONG ? longText(text) : text);

function faultElement(fault) {
  const blame = DATA.blame[fault.kind];
  return h(
    "p",
    { class: `fault ${blame}` },
    h("b", null, `${words(fault.kind)}`),
    chip(`blame ${blame}`, `${blame}'s fault`),
    said(fault.message),
  );
}

function answerElement({ trace, row }, answer) {
  const isRight = COLUMNS.em[row] === 1;
  return h(
    "div",
    { class: `answer ${isRight ? "right" : "wrong"}` },
    h("h4", null, "Answer"),
    h(
      "p",
      null,
      h("b", { class: `badge o-${isRight ? "right" : "wrong"}` }, isRight ? "✓" : "✗"),
      said(answer),
      isRight ? null : h("span", { class: "small" }, " gold: ", said(trace.question.answer)),
    ),
  );
}

function callElement({ trace, why }, number, i, needed) {
  const step = trace.steps[number];
  const call = step.calls[i];
  const response = step.responses[i];
  const faults = step.faults.filter((fault) => fault.call === i);
  const isWasted = isAt(why.wasted, number, i);
  const unseen = response && faults.length > 0;
  return h(
    "div",
    { class: "call", "data-call": i, tabindex: "-1" },
    h(
      "div",
      { class: "asked" },
      h("code", { class: "tool-name", dir: "auto" }, call.name),
      argumentsOf(call),
      h(
        "span",
        { class: "flags" },
        response ? chip(response.origin, response.origin, "Who made the response") : null,
        isAt(why.invented, number, i)
          ? chip(
              "invented",
              "invented",
              "Uses a name or number that neither the question nor an earlier sourced value gave",
            )
          : null,
        isWasted ? chip("wasted", "nothing new", "Adds neither a new source nor a new computed value") : null,
        response && !isWasted && !unseen && response.origin !== "noise"
          ? chip("new", "new", "Adds a new source or a new computed value")
          : null,
      ),
    ),
    faults.map(faultElement),
    response
      ? responseElement(trace.question, call, response, needed, unseen)
      : h("p", { class: "small" }, "This call did not run."),
  );
}

function argumentsOf(call) {
  const entries = Object.entries(call.arguments);
  if (!entries.length) return h("code", { class: "arguments" }, "()");
  const isSmall =
    entries.every(([, value]) => value === null || typeof value !== "object") && plainLength(call.arguments) < 400;
  if (!isSmall) return jsonBox(call.arguments, { "aria-label": "Arguments" });
  return h(
    "code",
    { class: "arguments", dir: "auto" },
    entries.map(([name, value], i) => [i ? ", " : "", h("span", { class: "j-key" }, name), " = ", ...pretty(value)]),
  );
}

function responseElement(question, call, response, needed, unseen) {
  const usage = response.usage;
  return h(
    "div",
    { class: `response ${unseen ? "unseen" : ""}` },
    h(
      "p",
      { class: "small" },
      unseen ? h("b", null, "kept for the record: the policy did not see it") : null,
      response.note ? said(response.note) : null,
      usage ? `${count(usage.input_tokens)} + ${count(usage.output_tokens)} tokens` : null,
    ),
    jsonBox(response.value, { "aria-label": "Response" }),
    response.sources.length
      ? origins(question, call, response, needed)
      : h("p", { class: "small" }, "States nothing of the evidence."),
  );
}
