// The two pages about episodes: one, and two side by side.

const view = { rows: [], step: null, token: 0 };

// Shows the traces of one or two rows; a step is brought onto the screen.
async function showTraces(rows, step) {
  view.step = step;
  if (rows.join() !== view.rows.join()) {
    const token = ++view.token;
    view.rows = rows;
    byId("view").replaceChildren(h("p", { class: "small" }, "Opening …"));
    try {
      const entries = await Promise.all(rows.map(episode));
      if (token !== view.token) return; // another page was asked for meanwhile
      byId("view").replaceChildren(entries.length === 1 ? single(entries[0]) : pair(entries));
      document.title = entries[0].trace.question.text;
    } catch (error) {
      if (token !== view.token) return;
      view.rows = [];
      byId("view").replaceChildren(
        h("p", { class: "notice alarm", role: "alert" }, `This episode cannot be opened: ${error.message}`),
      );
      return;
    }
    scrollTo(0, 0);
  }
  markStep();
}

// What is opened next is built anew: its links and its title depend on the list.
function leaveTraces() {
  view.token++; // what is still opening stays off the page
  view.rows = [];
  byId("view").replaceChildren();
}

const viewAddress = (rows, step) => {
  const path = rows.length === 1 ? `#/episode/${place(rows[0])}` : `#/compare/${rows.map(place).join("/")}`;
  return step === null || step === undefined ? path : `${path}/step/${step + 1}`;
};

function markStep() {
  for (const element of byId("view").querySelectorAll("[data-step]")) {
    element.classList.toggle("current", Number(element.dataset.step) === view.step);
  }
  const current = byId("view").querySelector(".current");
  current?.scrollIntoView({ block: "start" });
  current?.focus({ preventScroll: true });
}

// Keys go by the address, not by what is on the page yet: a trace takes a moment to open.
function moveStep(by) {
  const { rows, step } = asked();
  const last = Math.max(...rows.map((row) => COLUMNS.steps[row])) - 1;
  location.hash = viewAddress(rows, Math.min(last, Math.max(0, (step ?? -1) + by)));
}

function moveEpisode(by) {
  const { rows } = asked();
  const row = rows.length === 1 ? neighbour(rows[0], by) : undefined;
  if (row !== undefined) location.hash = viewAddress([row]);
}

// The row that stands so many rows further in the list.
function neighbour(row, by) {
  const at = list.rows.indexOf(row);
  return at < 0 ? undefined : list.rows[at + by];
}

function flash(element) {
  if (!element) return;
  for (let above = element.parentElement; above; above = above.parentElement)
    if (above.tagName === "DETAILS") above.open = true;
  element.scrollIntoView({ block: "center" });
  element.classList.remove("flash");
  void element.offsetWidth; // so that the animation starts again
  element.classList.add("flash");
}

// A click on a reference shows its place among the paragraphs beside it.
function showReference(event) {
  const reference = event.target.closest("[data-ref]");
  if (!reference) return;
  const wanted = reference.dataset.ref;
  const scope = reference.closest("[data-scope]");
  const side = byId("view").querySelector(`[data-side="${scope.dataset.scope}"]`);
  flash([...side.querySelectorAll("[data-at]")].find((element) => element.dataset.at === wanted));
}

// What stands beside the steps of column number i; its links lead to the calls of that column.
function aside(entry, i) {
  const goTo = (step, call) =>
    flash(byId("view").querySelector(`[data-scope="${i}"] [data-step="${step}"] [data-call="${call}"]`));
  return h("aside", { "data-side": i }, rewardPanel(entry, goTo), evidencePanel(entry, goTo), toolsPanel(entry));
}

const FEW_OTHERS = 12;

function otherButton(row, other) {
  return h(
    "a",
    { class: "button", href: compareAddress(row, other) },
    h("b", { class: `badge o-${OUTCOME[other]}` }, OUTCOMES[OUTCOME[other]].sign),
    runName(COLUMNS.run[other]),
    h("span", { class: "small" }, `seed ${COLUMNS.seed[other]}`),
  );
}

function single(entry) {
  const at = list.rows.indexOf(entry.row);
  const toNeighbour = (by, label, key) => {
    const row = neighbour(entry.row, by);
    return row === undefined
      ? h("span", { class: "button off", "aria-disabled": "true" }, label)
      : h("a", { class: "button", href: viewAddress([row]), title: `${key} key` }, label);
  };
  const others = sameQuestion(entry.row).filter((row) => row !== entry.row);
  return h(
    "article",
    { class: "single", onclick: showReference },
    h(
      "nav",
      { class: "crumbs", "aria-label": "Episodes" },
      h("a", { href: listAddress(list.filter), class: "button", "data-back": true }, "← Episodes"),
      toNeighbour(-1, "‹ Previous", "["),
      toNeighbour(1, "Next ›", "]"),
      h("span", { class: "small" }, at < 0 ? "" : `${count(at + 1)} of ${count(list.rows.length)}`),
      h(
        "label",
        { class: "mark-this" },
        h("input", {
          type: "checkbox",
          checked: list.marked.includes(entry.row),
          onchange: () => toggleMark(entry.row),
        }),
        "compare",
      ),
    ),
    traceHead(entry),
    others.length
      ? h(
          "p",
          { class: "others" },
          "The same question, side by side: ",
          others.slice(0, FEW_OTHERS).map((row) => otherButton(entry.row, row)),
          others.length > FEW_OTHERS
            ? `and ${count(others.length - FEW_OTHERS)} more: search for ${COLUMNS.id[entry.row]}`
            : null,
        )
      : null,
    h(
      "div",
      { class: "columns" },
      h(
        "div",
        { class: "steps", "data-scope": 0 },
        entry.trace.steps.map((_, number) => stepElement(entry, number, (step) => viewAddress([entry.row], step))),
      ),
      aside(entry, 0),
    ),
  );
}

function pair(entries) {
  const [a, b] = entries;
  const rows = entries.map((entry) => entry.row);
  const isSame = a.trace.question.text === b.trace.question.text;
  const longest = Math.max(...entries.map((entry) => entry.trace.steps.length));
  const numbers = Array.from({ length: longest }, (_, number) => number);
  const column = (name, ...children) => h("div", { class: `column side${name}`, "data-scope": name }, children);
  return h(
    "article",
    { class: "pair", onclick: showReference },
    h(
      "nav",
      { class: "crumbs", "aria-label": "Episodes" },
      h("a", { href: listAddress(list.filter), class: "button", "data-back": true }, "← Episodes"),
      rows.map((row, i) => h("a", { class: "button", href: viewAddress([row]) }, i ? "Second alone" : "First alone")),
      h("a", { class: "button", href: compareAddress(rows[1], rows[0]) }, "Swap"),
    ),
    isSame ? h("h1", { dir: "auto" }, a.trace.question.text) : null,
    h(
      "div",
      { class: "two" },
      entries.map((entry, i) => column(i, traceHead(entry, { level: "h2", withQuestion: !isSame }))),
      numbers.map((number) =>
        entries.map((entry, i) =>
          column(
            i,
            number < entry.trace.steps.length
              ? stepElement(entry, number, (step) => viewAddress(rows, step), true)
              : h("p", { class: "small over-already" }, "over already"),
          ),
        ),
      ),
      entries.map((entry, i) => h("div", { class: `column side${i}` }, aside(entry, i))),
    ),
  );
}
