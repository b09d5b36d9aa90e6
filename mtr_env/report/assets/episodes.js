// The list of episodes: filters, sorting, and the rows that are on the screen (the others are not on the page).

const EVERYTHING = { q: "", run: "", outcome: "", family: "", hops: "", fault: "", sort: "", down: "" };
const FAULTS = {
  policy: "policy faults",
  simulator: "simulator faults",
  infrastructure: "outages",
  none: "no faults",
};

const SORTS = {
  question: { name: "Question", key: (row) => COLUMNS.question[row] },
  run: { name: "Run", key: (row) => COLUMNS.run[row] },
  family: { name: "Family", key: (row) => COLUMNS.family[row] },
  hops: { name: "Hops", key: (row) => COLUMNS.hops[row] },
  reward: { name: "Reward", key: (row) => COLUMNS.reward[row] ?? -1 },
  f1: { name: "F1", key: (row) => (COLUMNS.reward[row] === null ? -1 : COLUMNS.f1[row]) },
  calls: { name: "Calls", key: (row) => COLUMNS.calls[row] },
  steps: { name: "Steps", key: (row) => COLUMNS.steps[row] },
  faults: { name: "Faults", key: (row) => faultsOf(row) },
};

const faultsOf = (row) => COLUMNS.policy[row] + COLUMNS.simulator[row] + COLUMNS.infrastructure[row];

const list = { filter: { ...EVERYTHING }, rows: [], active: -1, drawn: new Map(), marked: [] };

const listAddress = (filter) => {
  const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value !== "")).toString();
  return `#/episodes${query ? `?${query}` : ""}`;
};

const HAYSTACK = []; // made at the first search
function haystack(row) {
  HAYSTACK[row] ??= [COLUMNS.question[row], COLUMNS.gold[row], COLUMNS.answer[row] ?? "", COLUMNS.id[row]]
    .join("\n")
    .toLowerCase();
  return HAYSTACK[row];
}

function disagrees(row) {
  return sameQuestion(row).some((other) => (OUTCOME[other] === "right") !== (OUTCOME[row] === "right"));
}

function passes(row, { run, outcome, family, hops, fault }, needles) {
  return (
    (run === "" || COLUMNS.run[row] === Number(run)) &&
    (outcome === "" || OUTCOME[row] === outcome || (outcome === "differs" && disagrees(row))) &&
    (family === "" || COLUMNS.family[row] === family) &&
    (hops === "" || COLUMNS.hops[row] === hops) &&
    (fault === "" || (fault === "none" ? faultsOf(row) === 0 : COLUMNS[fault]?.[row] > 0)) &&
    needles.every((needle) => haystack(row).includes(needle))
  );
}

function select(filter) {
  const needles = filter.q.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...COLUMNS.run.keys()].filter((row) => passes(row, filter, needles));
  const key = SORTS[filter.sort]?.key;
  if (key) {
    const direction = filter.down ? -1 : 1;
    const compare = (a, b) => (typeof a === "string" ? COLLATOR.compare(a, b) : a - b);
    const keys = new Map(rows.map((row) => [row, key(row)]));
    rows.sort((a, b) => direction * compare(keys.get(a), keys.get(b)) || a - b);
  }
  return rows;
}

const COLLATOR = new Intl.Collator("en", { numeric: true });

// ------------------------------------------------------------------------------------------------------- the controls

