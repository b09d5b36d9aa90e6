// The summary's charts: what they show of the episodes; charts.js draws them.

function charts() {
  return [
    panel("Reward", "How many episodes earned how much; unscored ones have no reward.", rewardBins()),
    panel(
      "Right answers by step",
      "Share of the scored episodes that are answered right within so many steps.",
      rightBySteps(),
    ),
    panel("Tool calls", "Well-formed calls an episode.", callBins()),
    panel("EM by hops", "The reasoning steps that a question needs.", groups("hops", "hops")),
    panel("EM by family", "The data set's own kinds of questions.", groups("families", "family")),
    panel("Faults and ends", "All episodes, unscored ones too.", ends(), false),
  ];
}

function panel(title, note, body, hasLegend = RUNS.length > 1) {
  return h(
    "section",
    { class: "panel" },
    h("h2", null, title),
    h("p", { class: "small" }, note),
    body,
    hasLegend
      ? h(
          "p",
          { class: "legend" },
          RUNS.map((_, run) => runName(run)),
        )
      : null,
  );
}

const rowsOf = RUNS.map((_, run) => [...COLUMNS.run.keys()].filter((row) => COLUMNS.run[row] === run));
const scoredOf = rowsOf.map((rows) => rows.filter((row) => COLUMNS.reward[row] !== null));

// The share of each run's rows in each bin; bin(row) gives its number.
function shares(rows, bins, bin) {
  return rows.map((those) => {
    const counts = new Array(bins).fill(0);
    for (const row of those) counts[bin(row)]++;
    return counts.map((n) => (those.length ? n / those.length : 0));
  });
}

const describeShare = (rows, name) => (run, i, share) =>
  `${RUNS[run].label}: ${count(Math.round(share * rows[run].length))} episodes (${percent(share)}) ${name(i)}`;

function rewardBins() {
  // 0 stands alone: it is what a wrong answer earns.
  const bins = shares(scoredOf, 11, (row) =>
    COLUMNS.reward[row] === 0 ? 0 : Math.max(1, Math.ceil(COLUMNS.reward[row] * 10 - 1e-9)),
  );
  const names = ["0", ...Array.from({ length: 10 }, (_, i) => ((i + 1) / 10).toFixed(1))];
  const where = (i) =>
    i ? `with a reward above ${((i - 1) / 10).toFixed(1)}, at most ${(i / 10).toFixed(1)}` : "with reward 0";
  return histogram(
    bins,
    names,
    "Histogram of rewards",
    "reward: 0 alone, then rounded up to a tenth",
    describeShare(scoredOf, where),
  );
}

function callBins() {
  const largest = COLUMNS.calls.reduce((a, b) => Math.max(a, b), 0);
  const width = Math.max(1, Math.ceil((largest + 1) / 16));
  const bins = shares(rowsOf, Math.floor(largest / width) + 1, (row) => Math.floor(COLUMNS.calls[row] / width));
  const names = bins[0].map((_, i) => (width === 1 ? `${i}` : `${i * width}–${(i + 1) * width - 1}`));
  return histogram(
    bins,
    names,
    "Histogram of calls",
    "calls",
    describeShare(rowsOf, (i) => `with ${names[i]} calls`),
  );
}

function rightBySteps() {
  const last = Math.max(
    1,
    ...RUNS.map((run) => run.summary.max_steps ?? 0),
    COLUMNS.steps.reduce((a, b) => Math.max(a, b), 0),
  );
  const lines = scoredOf.map((rows) => {
    const line = new Array(last + 1).fill(0);
    for (const row of rows) if (OUTCOME[row] === "right") line[COLUMNS.steps[row]]++;
    let sum = 0;
    return line.map((n) => (rows.length ? (sum += n) / rows.length : 0));
  });
  return stairs(lines, "Share of right answers after each number of steps", "steps");
}

function groups(field, filter) {
  const names = [...new Set(RUNS.flatMap((run) => run[field].map((bar) => bar.name)))].sort();
  return h(
    "div",
    { class: "groups" },
    names.map((name) => {
      const bars = RUNS.map((run) => run[field].find((bar) => bar.name === name));
      const values = bars.map((bar) => bar && { value: bar.group.em, interval: bar.interval });
      const n = Math.max(...bars.map((bar) => bar?.group.scored ?? 0));
      return h(
        "div",
        { class: "group" },
        h(
          "a",
          { href: listAddress({ [filter]: name }), title: "Show these episodes" },
          said(words(name)),
          h("span", { class: "small" }, `n ${count(n)}`),
        ),
        whiskers(
          values,
          `${name}: ${values.map((point, run) => `${RUNS[run].label} ${fixed(point?.value)}`).join(", ")}`,
        ),
        h(
          "span",
          { class: "numbers" },
          values.map((point) => h("span", null, percent(point?.value))),
        ),
      );
    }),
  );
}

function ends() {
  const kinds = Object.keys(DATA.blame);
  const rows = [
    ...[...new Set(RUNS.flatMap((run) => Object.keys(run.summary.stop_reasons)))].map((name) => [
      "ended by",
      name,
      (summary) => summary.stop_reasons[name],
    ]),
    ...kinds.map((kind) => [`fault of the ${DATA.blame[kind]}`, kind, (summary) => summary.faults[kind]]),
  ].filter(([, , read]) => RUNS.some((run) => read(run.summary)));
  return h(
    "div",
    { class: "scroll", tabindex: "0" },
    h(
      "table",
      null,
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          h("th", null, ""),
          h("th", null, ""),
          RUNS.map((run, i) => h("th", { scope: "col" }, runName(i))),
        ),
      ),
      h(
        "tbody",
        null,
        rows.map(([kind, name, read]) =>
          h(
            "tr",
            null,
            h("td", { class: "small" }, kind),
            h("th", { scope: "row" }, words(name)),
            RUNS.map((run) => h("td", null, count(read(run.summary) ?? 0))),
          ),
        ),
      ),
    ),
  );
}
