// What each run measured, with intervals, and what its models have used.

const MEASURES = [
  ["em", "EM", "exact match after the official normalisation"],
  ["cover_em", "cover EM", "the answer contains the gold answer"],
  ["f1", "F1", "word F1 against the best gold answer"],
];
const PART_HELP = {
  answer: "what the answer earned",
  contract: "1 − policy faults / 3",
  provenance: "1 − invented calls / 3",
  support: "share of the evidence seen before the answer",
  economy: "1 − wasted calls / calls",
};

// pass@k and pass^k, for each k that a run has.
function passRows() {
  const ks = [...new Set(RUNS.flatMap((run) => run.summary.passes.map(({ k }) => k)))].sort((a, b) => a - b);
  const read = (k, which) => (summary) => {
    const found = summary.passes.find((passes) => passes.k === k);
    return { value: found?.[which] ?? null, interval: found?.[`${which}_interval`] ?? null };
  };
  return ks.flatMap((k) => [
    [`pass@${k}`, k === 1 ? "one sample is right" : `at least one of ${k} samples is right`, read(k, "any")],
    [`pass^${k}`, k === 1 ? "the same, with one sample" : `each of ${k} samples is right`, read(k, "all")],
  ]);
}

const LINE = 22.5; // of a value: 1.5 times the size of the text

function measures() {
  const parts = [...new Set(RUNS.flatMap((run) => Object.keys(run.summary.parts)))];
  const rows = [
    ...MEASURES.map(([key, name, help]) => [
      name,
      help,
      (summary) => ({ value: summary.metrics[key], interval: summary.intervals[key] }),
    ]),
    [
      "reward",
      "the composite trace reward",
      (summary) => ({ value: summary.reward, interval: summary.intervals.reward }),
    ],
    ...parts.map((part) => [
      part,
      PART_HELP[part] ?? "a part of the rubric",
      (summary) => ({ value: summary.parts[part] ?? null, interval: summary.part_intervals[part] }),
      "part",
    ]),
    ...passRows(),
  ];
  return h(
    "div",
    { class: "measures", role: "table", "aria-label": "Measures of each run" },
    h(
      "div",
      { class: "measure head", role: "row" },
      h("span", { role: "columnheader" }, "measure"),
      h("span", { role: "columnheader" }, "mean (95% interval)"),
      h("span", { role: "columnheader", class: "scale" }, h("i", null, "0"), h("i", null, "0.5"), h("i", null, "1")),
    ),
    rows.map(([name, help, read, kind]) => {
      const values = RUNS.map((run) => read(run.summary));
      return h(
        "div",
        { class: `measure ${kind ?? ""}`, role: "row" },
        h("span", { role: "rowheader" }, h("b", null, words(name)), h("span", { class: "small" }, help)),
        h(
          "span",
          { role: "cell" },
          values.map(({ value, interval }, run) =>
            h(
              "span",
              { class: "value" },
              sign(run),
              h("b", null, fixed(value)),
              h("span", { class: "small" }, range(interval)),
            ),
          ),
        ),
        h(
          "span",
          { role: "cell" },
          whiskers(
            values,
            `${name}: ${values.map(({ value }, run) => `${RUNS[run].label} ${fixed(value)}`).join(", ")}`,
            LINE,
          ),
        ),
      );
    }),
  );
}

// ------------------------------------------------------------------------------------------------------- what it took

const tokens = (used) => `${count(used.input_tokens)} + ${count(used.output_tokens)}`;
const dollars = (cost) => `${fixed(cost, cost >= 1 ? 2 : 4)} USD`;

// Of each run's usage: [figure, note], or null where there is none.
const TOOK = [
  [
    "requests",
    "to the model that plays",
    ({ player }) =>
      player.requests ? [count(player.requests), player.failed ? `${count(player.failed)} without an answer` : ""] : null,
  ],
  [
    "tokens",
    "of the model that plays, in + out",
    ({ player }, episodes) =>
      player.requests
        ? [tokens(player), `${count(Math.round((player.input_tokens + player.output_tokens) / episodes))} an episode`]
        : null,
  ],
  [
    "cost",
    "of the model that plays",
    ({ player }, episodes) =>
      player.cost === null ? null : [dollars(player.cost), `${fixed(player.cost / episodes, 4)} an episode`],
  ],
  [
    "seconds",
    "of waiting for it in an episode, the median",
    (used) =>
      used.player.requests ? [fixed(used.seconds_median, 2), `95% below ${fixed(used.seconds_p95, 2)}`] : null,
  ],
  ["tokens of the tools", "of the model that plays them, in + out", ({ tools }) => (tools ? [tokens(tools), ""] : null)],
  [
    "cost of the tools",
    "of the model that plays them",
    ({ tools }) => (tools && tools.cost !== null ? [dollars(tools.cost), ""] : null),
  ],
];

// What the models have used in all starts of each run; nothing where no run asked one.
function took() {
  const rows = TOOK.map(([name, help, read]) => [
    name,
    help,
    RUNS.map(({ summary }) => (summary.usage ? read(summary.usage, summary.episodes) : null)),
  ]).filter(([, , values]) => values.some((value) => value !== null));
  if (!rows.length) return null;
  return h(
    "section",
    { "aria-labelledby": "took" },
    h("h2", { id: "took" }, "What it took"),
    h(
      "div",
      { class: "measures took", role: "table", "aria-label": "What the models of each run have used" },
      rows.map(([name, help, values]) =>
        h(
          "div",
          { class: "measure", role: "row" },
          h("span", { role: "rowheader" }, h("b", null, name), h("span", { class: "small" }, help)),
          h(
            "span",
            { role: "cell" },
            values.map((value, run) =>
              h(
                "span",
                { class: "value" },
                sign(run),
                h("b", null, value?.[0] ?? "–"),
                h("span", { class: "small" }, value?.[1] ?? ""),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}
