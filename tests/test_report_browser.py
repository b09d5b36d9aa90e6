"""The report in a real browser: what people click and press, that hostile text does nothing, and how long it takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import Browser, Page, browser, find_browser
from report_runs import ATTACKS, cut_run, hostile_run, odd_steps, outage, played, sampled, write

from benchmarks.report_size import rewrite, with_own_id
from mtr_env.evaluate import read_traces, run
from mtr_env.registration import make_game
from mtr_env.report import build_report

pytestmark = pytest.mark.browser

N = 12  # episodes of a run
FIRST = "#/episode/1.1"
OPENED = "!document.querySelector('#view').hidden && document.querySelector('.trace-head')"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium here: install Debian's package chromium")
    with browser(path) as running:
        yield running


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The addresses of reports: of three runs, hostile ones, samples by a model, many runs, and runs that were cut."""
    folder = tmp_path_factory.mktemp("report")
    oracle, chaser = [played(folder / name, name, N, noise=0.2) for name in ("oracle", "chaser")]
    traces = list(read_traces(oracle / "traces.jsonl"))
    odd = write(folder / "odd", [odd_steps(traces[0]), outage(traces[1]), traces[2]])
    build_report([oracle, chaser, odd], folder / "runs.html")
    build_report([hostile_run(folder / "hostile", oracle), odd], folder / "hostile.html")
    samples, warm = sampled(folder / "samples"), sampled(folder / "samples-warm")
    build_report([samples, oracle], folder / "sampled.html")
    build_report([oracle, chaser, samples, warm, odd], folder / "many.html")
    cut = [cut_run(folder / f"cut-{alarm}", oracle, unscored_alarm=alarm) for alarm in (0.2, 0.5)]
    build_report([*cut, oracle], folder / "cut.html")
    return {name: (folder / f"{name}.html").as_uri() for name in ("runs", "hostile", "sampled", "many", "cut")}


@pytest.fixture
def blank(chromium: Browser) -> Iterator[Page]:
    page = chromium.page()
    yield page
    page.close()


@pytest.fixture
def page(blank: Page, files: dict[str, str]) -> Iterator[Page]:
    blank.open(files["runs"])
    yield blank
    assert blank.errors == []
    assert all(url.startswith("file:") for url in blank.requests), blank.requests


def address(page: Page) -> str:
    return str(page.run("location.hash"))


def shown(page: Page) -> int:
    """How many episodes the list says that it shows."""
    return int(page.text("#found").split()[0])


def test_it_opens_with_the_measures_of_each_run(page: Page) -> None:
    assert page.run("document.title") == "oracle, chaser, odd: MTR-Synthetic-v0"
    assert page.count(".card") == 3
    assert page.run("document.querySelector('.card strong').textContent") == "100.0%"
    assert "unscored" in page.text(".card:nth-child(3) .alarm"), "one of three is above the threshold"
    assert page.count(".charts svg[role=img]") >= 6
    assert shown(page) == 2 * N + 3
    assert page.requests == [page.run("location.href")], "one file, and nothing else"


def test_samples_tokens_cost_and_latency_are_shown_where_a_run_has_them(page: Page, files: dict[str, str]) -> None:
    assert page.count(".took") == 0
    assert "pass@" not in page.text(".measures")
    page.open(files["sampled"])
    rows = page.run("[...document.querySelectorAll('.measure')].map((e) => e.innerText.replace(/\\s+/g, ' ').trim())")
    named = {row.split(" ")[0]: row for row in rows}
    assert {"pass@1", "pass^1", "pass@2", "pass^2", "pass@3", "pass^3"} <= named.keys()
    assert "each of 3 samples is right 0.833 0.436 to 0.970 –" in named["pass^3"]
    assert "36 18 without an answer –" in named["requests"]
    assert "1,800 + 180 110 an episode –" in named["tokens"]
    assert "0.1800 USD 0.0100 an episode –" in named["cost"]
    assert "9.50 95% below 18.50 –" in named["seconds"]
    page.size(360, 740, 2, mobile=True)
    page.open(files["sampled"])
    assert page.run("document.documentElement.scrollWidth") == 360