function episodesSection() {
  return h(
    "section",
    { id: "episodes", "aria-labelledby": "episodes-title" },
    h("h2", { id: "episodes-title" }, "Episodes"),
    h(
      "form",
      { id: "filters", role: "search", onsubmit: (event) => event.preventDefault(), oninput: onFilter },
      h("input", {
        type: "search",
        name: "q",
        placeholder: "Search question, answer, id  ( / )",
        "aria-label": "Search",
        autocomplete: "off",
        spellcheck: "false",
      }),
      RUNS.length > 1
        ? choice(
            "run",
            "Run",
            RUNS.map((run, i) => [String(i), run.label]),
          )
        : null,
      choice("outcome", "Outcome", [
        ...Object.entries(OUTCOMES).map(([value, { name }]) => [value, name]),
        ...(RUNS.length > 1 ? [["differs", "runs disagree"]] : []),
      ]),
      choice("family", "Family", distinct("family")),
      choice("hops", "Hops", distinct("hops")),
      choice("fault", "Faults", Object.entries(FAULTS)),
      choice(
        "sort",
        "Sort",
        Object.entries(SORTS).map(([value, { name }]) => [value, name.toLowerCase()]),
        "in order",
      ),
      h("button", { type: "button", class: "quiet", onclick: () => applyFilter(EVERYTHING) }, "Clear"),
      h("output", { id: "found", "aria-live": "polite" }),
    ),
    h(
      "div",
      { class: "list", role: "table", "aria-label": "Episodes", id: "list" },
      h(
        "div",
        { class: "row head", role: "row" },
        h("span", { role: "columnheader", class: "c-mark" }, h("span", { class: "hidden" }, "compare")),
        h("span", { role: "columnheader", class: "c-outcome" }, h("span", { class: "hidden" }, "outcome")),
        Object.entries(SORTS).map(([value, { name }]) =>
          RUNS.length === 1 && value === "run"
            ? null
            : h(
                "span",
                { role: "columnheader", class: `c-${value}`, "data-sort": value },
                h("button", { type: "button", onclick: () => sortBy(value) }, name),
              ),
        ),
      ),
      h("div", { class: "rows", role: "rowgroup", id: "rows" }),
      h(
        "p",
        { id: "nothing", hidden: true },
        "No episode is like that. ",
        h("button", { type: "button", class: "more", onclick: () => applyFilter(EVERYTHING) }, "Show all"),
      ),
    ),
  );
}

function choice(name, label, options, all = "all") {
  return h(
    "label",
    null,
    h("span", null, label),
    h(
      "select",
      { name },
      h("option", { value: "" }, all),
      options.map(([value, shown]) => h("option", { value }, shown)),
    ),
  );
}

function distinct(column) {
  return [...new Set(COLUMNS[column])].sort(COLLATOR.compare).map((value) => [value, words(value)]);
}

function onFilter() {
  const given = Object.fromEntries(new FormData(byId("filters")));
  applyFilter({ ...EVERYTHING, ...given, down: given.sort === list.filter.sort ? list.filter.down : "" });
}

function sortBy(column) {
  const { sort, down } = list.filter;
  if (sort !== column) applyFilter({ ...list.filter, sort: column, down: "1" });
  else applyFilter({ ...list.filter, sort: down ? column : "", down: "" });
}

// Shows what the filter lets through, and says so in the address.
function applyFilter(filter, { replace = true } = {}) {
  list.filter = { ...EVERYTHING, ...filter };
  for (const field of byId("filters").elements) {
    if (field.name && field.value !== list.filter[field.name]) field.value = list.filter[field.name];
  }
  list.rows = select(list.filter);
  list.active = -1;
  for (const head of document.querySelectorAll("[data-sort]")) {
    const isSorted = head.dataset.sort === list.filter.sort;
    head.setAttribute("aria-sort", isSorted ? (list.filter.down ? "descending" : "ascending") : "none");
  }
  byId("found").textContent =
    list.rows.length === ROWS ? plural(ROWS, "episode") : `${count(list.rows.length)} of ${plural(ROWS, "episode")}`;
  byId("nothing").hidden = list.rows.length > 0;
  byId("list").setAttribute("aria-rowcount", list.rows.length + 1);
  for (const element of list.drawn.values()) element.remove();
  list.drawn.clear();
  drawRows();
  if (replace) history.replaceState(null, "", listAddress(list.filter));
}

// ----------------------------------------------------------------------------------------------------------- the rows

const SPARE = 12; // rows that are drawn above and below the screen
const rowHeight = () => (matchMedia("(max-width: 760px)").matches ? 112 : 56);

function drawRows() {
  const rows = byId("rows");
  if (!rows || byId("overview").hidden) return;
  const height = rowHeight();
  rows.style.height = `${list.rows.length * height}px`;
  const top = rows.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor(-top / height) - SPARE);
  const last = Math.min(list.rows.length, Math.ceil((innerHeight - top) / height) + SPARE);
  for (const [i, element] of list.drawn) {
    if (i >= first && i < last) continue;
    element.remove();
    list.drawn.delete(i);
  }
  const fresh = document.createDocumentFragment();
  for (let i = first; i < last; i++) {
    if (list.drawn.has(i)) continue;
    const element = rowElement(list.rows[i], i);
    list.drawn.set(i, element);
    fresh.append(element);
  }
  rows.append(fresh);
  for (const [i, element] of list.drawn) element.style.top = `${i * height}px`;
}

