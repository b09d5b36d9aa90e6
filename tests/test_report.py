"""The report as a file: what it holds, that nothing in it can act, and that its numbers are the reward's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace
from report_runs import (
    ATTACKS,
    Markup,
    cut_run,
    digest,
    episodes_of,
    hostile_run,
    odd_steps,
    outage,
    played,
    sampled,
    trace_of,
    write,
)

from benchmarks.report_size import TARGETS, measure
from mtr_env.cli import main
from mtr_env.errors import DatasetError
from mtr_env.evaluate import read_info, read_traces, score_file
from mtr_env.report import build_report
from mtr_env.report.build import SCRIPTS
from mtr_env.report.explain import explain
from mtr_env.reward import RUBRICS, score
from mtr_env.trace import TokenRecord

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "mtr_env" / "report" / "assets"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    made = {name: played(folder / name, name, noise=0.2) for name in ("oracle", "chaser", "random-valid")}
    traces = list(read_traces(made["oracle"] / "traces.jsonl"))
    made["odd"] = write(folder / "odd", [odd_steps(traces[0]), outage(traces[1]), traces[2]])
    made["hostile"] = hostile_run(folder / "hostile", made["oracle"])
    return made


def report(out: Path, *folders: Path) -> Markup:
    build_report(folders, out)
    return Markup(out.read_text(encoding="utf-8"))


def test_every_episode_is_in_it_and_comes_out_as_it_was(runs: dict[str, Path], tmp_path: Path) -> None:
    names = ("oracle", "chaser", "odd", "hostile")
    page = report(tmp_path / "r.html", *[runs[name] for name in names])
    wanted = [trace for name in names for trace in read_traces(runs[name] / "traces.jsonl")]
    assert [trace_of(entry) for entry in episodes_of(page)] == wanted


def test_the_list_says_of_each_episode_what_the_rules_say(runs: dict[str, Path], tmp_path: Path) -> None:
    page = report(tmp_path / "r.html", runs["chaser"], runs["odd"])
    index = json.loads(page.raw["index"])
    columns = index["columns"]
    traces = [trace for name in ("chaser", "odd") for trace in read_traces(runs[name] / "traces.jsonl")]
    assert columns["reward"] == [score(trace).total for trace in traces]
    assert columns["run"] == [0] * 12 + [1] * 3
    assert columns["calls"] == [trace.call_count for trace in traces]
    assert columns["policy"][12:] == [2, 0, 0]
    assert columns["simulator"][12:] == [1, 0, 0]
    assert columns["infrastructure"][12:] == [0, 1, 0]
    assert columns["reward"][13] is None, "unscored is not 0"
    summary = index["runs"][0]["summary"]
    assert summary["reward"] == score_file(runs["chaser"]).reward
    assert index["runs"][0]["command"] == ["mtr-env", "run", "it's"]


def test_the_explanation_of_each_part_gives_its_value(runs: dict[str, Path]) -> None:
    checked = 0
    for name in ("oracle", "chaser", "random-valid", "odd"):
        for trace in read_traces(runs[name] / "traces.jsonl"):
            why = explain(trace)
            if why.unscored is not None:
                continue
            checked += 1
            assert why.parts["provenance"] == max(0.0, 1 - len(why.invented) / 3)
            assert why.parts["support"] == sum(at is not None for at in why.evidence) / len(why.evidence)
            assert why.parts["economy"] == (1 - len(why.wasted) / why.counted if why.counted else None)
            assert why.parts["answer"] == (why.answer in why.golds)
    assert checked > 30


def test_evidence_is_dated_by_the_call_that_stated_it_first(runs: dict[str, Path]) -> None:
    for trace in read_traces(runs["chaser"] / "traces.jsonl"):
        for unit, place in zip(trace.question.evidence, explain(trace).evidence, strict=True):
            stating = [
                (number, i)
                for number, step in enumerate(trace.steps)
                for i, response in enumerate(step.responses)
                if response is not None and not set(unit.any_of).isdisjoint(response.sources)
            ]
            assert place == min(stating, default=None)


def test_another_rubric_is_explained_by_its_own_parts(runs: dict[str, Path]) -> None:
    trace = next(read_traces(runs["chaser"] / "traces.jsonl"))
    assert explain(trace, "em").parts.keys() == {"answer"}
    assert explain(trace, RUBRICS["additive"]).reward == score(trace, "additive").total


def test_no_text_of_a_trace_can_become_markup(runs: dict[str, Path], tmp_path: Path) -> None:
    harmless = report(tmp_path / "a.html", runs["odd"])
    page = report(tmp_path / "b.html", runs["hostile"])
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in harmless.tags]
    data = [text for name, text in page.raw.items() if name == "index" or name.startswith("chunk")]
    assert len(data) == 2
    assert not any("<" in text for text in data)
    index = json.loads(page.raw["index"])
    assert [answer.split(" ")[0] for answer in index["columns"]["gold"]] == [attack.split(" ")[0] for attack in ATTACKS]
    assert index["runs"][0]["label"] == ATTACKS[0]


def test_the_policy_allows_this_script_and_this_style_and_nothing_else(runs: dict[str, Path], tmp_path: Path) -> None:
    page = report(tmp_path / "r.html", runs["hostile"])
    [policy] = [attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes]
    directives = dict(part.split(" ", 1) for part in (policy or "").split("; "))
    assert directives == {
        "default-src": "'none'",
        "connect-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "script-src": f"'sha256-{digest(page.raw['script'])}'",
        "style-src": f"'sha256-{digest(page.raw['style'])}'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    attributes = [name for _, found in page.tags for name in found]
    assert not [name for name in attributes if name == "src" or name == "style" or name.startswith("on")]
    assert all((found.get("href") or "#").startswith("#") for _, found in page.tags)


def test_the_scripts_never_turn_text_into_markup_or_code() -> None:
    script = "".join((ASSETS / f"{name}.js").read_text() for name in SCRIPTS)
    for word in ("innerHTML =", "outerHTML", "insertAdjacent", "document.write", "eval(", "new Function", "</script"):
        assert word not in script, word
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", script)
    assert {path.name for path in ASSETS.iterdir()} == {*[f"{name}.js" for name in SCRIPTS], "page.html", "report.css"}


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa_on_what_it_stands_on(mode: int) -> None:
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", (ASSETS / "report.css").read_text())
    colour = {name: pair[mode] for name, *pair in found}
    grounds = [colour[name] for name in ("paper", "sheet", "sunk")]
    runs = [f"run{i}" for i in range(5)]
    for name in ("ink", "soft", "link", "right", "wrong", "other", "string", *runs):
        for ground in grounds:
            assert contrast(colour[name], ground) >= 4.5, (name, ground)
    for name in ("right", "wrong", "silent", "unscored"):
        assert contrast(colour["on-badge"], colour[name]) >= 4.5, name
    for name in ("right-wash", "wrong-wash", "other-wash", "unscored-wash", "marker"):
        assert contrast(colour["ink"], colour[name]) >= 4.5, name
    assert contrast(colour["soft"], colour["right-wash"]) >= 4.5
    assert contrast(colour["wrong"], colour["wrong-wash"]) >= 4.5
    assert contrast(colour["other"], colour["other-wash"]) >= 4.5


def test_the_same_runs_give_the_same_bytes(runs: dict[str, Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        build_report([runs["oracle"], runs["chaser"]], tmp_path / f"{name}.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"], "nothing is left beside it"


def test_a_question_is_stored_once_however_often_it_was_played(runs: dict[str, Path], tmp_path: Path) -> None:
    once = build_report(runs["oracle"], tmp_path / "1.html")
    thrice = build_report([runs["oracle"]] * 3, tmp_path / "3.html")
    empty = sum(len(path.read_bytes()) for path in ASSETS.iterdir())
    assert (thrice.episodes, thrice.runs) == (36, 3)
    assert thrice.size - empty < 2 * (once.size - empty)


def test_sampled_tokens_are_counted_and_left_out(runs: dict[str, Path], tmp_path: Path) -> None:
    trace = next(read_traces(runs["oracle"] / "traces.jsonl"))
    first, *others = trace.steps
    sampled = replace(trace, steps=(replace(first, tokens=TokenRecord((5, 6, 7), (-0.1, -0.2, -0.3))), *others))
    [entry] = episodes_of(report(tmp_path / "r.html", write(tmp_path / "run", [sampled])))
    assert entry["tokens"] == [3] + [0] * len(others)
    assert trace_of(entry) == trace


def test_runs_of_one_policy_are_told_apart(runs: dict[str, Path], tmp_path: Path) -> None:
    page = report(tmp_path / "r.html", runs["oracle"], runs["odd"], runs["oracle"])
    labels = [found["label"] for found in json.loads(page.raw["index"])["runs"]]
    assert labels == ["oracle, run 1", "odd", "oracle, run 3"]


def test_samples_and_what_a_model_used_are_in_it(runs: dict[str, Path], tmp_path: Path) -> None:
    page = report(tmp_path / "r.html", sampled(tmp_path / "run"), runs["oracle"])
    ours, other = (found["summary"] for found in json.loads(page.raw["index"])["runs"])
    assert [passes["k"] for passes in ours["passes"]] == [1, 2, 3]
    assert ours["usage"]["player"]["requests"] == 36
    assert ours == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (other["passes"], other["usage"]) == ([], None)


@pytest.mark.parametrize("unscored_alarm", [0.2, 0.5])
def test_a_run_has_its_own_alarm_what_was_not_played_and_its_starts(
    unscored_alarm: float, runs: dict[str, Path], tmp_path: Path
) -> None:
    run = cut_run(tmp_path / "cut", runs["oracle"], unscored_alarm)
    [found] = json.loads(report(tmp_path / "r.html", run).raw["index"])["runs"]
    assert found["summary"]["unplayed"] == 9
    assert found["summary"]["alarm"] == score_file(run).alarm
    assert (found["summary"]["alarm"] is None) == (unscored_alarm == 0.5), "one of three is unscored"
    info = read_info(run / "run.json")
    assert info is not None and [start["date"] for start in found["starts"]] == [start.date for start in info.starts]


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"No file .*nope"):
        build_report(tmp_path / "nope", tmp_path / "r.html")
    with pytest.raises(DatasetError, match="holds no finished episode"):
        build_report(write(tmp_path / "empty", []), tmp_path / "r.html")
    with pytest.raises(ValueError, match="at least one run"):
        build_report([], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_the_command_writes_it(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r.html"
    assert main(["report", str(runs["oracle"]), str(runs["chaser"]), "--out", str(out)]) == 0
    assert re.search(r"r\.html: episodes 24, runs 2, 0\.\d MB", capsys.readouterr().out)
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main(["report", str(runs["oracle"]), "--out", str(tmp_path / "no" / "r.html")]) == 2
    assert "there is no folder" in capsys.readouterr().err


@pytest.mark.parametrize("is_there", [True, False], ids=["browser", "no browser"])
def test_the_command_opens_it_where_there_is_a_browser(
    is_there: bool,
    runs: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []

    def open_browser(url: str) -> bool:
        opened.append(url)
        return is_there

    monkeypatch.setattr("webbrowser.open", open_browser)
    monkeypatch.chdir(tmp_path)
    command = ["report", str(runs["oracle"]), "--out", "my report.html"]
    assert main(command) == 0
    assert opened == [] and "MB; open it in a browser\n" in capsys.readouterr().out
    assert main([*command, "--open"]) == 0
    assert opened == [(tmp_path / "my report.html").as_uri()]
    said = capsys.readouterr()
    assert ("found no browser" in said.err) == (not is_there)


# -------------------------------------------------------------------------------------------------------- time and size


@pytest.mark.stress
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is Linux's")
@pytest.mark.parametrize("policy", ["oracle", "chaser"])
def test_2000_traces_are_built_in_seconds_and_little_memory(policy: str, tmp_path: Path) -> None:
    """CPU seconds: building waits for nothing, so they are the wall time of a machine with nothing else to do."""
    found = measure([played(tmp_path / "run", policy, 2000, noise=0.1)], tmp_path / "report.html")
    assert found.episodes == 2000
    assert found.seconds < TARGETS["seconds"] and found.memory_mb < TARGETS["memory_mb"], found
    assert 1 < found.megabytes < TARGETS["megabytes"], found


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_make_report_is_one_command_of_seconds_once_it_is_set_up(tmp_path: Path) -> None:
    """The commands of the target, in a folder with runs of older code only: from a clone that is set up to a report to
    open, without those."""
    found = re.search(r"^report: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert found is not None
    commands = [
        line.strip().replace("$(BIN)/mtr-env", f"{sys.executable} -m mtr_env") for line in found[1].splitlines()
    ]
    assert len(commands) == 3 and not any("$" in command for command in commands)
    older = tmp_path / "runs" / "look" / "MTR-Synthetic-v0"
    older.mkdir(parents=True)
    write(older / "older", [])
    begun = time.monotonic()
    for command in commands:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    seconds = time.monotonic() - begun
    print(f"make report: {seconds:.1f} s, load {os.getloadavg()[0]:.1f}")
    assert seconds < 180
    named = done.stdout.partition(": ")[0]
    assert named.endswith("report.html"), done.stdout
    assert len(list(episodes_of(Markup((tmp_path / named).read_text(encoding="utf-8"))))) == 800
