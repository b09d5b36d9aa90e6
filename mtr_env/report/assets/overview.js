// The summary: what each run is, its measures with intervals, and the charts.

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
const ALARM = 0.05; // share of unscored episodes above which a notice says so

function overview() {
  return h(
    "div",
    null,
    heading(),
    h("section", { class: "cards", "aria-label": "Runs" }, RUNS.map(card)),
    h("section", { "aria-labelledby": "measures" }, h("h2", { id: "measures" }, "Measures"), measures()),
    h("section", { class: "charts", "aria-label": "Charts" }, charts()),
    episodesSection(),
  );
}

const SETUP = ["env_id", "world", "split", "source", "fingerprint", "tool_maker", "tool_actor", "grammar", "rubric", "max_steps", "seed", "version"];

function heading() {
  const setups = RUNS.map((run) => run.summary);
  const same = SETUP.filter((name) => setups.every((setup) => setup[name] === setups[0][name] && setup[name] !== null));
  const other = SETUP.filter((name) => !same.includes(name) && setups.some((setup) => setup[name] !== null));
  const names = RUNS.map((run) => run.label).join(RUNS.length === 2 ? " and " : ", ");
  const where = [...new Set(setups.map((setup) => setup.env_id ?? "several worlds"))].join(", ");
  document.title = `${names}: ${where}`;
  return h(
    "header",
    { class: "title" },
    h("p", { class: "over" }, said(where)),
    h("h1", { dir: "auto" }, names),
    h(
      "p",
      { class: "lead" },
      `${plural(ROWS, "episode")}${RUNS.length > 1 ? ` of ${plural(RUNS.length, "run")}` : ""}. Means are over scored episodes, with 95% intervals.`,
    ),
    other.length > 0 && RUNS.length > 1
      ? h("p", { class: "notice" }, `These runs differ in ${other.map(words).join(", ")}: compare their numbers with that in mind.`)
      : null,
    h(
      "details",
      { class: "setup" },
      h("summary", null, "How it was set up"),
      h("dl", null, same.map((name) => [h("dt", null, words(name)), h("dd", null, said(String(setups[0][name])))])),
      RUNS.map((run, i) =>
        h(
          "div",
          { class: "own" },
          h("h3", null, runName(i)),
          h(
            "dl",
            null,
            h("dt", null, "folder"),
            h("dd", null, said(run.folder)),
            other.map((name) => [h("dt", null, words(name)), h("dd", null, said(String(run.summary[name] ?? "differs between episodes")))]),
            run.command.length ? [h("dt", null, "command"), h("dd", null, h("code", { dir: "auto" }, shown(run.command)))] : null,
          ),
        ),
      ),
      h("p", { class: "small" }, `Written by mtr-env ${DATA.version}.`),
    ),
  );
}

// A command as a shell takes it.
function shown(command) {
  return command.map((word) => (/^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(" ");
}

function card(run, i) {
  const summary = run.summary;
  const counts = Object.fromEntries(Object.keys(OUTCOMES).map((name) => [name, 0]));
  COLUMNS.run.forEach((of, row) => {
    if (of === i) counts[OUTCOME[row]]++;
  });
  const share = summary.unscored / summary.episodes;
  const bar = h("div", { class: "outcomes" });
  const legend = h("ul", { class: "legend" });
  for (const [name, { name: label, sign: mark }] of Object.entries(OUTCOMES)) {
    if (!counts[name]) continue;
    const piece = h("a", { href: listAddress({ run: i, outcome: name }), class: `o-${name}`, title: `${label}: ${count(counts[name])}`, "aria-hidden": "true", tabindex: "-1" });
    piece.style.flexGrow = counts[name];
    bar.append(piece);
    legend.append(h("li", null, h("a", { href: listAddress({ run: i, outcome: name }) }, h("i", { class: `o-${name}` }, mark), `${count(counts[name])} ${label}`)));
  }
  return h(
    "article",
    { class: `card ${runClass(i)}` },
    h("h2", null, runName(i)),
    h(
      "div",
      { class: "figures" },
      figure("EM", percent(summary.metrics.em), range(summary.intervals.em, percent)),
      figure("reward", fixed(summary.reward), range(summary.intervals.reward)),
      figure("calls / episode", fixed(summary.calls_per_episode, 1), summary.tool_productivity === null ? "" : `${fixed(summary.tool_productivity)} right / call`),
    ),
    bar,
    legend,
    share > ALARM
      ? h("p", { class: "notice alarm", role: "alert" }, `${percent(share)} of the episodes are unscored: the means speak of the others only.`)
      : null,
    reasons(summary.unscored_reasons),
  );
}

function figure(name, value, note) {
  return h("div", { class: "figure" }, h("span", { class: "name" }, name), h("strong", null, value), h("span", { class: "small" }, note));
}

function reasons(found) {
  const entries = Object.entries(found);
  if (!entries.length) return null;
  return h("details", null, h("summary", null, "Why unscored"), h("ul", { class: "plain" }, entries.map(([reason, n]) => h("li", null, `${count(n)} × `, said(reason)))));
}

// ----------------------------------------------------------------------------------------------------------- measures

function measures() {
  const parts = [...new Set(RUNS.flatMap((run) => Object.keys(run.summary.parts)))];
  const rows = [
    ...MEASURES.map(([key, name, help]) => [name, help, (summary) => ({ value: summary.metrics[key], interval: summary.intervals[key] })]),
    ["reward", "the composite trace reward", (summary) => ({ value: summary.reward, interval: summary.intervals.reward })],
    ...parts.map((part) => [part, PART_HELP[part] ?? "a part of the rubric", (summary) => ({ value: summary.parts[part] ?? null, interval: summary.part_intervals[part] }), "part"]),
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
        h("span", { role: "cell" }, values.map(({ value, interval }, run) => h("span", { class: "value" }, sign(run), h("b", null, fixed(value)), h("span", { class: "small" }, range(interval))))),
        h("span", { role: "cell" }, whiskers(values, `${name}: ${values.map(({ value }, run) => `${RUNS[run].label} ${fixed(value)}`).join(", ")}`)),
      );
    }),
  );
}