function rowElement(row, i) {
  const outcome = OUTCOME[row];
  const { sign: mark, name } = OUTCOMES[outcome];
  const reward = COLUMNS.reward[row];
  const faults = faultsOf(row);
  const isMarked = list.marked.includes(row);
  const answer = COLUMNS.answer[row];
  const cell = (column, ...children) => h("span", { role: "cell", class: `c-${column}` }, ...children);
  const level = h("i", { class: "level" }, h("i"));
  level.firstChild.style.width = `${100 * (reward ?? 0)}%`;
  return h(
    "div",
    { class: "row", role: "row", "aria-rowindex": i + 2 },
    cell(
      "mark",
      h("input", {
        type: "checkbox",
        "aria-label": "Compare this episode",
        checked: isMarked,
        onchange: () => toggleMark(row),
        tabindex: "-1",
      }),
    ),
    cell("outcome", h("b", { class: `badge o-${outcome}`, title: name }, mark, h("span", { class: "hidden" }, name))),
    cell(
      "question",
      h(
        "a",
        { href: `#/episode/${place(row)}`, "data-i": i, onfocus: () => (list.active = i) },
        said(COLUMNS.question[row]),
      ),
      h(
        "span",
        { class: "small" },
        answer === null ? "no answer" : said(answer),
        outcome === "right" ? null : [" · gold ", said(COLUMNS.gold[row])],
      ),
    ),
    h(
      "span",
      { class: "facts", role: "presentation" },
      RUNS.length > 1 ? cell("run", runName(COLUMNS.run[row])) : null,
      cell("family", said(words(COLUMNS.family[row]))),
      cell("hops", COLUMNS.hops[row], h("span", { class: "unit" }, " hops")),
      cell("reward", level, reward === null ? "–" : fixed(reward, 2), h("span", { class: "unit" }, " reward")),
      cell("f1", reward === null ? "–" : fixed(COLUMNS.f1[row], 2)),
      cell("calls", count(COLUMNS.calls[row]), h("span", { class: "unit" }, " calls")),
      cell("steps", count(COLUMNS.steps[row])),
      cell(
        "faults",
        faults
          ? h("b", { class: "some" }, count(faults), h("span", { class: "unit" }, " faults"))
          : h("span", { class: "none" }, "0"),
      ),
    ),
  );
}

// Moves the keyboard's row by some, and brings it onto the screen.
function moveActive(by) {
  if (!list.rows.length) return;
  list.active = Math.min(list.rows.length - 1, Math.max(0, list.active + by));
  const height = rowHeight();
  const top = byId("rows").getBoundingClientRect().top + scrollY + list.active * height;
  const filters = byId("filters");
  const covered = 60 + (getComputedStyle(filters).position === "sticky" ? filters.offsetHeight : 0);
  if (top < scrollY + covered) scrollTo(0, top - covered);
  else if (top + height > scrollY + innerHeight - 20) scrollTo(0, top + height - innerHeight + 20);
  drawRows();
  list.drawn.get(list.active)?.querySelector("a").focus({ preventScroll: true });
}

// ------------------------------------------------------------------------------------------ what is marked to compare

function toggleMark(row) {
  list.marked = list.marked.includes(row)
    ? list.marked.filter((other) => other !== row)
    : [...list.marked, row].slice(-2);
  for (const [i, element] of list.drawn) {
    element.querySelector("input").checked = list.marked.includes(list.rows[i]);
  }
  const tray = byId("tray");
  tray.hidden = list.marked.length === 0;
  tray.replaceChildren(
    h(
      "span",
      null,
      list.marked.map((marked) =>
        h("span", { class: "pick" }, runName(COLUMNS.run[marked]), said(COLUMNS.question[marked])),
      ),
    ),
    list.marked.length === 2
      ? h("a", { class: "button", href: compareAddress(...list.marked) }, "Compare")
      : h("span", { class: "small" }, "Mark another one."),
    h("button", { type: "button", class: "quiet", onclick: clearMarks }, "Clear"),
  );
}

function clearMarks() {
  while (list.marked.length) toggleMark(list.marked[0]);
}

const compareAddress = (a, b) => `#/compare/${place(a)}/${place(b)}`;