def test_a_card_says_what_was_not_played_the_run_s_own_alarm_and_its_starts(page: Page, files: dict[str, str]) -> None:
    page.size(360, 740, 2, mobile=True)
    page.open(files["cut"])
    page.run("document.querySelectorAll('details').forEach((element) => (element.open = true))")
    first, second, third = (page.text(f".card:nth-child({i})") for i in (1, 2, 3))
    assert "9 more episodes were not played." in first and "9 more episodes were not played." in second
    assert "ALARM: 1 of 3 episodes (33.3%) are unscored, more than 20.0%" in first
    assert page.count(".alarm") == 1, "the second run's threshold is 50%"
    assert "not played" not in third
    start = page.run("RUNS[2].starts[0]")
    assert start["date"][:10] in third and start["machine"]["system"] in third
    assert (start["commit"] or f"mtr-env {start['version']}") in third
    assert page.run("document.documentElement.scrollWidth") == 360


def test_the_list_is_filtered_by_typing_and_by_choosing(page: Page) -> None:
    page.press("/", *"zzz")
    page.wait_for("document.querySelector('#found').textContent.startsWith('0')")
    assert page.run("getComputedStyle(document.querySelector('#nothing')).display") != "none"
    page.press("Escape")
    page.click("#nothing button")
    assert shown(page) == 2 * N + 3
    page.run("document.querySelector('[name=outcome]').value = 'wrong'")
    page.run("document.querySelector('[name=run]').value = '1'")
    page.run("document.querySelector('#filters').dispatchEvent(new Event('input'))")
    wrong = page.run("OUTCOME.filter((outcome, row) => outcome === 'wrong' && COLUMNS.run[row] === 1).length")
    assert 0 < shown(page) == wrong <= N
    assert page.count("#rows .row") == wrong
    assert address(page) == "#/episodes?run=1&outcome=wrong"


def test_an_address_holds_the_filter(page: Page, files: dict[str, str]) -> None:
    page.open(f"{files['runs']}#/episodes?fault=policy&sort=calls&down=1")
    assert shown(page) == page.run("COLUMNS.policy.filter((n) => n > 0).length") == 1
    assert page.run("document.querySelector('[name=fault]').value") == "policy"
    page.open(f"{files['runs']}#/episodes?outcome=differs")
    assert shown(page) == page.run("[...COLUMNS.run.keys()].filter(disagrees).length") > 0


def test_the_head_of_a_column_sorts(page: Page) -> None:
    page.click("[data-sort=calls] button")
    calls = page.run("list.rows.map((row) => COLUMNS.calls[row])")
    assert calls == sorted(calls, reverse=True)
    assert page.run("document.querySelector('[data-sort=calls]').getAttribute('aria-sort')") == "descending"
    page.click("[data-sort=calls] button")
    assert page.run("list.rows.map((row) => COLUMNS.calls[row])") == sorted(calls)
    page.click("[data-sort=calls] button")
    assert page.run("list.rows") == list(range(2 * N + 3))


def test_a_click_opens_an_episode_with_all_that_belongs_to_it(page: Page) -> None:
    page.click("nav a[href='#/episodes']")
    page.wait_for("document.querySelector('#rows .row')")
    page.click("#rows .row a")
    page.wait_for(OPENED)
    assert address(page) == "#/episode/1.1"
    trace = page.run("episode(0).then(({trace}) => trace)")
    assert page.text(".trace-head h1") == trace["question"]["text"]
    assert trace["question"]["answer"] in page.text(".verdict")
    assert page.count(".step") == len(trace["steps"])
    assert page.text(".tool-name") == trace["steps"][0]["calls"][0]["name"]
    tools = [tool["name"] for tool in trace["toolset"]["tools"]]
    assert page.run("[...document.querySelectorAll('.tool summary code')].map((e) => e.textContent)") == tools
    page.run("document.querySelectorAll('details').forEach((element) => (element.open = true))")
    schema = json.loads(page.text(".tool pre"))
    assert schema == trace["toolset"]["tools"][0]["parameters"]
    assert page.text(".raw pre") == trace["steps"][0]["action"]
    page.click("[data-back]")
    page.wait_for("document.querySelector('#view').hidden")


