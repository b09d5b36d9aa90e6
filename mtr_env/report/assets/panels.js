// What stands beside an episode's steps: how its reward came about, and its tools.

function rewardPanel({ trace, why, row }, goTo) {
  const rubric = RUNS[COLUMNS.run[row]].rubric;
  const parts = Object.entries(why.parts);
  return h(
    "section",
    { class: "panel reward" },
    h("h3", null, "Reward ", h("strong", null, why.reward === null ? "unscored" : fixed(why.reward))),
    parts.length
      ? h(
          "dl",
          { class: "parts" },
          parts.map(([name, value]) =>
            h(
              "div",
              { "data-part": name },
              h("dt", null, words(name)),
              h("dd", { class: "number" }, fixed(value)),
              h("dd", { class: "bar" }, meter(value)),
              h("dd", { class: "how" }, how(name, value, trace, why, goTo)),
            ),
          ),
        )
      : h("p", { class: "small" }, "No part was scored."),
    rubric && why.reward !== null ? formula(rubric, why, COLUMNS.calls[row]) : null,
  );
}

function meter(value) {
  const level = h("i", { class: "level" }, h("i"));
  level.firstChild.style.width = `${100 * (value ?? 0)}%`;
  return level;
}

const FEW_PLACES = 8;

function how(name, value, trace, why, goTo) {
  const places = (those) => [
    those.slice(0, FEW_PLACES).map((at) => placeLink(at, goTo)),
    those.length > FEW_PLACES ? ` and ${count(those.length - FEW_PLACES)} more` : null,
  ];
  if (name === "answer") {
    const golds = why.golds.map((gold, i) => [i ? " or " : "", said(`“${gold}”`)]);
    return why.answer === null
      ? ["no answer; gold ", golds]
      : [said(`“${why.answer}”`), why.golds.includes(why.answer) ? " is " : " is not ", golds];
  }
  if (name === "contract") {
    const faults = trace.steps
      .flatMap((step) => step.faults)
      .filter((fault) => DATA.blame[fault.kind] === "policy").length;
    return `${plural(faults, "policy fault")}: max(0, 1 − ${faults} / 3)`;
  }
  if (name === "provenance")
    return [
      `${plural(why.invented.length, "invented call")}: max(0, 1 − ${why.invented.length} / 3)`,
      places(why.invented),
    ];
  if (name === "support") {
    if (!why.evidence.length)
      return value === null
        ? "not annotated, and nothing to look for"
        : `not annotated; the answer ${value ? "occurs" : "does not occur"} in a sourced value`;
    return `${why.evidence.filter(Boolean).length} of ${plural(why.evidence.length, "piece")} of evidence seen`;
  }
  if (name === "economy")
    return value === null
      ? "no call was answered"
      : [
          `${why.wasted.length} of ${plural(why.counted, "call")} added nothing: 1 − ${why.wasted.length} / ${why.counted}`,
          places(why.wasted),
        ];
  return value === null ? "does not apply" : "a part of this rubric";
}

// The total, from the parts: the same sum as in mtr_env.reward.
function formula(rubric, why, calls) {
  const given = Object.entries(rubric.weights).filter(
    ([name]) => why.parts[name] !== null && why.parts[name] !== undefined,
  );
  const weight = given.reduce((sum, [, w]) => sum + w, 0);
  const sum = given.reduce((total, [name, w]) => total + w * why.parts[name], 0);
  const c = weight && calls ? sum / weight : 0;
  const w = rubric.weight;
  const answer = why.parts.answer;
  const isProduct = rubric.form === "product";
  const total = isProduct ? answer * (1 - w + w * c) : (1 - w) * answer + w * c;
  const short = (value) => String(Number(value.toFixed(3)));
  const sumText = isProduct
    ? `${short(answer)} × (${short(1 - w)} + ${short(w)} × ${short(c)})`
    : `${short(1 - w)} × ${short(answer)} + ${short(w)} × ${short(c)}`;
  const isEven = given.every(([, w]) => w === given[0][1]);
  const mean = `${isEven ? "" : "weighted "}mean(${given.map(([name]) => name).join(", ")}) = ${short(c)}`;
  return h(
    "div",
    { class: "formula", "data-total": total },
    w
      ? h(
          "p",
          null,
          h("var", null, "c"),
          ` = ${!calls ? "0, without a tool call" : weight ? mean : "0, as no part applies"}`,
        )
      : null,
    h("p", null, h("var", null, "R"), ` = ${w ? sumText : short(answer)} = `, h("b", null, short(total))),
    h("p", { class: "small" }, `rubric ${rubric.name}`),
  );
}

// -------------------------------------------------------------------------------------------------------------- tools

function toolsPanel({ trace }) {
  const used = new Map();
  for (const step of trace.steps) for (const call of step.calls) used.set(call.name, (used.get(call.name) ?? 0) + 1);
  const { tools, maker, notes } = trace.toolset;
  return h(
    "details",
    { class: "panel tools" },
    h(
      "summary",
      null,
      h("h3", null, "Tools"),
      h(
        "span",
        { class: "small" },
        `${count(tools.length)}, of which ${count(tools.filter((tool) => used.has(tool.name)).length)} used`,
      ),
    ),
    maker ? h("p", { class: "small" }, "made by ", said(maker)) : null,
    notes.map((note) => h("p", { class: "notice" }, said(note))),
    tools.map((tool) =>
      h(
        "details",
        { class: "tool" },
        h(
          "summary",
          null,
          h("code", { dir: "auto" }, tool.name),
          h("span", { class: "small" }, used.has(tool.name) ? `${used.get(tool.name)}×` : "unused"),
        ),
        h("p", { dir: "auto" }, tool.description),
        h("h5", null, "Arguments"),
        jsonBox(tool.parameters),
        h("h5", null, "Response"),
        jsonBox(tool.response),
        tool.entities.length ? h("p", { class: "small" }, "names: ", said(tool.entities.join(", "))) : null,
        tool.binding ? h("p", { class: "small" }, "the simulator's binding: ", said(tool.binding)) : null,
      ),
    ),
  );
}
