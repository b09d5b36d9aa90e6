// The summary: what each run is, and what stands below.

const NAMED = 3; // so many runs stand in the title

function overview() {
  return h(
    "div",
    null,
    heading(),
    h("section", { class: "cards", "aria-label": "Runs" }, RUNS.map(card)),
    h("section", { "aria-labelledby": "measures" }, h("h2", { id: "measures" }, "Measures"), measures()),
    took(),
    h("section", { class: "charts", "aria-label": "Charts" }, charts()),
    episodesSection(),
  );
}

const SETUP = [
  "env_id",
  "world",
  "split",
  "source",
  "fingerprint",
  "tool_maker",
  "tool_actor",
  "grammar",
  "rubric",
  "max_steps",
  "seed",
  "version",
];

function heading() {
  const setups = RUNS.map((run) => run.summary);
  const same = SETUP.filter((name) => setups.every((setup) => setup[name] === setups[0][name] && setup[name] !== null));
  const other = SETUP.filter((name) => !same.includes(name) && setups.some((setup) => setup[name] !== null));
  const where = [...new Set(setups.map((setup) => setup.env_id ?? "several worlds"))].join(", ");
  const isFew = RUNS.length <= NAMED;
  const names = isFew
    ? RUNS.map((run) => run.label).join(RUNS.length === 2 ? " and " : ", ")
    : `${RUNS.length} runs of ${where}`;
  document.title = isFew ? `${names}: ${where}` : names;
  return h(
    "header",
    { class: "title" },
    h("p", { class: "over" }, isFew ? said(where) : null),
    h("h1", { dir: "auto" }, names),
    h(
      "p",
      { class: "lead" },
      `${plural(ROWS, "episode")}${RUNS.length > 1 ? ` of ${plural(RUNS.length, "run")}` : ""}. Means are over scored episodes, with 95% intervals.`,
    ),
    other.length > 0 && RUNS.length > 1
      ? h(
          "p",
          { class: "notice" },
          `These runs differ in ${other.map(words).join(", ")}: compare their numbers with that in mind.`,
        )
      : null,
    h(
      "details",
      { class: "setup" },
      h("summary", null, "How it was set up"),
      h(
        "dl",
        null,
        same.map((name) => [h("dt", null, words(name)), h("dd", null, said(String(setups[0][name])))]),
      ),
      RUNS.map((run, i) =>
        h(
          "div",
          { class: "own" },
          h("h3", null, runName(i)),
          h(
            "dl",
            null,
            h("dt", null, "policy"),
            h("dd", null, said(run.summary.policy ?? "unknown")),
            h("dt", null, "folder"),
            h("dd", null, said(run.folder)),
            other.map((name) => [
              h("dt", null, words(name)),
              h("dd", null, said(String(run.summary[name] ?? "differs between episodes"))),
            ]),
            run.command.length
              ? [h("dt", null, "command"), h("dd", null, h("code", { dir: "auto" }, shown(run.command)))]
              : null,
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
  const bar = h("div", { class: "outcomes" });
  const legend = h("ul", { class: "legend" });
  for (const [name, { name: label, sign: mark }] of Object.entries(OUTCOMES)) {
    if (!counts[name]) continue;
    const piece = h("a", {
      href: listAddress({ run: i, outcome: name }),
      class: `o-${name}`,
      title: `${label}: ${count(counts[name])}`,
      "aria-hidden": "true",
      tabindex: "-1",
    });
    piece.style.flexGrow = counts[name];
    bar.append(piece);
    legend.append(
      h(
        "li",
        null,
        h(
          "a",
          { href: listAddress({ run: i, outcome: name }) },
          h("i", { class: `o-${name}` }, mark),
          `${count(counts[name])} ${label}`,
        ),
      ),
    );
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
      figure(
        "calls / episode",
        fixed(summary.calls_per_episode, 1),
        summary.tool_productivity === null ? "" : `${fixed(summary.tool_productivity)} right / call`,
      ),
    ),
    bar,
    legend,
    summary.unplayed
      ? h(
          "p",
          { class: "notice" },
          `${plural(summary.unplayed, "more episode")} ${summary.unplayed === 1 ? "was" : "were"} not played.`,
        )
      : null,
    summary.alarm === null ? null : h("p", { class: "notice alarm", role: "alert" }, said(summary.alarm)),
    reasons(summary.unscored_reasons),
    played(run.starts),
  );
}

function figure(name, value, note) {
  return h(
    "div",
    { class: "figure" },
    h("span", { class: "name" }, name),
    h("strong", null, value),
    h("span", { class: "small" }, note),
  );
}

function reasons(found) {
  const entries = Object.entries(found);
  return folded(
    "Why unscored",
    entries.map(([reason, n]) => [`${count(n)} × `, said(reason)]),
  );
}

function played(starts) {
  return folded(
    "When and where it was played",
    starts.map((start) => said(whereAndWhen(start))),
  );
}

// A closed list under a title; nothing where it is empty.
function folded(title, items) {
  if (!items.length) return null;
  return h(
    "details",
    null,
    h("summary", null, title),
    h(
      "ul",
      { class: "plain" },
      items.map((item) => h("li", null, item)),
    ),
  );
}

function whereAndWhen({ date, commit, version, machine }) {
  return [
    date.replace("T", " ").replace("+00:00", " UTC"),
    commit === null ? `mtr-env ${version}` : `commit ${commit}`,
    machine.accelerator,
    machine.processors === null ? null : plural(machine.processors, "processor"),
    machine.system,
    `Python ${machine.python}`,
  ]
    .filter((part) => part !== null)
    .join(", ");
}