def test_an_episode_that_is_opened_again_knows_the_list_as_it_is_now(page: Page) -> None:
    title = page.run("document.title")
    page.run(f"location.hash = '{FIRST}'")
    page.wait_for(OPENED)
    assert page.run("document.title") == page.run("COLUMNS.question[0]")
    page.click("[data-back]")
    page.wait_for("document.querySelector('#view').hidden")
    assert page.run("document.title") == title
    page.run("applyFilter({outcome: 'right', sort: 'run', down: '1'})")
    filtered, right = address(page), shown(page)
    assert right < 2 * N + 3
    page.run(f"location.hash = '{FIRST}'")
    page.wait_for(OPENED)
    at = page.run("list.rows.indexOf(0)")
    assert at > 0 and f"{at + 1} of {right}" in page.text(".crumbs")
    assert page.run("document.title") == page.run("COLUMNS.question[0]")
    page.click("[data-back]")
    page.wait_for("document.querySelector('#view').hidden")
    assert (address(page), shown(page)) == (filtered, right)


def test_an_episode_that_was_left_while_it_opened_changes_nothing(page: Page) -> None:
    title = page.run("document.title")
    page.run("""(() => {
      const open = episode;
      window.end = [];
      episode = async (row) => {
        await new Promise((resolve, reject) => window.end.push({ resolve, reject }));
        return open(row);
      };
    })()""")
    page.run(f"location.hash = '{FIRST}'")
    page.wait_for("window.end.length === 1")
    page.run("location.hash = '#/'")
    page.wait_for("document.querySelector('#view').hidden")
    page.run("window.end[0].resolve()")
    page.run("new Promise((resolve) => setTimeout(resolve, 200))")
    assert page.run("document.title") == title
    page.run(f"location.hash = '{FIRST}'")
    page.wait_for("window.end.length === 2")
    page.run("location.hash = '#/episode/1.2'")
    page.wait_for("window.end.length === 3")
    page.run("window.end[2].resolve()")
    page.wait_for(OPENED)
    page.run("window.end[1].reject(new Error('torn'))")
    page.run("new Promise((resolve) => setTimeout(resolve, 200))")
    assert "cannot be opened" not in page.text("#view")
    assert page.text(".trace-head h1") == page.run("COLUMNS.question[1]")


def test_a_response_shows_the_sentence_it_came_from_with_its_words_marked(page: Page, files: dict[str, str]) -> None:
    page.open(f"{files['runs']}#/episode/1.1")
    page.wait_for(OPENED)
    trace = page.run("episode(0).then(({trace}) => trace)")
    sentences = [sentence for paragraph in trace["question"]["paragraphs"] for sentence in paragraph["sentences"]]
    quoted = page.run("[...document.querySelectorAll('.origins q:not(.fact)')].map((e) => e.textContent)")
    assert quoted and set(quoted) <= set(sentences)
    marks = page.run("[...document.querySelectorAll('.origins q:not(.fact) mark')].map((e) => e.textContent)")
    values = json.dumps([step["responses"] for step in trace["steps"]], ensure_ascii=False)
    assert marks and all(mark in values for mark in marks)
    page.click(".origins button.ref")
    page.wait_for("document.querySelector('.statement.flash')")
    assert page.run("document.querySelector('.statement.flash').dataset.at") == page.text(".origins .ref")


