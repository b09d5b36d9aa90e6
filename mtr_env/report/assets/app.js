// Addresses, theme and keyboard; the page starts at the end.

// What the address asks for: #/  #/episodes?outcome=wrong  #/episode/1.17/step/3  #/compare/1.17/2.17
// rows is empty where that is no episode of this report.
function asked() {
  const [path, query = ""] = location.hash.slice(2).split("?");
  const [page, ...rest] = path.split("/");
  const wanted = page === "compare" ? 2 : page === "episode" ? 1 : 0;
  const rows = rest.slice(0, wanted).map(rowAt);
  const step = rest.at(-2) === "step" ? Number(rest.at(-1)) - 1 : null;
  return {
    page,
    query,
    rows: rows.includes(null) ? [] : rows,
    step: Number.isInteger(step) && step >= 0 ? step : null,
  };
}

function route() {
  const { page, query, rows, step } = asked();
  if (rows.length) {
    if (byId("view").hidden) list.scroll = scrollY;
    swap(true);
    showTraces(rows, step);
    return;
  }
  const wasView = byId("overview").hidden;
  swap(false);
  leaveTraces();
  document.title = overviewTitle;
  if (page === "episodes") {
    const filter = Object.fromEntries(
      Object.keys(EVERYTHING).map((name) => [name, new URLSearchParams(query).get(name) ?? ""]),
    );
    const isOther = Object.entries(filter).some(([name, value]) => value !== list.filter[name]);
    if (isOther) applyFilter(filter, { replace: false });
    if (wasView && list.scroll !== undefined && !isOther) scrollTo(0, list.scroll);
    else byId("episodes").scrollIntoView();
  } else scrollTo(0, 0);
  drawRows();
  if (wasView && list.active >= 0) list.drawn.get(list.active)?.querySelector("a").focus({ preventScroll: true });
}

function swap(isView) {
  byId("overview").hidden = isView;
  byId("view").hidden = !isView;
}

// -------------------------------------------------------------------------------------------------------------- theme

const THEMES = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" };

function storedTheme() {
  try {
    return localStorage.getItem("mtr-env-theme");
  } catch {
    return null; // the browser keeps nothing for local files
  }
}

function setTheme(theme) {
  const chosen = Object.hasOwn(THEMES, theme) ? theme : "auto";
  document.documentElement.dataset.theme = chosen;
  byId("theme").textContent = THEMES[chosen];
  byId("theme").setAttribute("aria-label", `Theme: ${chosen}. Change it (t)`);
  try {
    localStorage.setItem("mtr-env-theme", chosen);
  } catch {
    // nothing is kept: the next look begins with auto
  }
}

function nextTheme() {
  const names = Object.keys(THEMES);
  setTheme(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
}

// ----------------------------------------------------------------------------------------------------------- keyboard

const KEYS = [
  ["/", "search"],
  ["j k ↓ ↑", "next and previous episode, or step"],
  ["Enter", "open the episode"],
  ["x", "mark the episode to compare"],
  ["c", "compare the two that are marked"],
  ["[ ]", "previous and next episode, when one is open"],
  ["Esc", "back to the list; leave the search"],
  ["t", "theme"],
  ["?", "this help"],
];

const isViewing = () => !byId("view").hidden;
const focusSearch = () => document.querySelector("#filters [name=q]").focus();

const ACTIONS = {
  "/": () => {
    if (!isViewing()) return focusSearch();
    addEventListener("hashchange", focusSearch, { once: true }); // after the list is back
    location.hash = listAddress(list.filter);
  },
  j: () => (isViewing() ? moveStep(1) : moveActive(1)),
  k: () => (isViewing() ? moveStep(-1) : moveActive(-1)),
  x: () => {
    const row = isViewing() ? view.rows[0] : list.rows[list.active];
    if (row === undefined || (isViewing() && view.rows.length > 1)) return;
    toggleMark(row);
    const box = isViewing() ? byId("view").querySelector(".mark-this input") : null;
    if (box) box.checked = list.marked.includes(row);
  },
  c: () => list.marked.length === 2 && (location.hash = compareAddress(...list.marked)),
  "[": () => isViewing() && moveEpisode(-1),
  "]": () => isViewing() && moveEpisode(1),
  t: nextTheme,
  "?": () => byId("keys").showModal(),
};
ACTIONS.ArrowDown = () => list.active >= 0 && !isViewing() && ACTIONS.j();
ACTIONS.ArrowUp = () => list.active >= 0 && !isViewing() && ACTIONS.k();

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
  const isTyping = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (event.key === "Escape") {
    if (isTyping) event.target.blur();
    else if (isViewing()) location.hash = listAddress(list.filter);
    return;
  }
  const action = isTyping ? null : ACTIONS[event.key];
  if (!action) return;
  if (action() !== false) event.preventDefault();
}

function fillHelp() {
  byId("keys").append(
    h("h2", { id: "keys-title" }, "Keyboard"),
    h(
      "dl",
      null,
      KEYS.map(([keys, what]) => [
        h(
          "dt",
          null,
          keys.split(" ").map((key) => h("kbd", null, key)),
        ),
        h("dd", null, what),
      ]),
    ),
    h("form", { method: "dialog" }, h("button", { class: "button" }, "Close")),
  );
}

// -------------------------------------------------------------------------------------------------------------- start

setTheme(storedTheme() ?? "auto");
byId("theme").addEventListener("click", nextTheme);
byId("help").addEventListener("click", ACTIONS["?"]);
fillHelp();
byId("overview").append(overview());
const overviewTitle = document.title;
applyFilter(EVERYTHING, { replace: false });
addEventListener("hashchange", route);
addEventListener("scroll", drawRows, { passive: true });
addEventListener("resize", drawRows);
addEventListener("keydown", onKey);
route();