// ------------------------------------------------------------------------------------------------------------- charts

function charts() {
  return [
    panel("Reward", "How many episodes earned how much; unscored ones have no reward.", rewardBins()),
    panel("Right answers by step", "Share of the scored episodes that are answered right within so many steps.", rightBySteps()),
    panel("Tool calls", "Well-formed calls an episode.", callBins()),
    panel("EM by hops", "The reasoning steps that a question needs.", groups("hops", "hops")),
    panel("EM by family", "The data set's own kinds of questions.", groups("families", "family")),
    panel("Faults and ends", "All episodes, unscored ones too.", ends(), false),
  ];
}

function panel(title, note, body, hasLegend = RUNS.length > 1) {
  return h("section", { class: "panel" }, h("h2", null, title), h("p", { class: "small" }, note), body, hasLegend ? h("p", { class: "legend" }, RUNS.map((_, run) => runName(run))) : null);
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

const describeShare = (rows, name) => (run, i, share) => `${RUNS[run].label}: ${count(Math.round(share * rows[run].length))} episodes (${percent(share)}) ${name(i)}`;

function rewardBins() {
  // 0 stands alone: it is what a wrong answer earns.
  const bins = shares(scoredOf, 11, (row) => (COLUMNS.reward[row] === 0 ? 0 : Math.max(1, Math.ceil(COLUMNS.reward[row] * 10 - 1e-9))));
  const names = ["0", ...Array.from({ length: 10 }, (_, i) => ((i + 1) / 10).toFixed(1))];
  const where = (i) => (i ? `with a reward above ${((i - 1) / 10).toFixed(1)}, at most ${(i / 10).toFixed(1)}` : "with reward 0");
  return histogram(bins, names, "Histogram of rewards", "reward: 0 alone, then rounded up to a tenth", describeShare(scoredOf, where));
}

function callBins() {
  const largest = COLUMNS.calls.reduce((a, b) => Math.max(a, b), 0);
  const width = Math.max(1, Math.ceil((largest + 1) / 16));
  const bins = shares(rowsOf, Math.floor(largest / width) + 1, (row) => Math.floor(COLUMNS.calls[row] / width));
  const names = bins[0].map((_, i) => (width === 1 ? `${i}` : `${i * width}–${(i + 1) * width - 1}`));
  return histogram(bins, names, "Histogram of calls", "calls", describeShare(rowsOf, (i) => `with ${names[i]} calls`));
}

function rightBySteps() {
  const last = Math.max(1, ...RUNS.map((run) => run.summary.max_steps ?? 0), COLUMNS.steps.reduce((a, b) => Math.max(a, b), 0));
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
        h("a", { href: listAddress({ [filter]: name }), title: "Show these episodes" }, said(words(name)), h("span", { class: "small" }, `n ${count(n)}`)),
        whiskers(values, `${name}: ${values.map((point, run) => `${RUNS[run].label} ${fixed(point?.value)}`).join(", ")}`),
        h("span", { class: "numbers" }, values.map((point) => h("span", null, percent(point?.value)))),
      );
    }),
  );
}

function ends() {
  const kinds = Object.keys(DATA.blame);
  const rows = [
    ...[...new Set(RUNS.flatMap((run) => Object.keys(run.summary.stop_reasons)))].map((name) => ["ended by", name, (summary) => summary.stop_reasons[name]]),
    ...kinds.map((kind) => [`fault of the ${DATA.blame[kind]}`, kind, (summary) => summary.faults[kind]]),
  ].filter(([, , read]) => RUNS.some((run) => read(run.summary)));
  return h(
    "div",
    { class: "scroll", tabindex: "0" },
    h(
      "table",
      null,
      h("thead", null, h("tr", null, h("th", null, ""), h("th", null, ""), RUNS.map((run, i) => h("th", { scope: "col" }, runName(i))))),
      h(
        "tbody",
        null,
        rows.map(([kind, name, read]) =>
          h("tr", null, h("td", { class: "small" }, kind), h("th", { scope: "row" }, words(name)), RUNS.map((run) => h("td", null, count(read(run.summary) ?? 0)))),
        ),
      ),
    ),
  );
}