def test_the_sum_that_is_shown_is_the_reward(page: Page) -> None:
    checked = 0
    for row in range(2 * N + 3):
        page.run(f"showTraces([{row}], null)")
        reward = page.run(f"COLUMNS.reward[{row}]")
        if reward is not None:
            checked += 1
            assert abs(page.run("Number(document.querySelector('.formula').dataset.total)") - reward) < 1e-12
    assert checked == 2 * N + 2
    page.run(f"showTraces([{2 * N + 1}], null)")
    assert "Unscored, which is not 0: The endpoint is down." in page.text(".trace-head .alarm")


def test_faults_are_shown_with_who_made_them(page: Page, files: dict[str, str]) -> None:
    page.open(f"{files['runs']}#/episode/3.1")
    page.wait_for(OPENED)
    faults = page.run("[...document.querySelectorAll('.fault')].map((e) => e.innerText.replaceAll('\\n', ' '))")
    assert [("policy's fault" in fault, "simulator's fault" in fault) for fault in faults[:3]] == [
        (True, False),
        (False, True),
        (True, False),
    ]
    assert page.text(".step .written") == "no call at all"
    assert "the policy did not see it" in page.text(".response.unseen")
    assert "12345678901234567890" in page.text(".step[data-step='1'] .json"), "no number is rounded"
    assert page.text(".step[data-step='1'] .thought") == "two"


def test_a_step_has_an_address(page: Page, files: dict[str, str]) -> None:
    page.open(f"{files['runs']}#/episode/2.3/step/2")
    page.wait_for("document.querySelector('.step.current')")
    assert page.run("document.querySelector('.step.current').dataset.step") == "1"
    assert 0 <= page.run("document.querySelector('.step.current').getBoundingClientRect().top") < 450
    page.click(".step[data-step='0'] .anchor")
    page.wait_for("document.querySelector('.step.current').dataset.step === '0'")
    assert address(page) == "#/episode/2.3/step/1"
    page.open(f"{files['runs']}#/episode/9.99")
    assert page.run("document.querySelector('#view').hidden"), "an episode that is not there: the summary"


def test_two_episodes_are_marked_and_compared_by_keys(page: Page) -> None:
    page.press("j", "x", "j", "x")
    assert page.count("#tray .pick") == 2
    page.press("c")
    page.wait_for(OPENED)
    assert address(page) == "#/compare/1.1/1.2"
    assert page.count(".two .trace-head h2") == 2


def test_the_same_question_stands_side_by_side_step_by_step(page: Page, files: dict[str, str]) -> None:
    page.open(f"{files['runs']}#/episode/1.2")
    page.wait_for(OPENED)
    page.click(".others a")
    page.wait_for("document.querySelector('.pair')")
    assert address(page) == "#/compare/1.2/2.2"
    tops = page.run("[...document.querySelectorAll('[data-step=\"1\"]')].map((e) => e.getBoundingClientRect().top)")
    assert len(tops) == 2 and tops[0] == tops[1]
    assert page.count(".reward") == page.count(".verdict") == 2
    assert page.count(".pair h1") == 1, "the question stands there once"
    page.open(f"{files['runs']}#/compare/1.2/2.2/step/2")
    page.wait_for("document.querySelectorAll('.step.current').length === 2")


def test_everything_can_be_done_by_keys(page: Page) -> None:
    page.press("j", "j")
    assert page.run("document.activeElement.dataset.i") == "1"
    page.press("Enter")
    page.wait_for(OPENED)
    assert address(page) == "#/episode/1.2"
    page.press("]", "]", "[")  # faster than a trace opens
    page.wait_for("document.querySelector('.crumbs')?.textContent.includes('3 of')")
    assert address(page) == "#/episode/1.3"
    page.press("[", "j")
    page.wait_for("document.querySelector('.step.current')")
    assert address(page) == "#/episode/1.2/step/1"
    assert page.text(".trace-head h1") == page.run("COLUMNS.question[1]")
    page.press("Escape")
    page.wait_for("document.querySelector('#view').hidden")
    assert page.run("document.activeElement.dataset.i") == "1", "back at the row that was opened"
    page.press("?")
    assert page.run("document.querySelector('#keys').open")
    page.press("Escape")
    page.wait_for("!document.querySelector('#keys').open")


def test_the_list_keeps_only_rows_near_the_screen(page: Page) -> None:
    page.size(1280, 300)
    page.run("scrollTo(0, document.body.scrollHeight)")
    page.wait_for(f"document.querySelector('#rows [data-i=\"{2 * N + 2}\"]')")
    for _ in range(40):
        page.press("k")
    page.wait_for("document.activeElement.dataset.i === '0'")
    box = page.run("document.activeElement.getBoundingClientRect().toJSON()")
    filters = page.run("document.querySelector('#filters').getBoundingClientRect().bottom")
    assert filters <= box["top"] < 300, "it is on the screen and not below what sticks to its top"


def background(page: Page) -> list[int]:
    colour = page.run("getComputedStyle(document.body).backgroundColor")
    return [int(part) for part in colour.strip("rgb()").split(",")]


def test_it_is_dark_where_the_system_is_and_where_somebody_says_so(page: Page, files: dict[str, str]) -> None:
    page.prefer("light")
    assert min(background(page)) > 200
    page.prefer("dark")
    assert max(background(page)) < 60
    page.click("#theme")
    assert page.run("document.documentElement.dataset.theme") == "light"
    assert min(background(page)) > 200
    page.press("t")
    page.prefer("light")
    assert max(background(page)) < 60
    page.open(files["runs"])
    assert page.run("document.documentElement.dataset.theme") == "dark", "the choice is kept"
    page.press("t")


@pytest.mark.parametrize("where", ["", "#/episodes", "#/episode/1.1", "#/episode/3.1", "#/compare/1.1/2.1"])
def test_a_phone_shows_it_without_scrolling_sideways(page: Page, files: dict[str, str], where: str) -> None:
    page.size(360, 740, 2, mobile=True)
    page.open(files["runs"] + where)
    if "1" in where:
        page.wait_for(OPENED)
    page.run("document.querySelectorAll('details').forEach((element) => (element.open = true))")
    assert page.run("document.documentElement.scrollWidth") == 360
    small = page.run(
        "[...document.querySelectorAll('main *')].filter((e) => e.innerText && e.checkVisibility() && "
        "parseFloat(getComputedStyle(e).fontSize) < 11).length"
    )
    assert small == 0, "nothing is too small to read"


def test_many_runs_have_a_short_title_and_a_model_its_own_name(page: Page, files: dict[str, str]) -> None:
    page.open(files["many"])
    assert page.text("h1") == page.run("document.title") == "5 runs of MTR-Synthetic-v0"
    names = page.run("[...document.querySelectorAll('.card h2')].map((e) => e.innerText)")
    assert names == ["oracle", "chaser", "samples", "samples-warm", "odd"]
    page.click(".setup summary")
    assert "auto(vendor/model-9(temperature=0.7" in page.text(".setup")
    page.open(files["sampled"])
    assert page.text("h1") == "vendor/model-9 and oracle"


def test_a_phone_shows_every_figure_of_a_row(page: Page, files: dict[str, str]) -> None:
    page.size(390, 844, 2, mobile=True)
    page.open(f"{files['many']}#/episodes?run=3")
    page.wait_for("document.querySelector('#rows .row')")
    cut = page.run("""[...document.querySelectorAll("#rows .row")].flatMap((row) => {
      const { right, bottom } = row.getBoundingClientRect();
      return [...row.querySelectorAll(".facts > *")].filter((fact) => {
        const box = fact.getBoundingClientRect();
        return fact.checkVisibility() && (box.right > right || box.bottom > bottom - 2);
      });
    }).length""")
    assert cut == 0
    assert "calls" in page.text("#rows .row .facts")


# ---------------------------------------------------------------------------------------------------------- hostility


def test_hostile_text_is_shown_and_does_nothing(blank: Page, files: dict[str, str]) -> None:
    blank.open(files["hostile"])
    visits = [f"#/episode/1.{i}" for i in range(1, len(ATTACKS) + 1)] + ["#/compare/1.1/1.2", "#/episodes?q=script"]
    for visit in visits:
        blank.open(files["hostile"] + visit)
        if "1" in visit:
            blank.wait_for(OPENED)
            assert "cannot be opened" not in blank.text("#view")
        blank.run("document.querySelectorAll('details').forEach((element) => (element.open = true))")
        blank.run("document.querySelectorAll('#view button').forEach((element) => element.click())")
        assert blank.run("window.attacked") is None, visit
        assert blank.count("img, iframe, object, embed, form[action], a[href^='javascript']") == 0
    blank.open(files["hostile"] + "#/episode/1.1")
    blank.wait_for(OPENED)
    assert blank.text(".trace-head h1").startswith(ATTACKS[0]), "it is shown as what it is"
    assert blank.errors == []
    assert all(url.startswith("file:") for url in blank.requests)


def test_the_browser_enforces_the_policy(blank: Page, files: dict[str, str]) -> None:
    blank.open(files["hostile"])
    refused = """(async () => {
      const tried = {
        inline: () => { document.createElement("script").text = "window.attacked = 1"; },
        handler: () => document.createElement("img").setAttribute("onerror", "window.attacked = 1"),
        markup: () => { document.body.innerHTML = "<b>x</b>"; },
        code: () => Function("window.attacked = 1")(),
        fetch: () => fetch("http://127.0.0.1:9/"),
      };
      const refusals = [];
      for (const [name, act] of Object.entries(tried)) {
        try { await act(); } catch { refusals.push(name); }
      }
      return refusals;
    })()"""
    assert blank.run(refused) == ["inline", "handler", "markup", "code", "fetch"]
    blank.run("""(() => {
      const image = document.createElement("img");
      image.src = "http://127.0.0.1:9/x.png";
      document.body.append(image);
    })()""")
    blank.wait_for("document.querySelector('img').complete")
    assert blank.run("window.attacked") is None
    assert any("Content Security Policy" in error for error in blank.errors)


# -------------------------------------------------------------------------------------------------------------- speed


def largest(folder: Path, shared_data: Callable[[str], Path]) -> Path:
    """The largest case of `benchmarks.report_size`: 2,000 episodes of MuSiQue, each of a question of its own."""
    source = shared_data("musique/dev_shared.jsonl")
    run(make_game("MTR-MuSiQue-v0", source=str(source)), "chaser", folder, episodes=2000)
    rewrite(folder, with_own_id)
    return folder


@pytest.mark.parametrize("case", ["synthetic, oracle", "MuSiQue, chaser"])
def test_2000_traces_stay_fluid(blank: Page, case: str, tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    if case == "synthetic, oracle":
        folder = played(tmp_path / "run", "oracle", 2000, noise=0.1)
    else:
        folder = largest(tmp_path / "run", shared_data)
    built = build_report(folder, tmp_path / "report.html")
    assert (4e6 if case == "synthetic, oracle" else 12e6) < built.size < 15e6
    blank.open((tmp_path / "report.html").as_uri())
    blank.wait_for("performance.getEntriesByName('first-contentful-paint').length")
    assert blank.run("performance.getEntriesByName('first-contentful-paint')[0].startTime") < 1000
    typed = """((text) => {
      const field = document.querySelector("[name=q]");
      const start = performance.now();
      field.value = text;
      field.dispatchEvent(new Event("input", {bubbles: true}));
      document.body.offsetHeight;
      return performance.now() - start;
    })"""
    times = [blank.run(f"{typed}({json.dumps(text)})") for text in ("t", "th", "the", "the film", "", "zzz", "")]
    times += [blank.run("(() => {const t = performance.now(); sortBy('question'); return performance.now() - t})()")]
    assert max(times) < 100, times
    assert blank.count("#rows .row") < 100
    blank.run("showTraces([1500], null)")
    start = blank.run("performance.now()")
    blank.run("showTraces([700], null)")
    assert blank.count(".step") > 0
    assert blank.run("performance.now()") - start < 500
