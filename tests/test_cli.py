"""The mtr-env command: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mtr_env.cli import main
from mtr_env.cli.progress import Progress
from mtr_env.cli.tables import columns
from mtr_env.evaluate import score_file
from mtr_env.registration import ENV_IDS

Capture = pytest.CaptureFixture[str]
RUN = ("run", "MTR-Synthetic-v0", "--limit", "5", "--policy", "oracle", "--out")


def error_of(capsys: Capture, *argv: str) -> str:
    """The one line on stderr of a command that fails with code 2."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("mtr-env: error: ")
    return err


def test_list_has_a_line_for_each_id(capsys: Capture) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(ENV_IDS)
    assert all("sample" in line for line in lines)


@pytest.mark.parametrize("command", [[], ["list"], ["play"], ["run"], ["score"], ["audit"]])
def test_help_has_examples(command: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "Examples:\n  mtr-env " in capsys.readouterr().out


def test_run_writes_traces_and_a_summary_and_prints_it(tmp_path: Path, capsys: Capture) -> None:
    assert main([*RUN, str(tmp_path), "--episodes", "5", "--seed", "4"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "policy oracle: 5 episodes, 5 scored, 0 unscored" in out
    assert "em                        1.000  [0.566, 1.000]" in out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {"episodes", "scored", "unscored", "metrics", "reward", "parts"} <= set(summary)
    assert len((tmp_path / "traces.jsonl").read_bytes().splitlines()) == 5
    info = json.loads((tmp_path / "run.json").read_text())
    assert (info["policy"], info["seed"], info["episodes"]) == ("oracle", 4, 5)
    assert info["command"][:3] == ["mtr-env", "run", "MTR-Synthetic-v0"]


def test_score_prints_what_the_run_printed_and_writes_the_same_json(tmp_path: Path, capsys: Capture) -> None:
    main([*RUN, str(tmp_path)])
    printed = capsys.readouterr().out
    for path in (tmp_path, tmp_path / "traces.jsonl"):
        assert main(["score", str(path), "--json", str(tmp_path / "again.json")]) == 0
        assert capsys.readouterr().out == printed
        assert (tmp_path / "again.json").read_bytes() == (tmp_path / "summary.json").read_bytes()


def test_run_goes_on_and_says_so(tmp_path: Path, capsys: Capture) -> None:
    main([*RUN, str(tmp_path), "--episodes", "2"])
    with open(tmp_path / "traces.jsonl", "ab") as file:
        file.write(b'{"question":{"id":"synth')
    capsys.readouterr()
    assert main([*RUN, str(tmp_path), "--episodes", "5"]) == 0
    out, err = capsys.readouterr()
    assert "5 episodes, 5 scored" in out
    assert "the last line was torn" in err
    assert "holds 2 episodes already; going on." in err
    assert main([*RUN, str(tmp_path), "--episodes", "5", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_another_policy_into_the_same_folder_is_an_error(tmp_path: Path, capsys: Capture) -> None:
    main([*RUN, str(tmp_path)])
    capsys.readouterr()
    message = error_of(capsys, *RUN[:-3], "--policy", "chaser", "--out", str(tmp_path))
    assert "policy is 'oracle' there and 'chaser' here" in message


@pytest.mark.parametrize("command", ["run", "audit"])
@pytest.mark.parametrize("env_id", ENV_IDS)
def test_a_data_set_is_not_taken_without_saying_which_split(
    command: str, env_id: str, tmp_path: Path, capsys: Capture
) -> None:
    argv = [command, env_id, "--limit", "1", *(["--policy", "no-tool", "--out", str(tmp_path)] * (command == "run"))]
    if env_id == "MTR-Synthetic-v0":
        assert main(argv) == 0
        assert "split sample" in capsys.readouterr().out
    else:
        assert "--split sample" in error_of(capsys, *argv)
        assert main([*argv, "--split", "sample"]) == 0


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("run MTR-Hotpot-v0 --policy oracle --out x", "Did you mean 'MTR-HotpotQA-v0'?"),
        ("run mtr-synthetic-v0 --policy oracle --out x", "Did you mean 'MTR-Synthetic-v0'?"),
        ("run MTR-HotpotQA-v0 --source nowhere.jsonl --policy oracle --out x", "No file or folder 'nowhere.jsonl'"),
        ("run MTR-HotpotQA-v0 --split sampel --policy oracle --out x", "Did you mean 'sample'?"),
        ("run MTR-Synthetic-v0 --policy orcale --out x", "Did you mean 'oracle'?"),
        ("run MTR-Synthetic-v0 --policy no_module_here:x --out x", "there is no module 'no_module_here'"),
        ("run MTR-Synthetic-v0 --policy oracle", "the following arguments are required: --out"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --episodes 0", "expected an integer of at least 1, found '0'"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --hops 2,9", "expected an integer from 2 to 4, found 9"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --hops two", "expected a list such as 2,3, found 'two'"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --noise much", "expected 0.2 or tool_failure=0.1"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --noise rain=0.1", "Unknown kind of noise 'rain'"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --families bridges", "found 'bridges'"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --grammar latin", "Unknown grammar 'latin'"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --rubric best", "Unknown rubric 'best'"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --source y", "--source is not for MTR-Synthetic-v0"),
        ("run MTR-HotpotQA-v0 --split sample --policy oracle --out x --hops 2", "--hops is for MTR-Synthetic-v0"),
        ("run MTR-Synthetic-v0 --pol oracle --out x", "required: --policy"),
        ("score nowhere", "No file 'nowhere"),
        ("audit MTR-Synthetic-v0 --json no/folder/x.json", "there is no folder 'no/folder'"),
        ("play MTR-HotpotQA-v0 --question-id nothing", "No question with id 'nothing'"),
        ("fly", "invalid choice: 'fly'"),
        ("", "required: COMMAND"),
    ],
)
def test_a_mistake_gets_one_clear_line(
    argv: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in error_of(capsys, *argv.split())
    assert list(tmp_path.iterdir()) == []


def test_an_out_that_is_a_file_is_named(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "taken").write_text("")
    assert "taken" in error_of(capsys, *RUN, str(tmp_path / "taken"))


def test_the_knobs_of_the_synthetic_world_reach_it(tmp_path: Path, capsys: Capture) -> None:
    knobs = "--hops 3 --distractors 2 --extra-tools 1 --noise tool_failure=0.25 --families bridge,count --world-seed 9"
    assert main([*RUN, str(tmp_path), *knobs.split(), "--split", "test", "--grammar", "react", "--max-steps", "9"]) == 0
    summary = score_file(tmp_path)
    assert set(summary.hops) == {"3"}
    assert set(summary.families) <= {"bridge", "count"}
    assert summary.tool_maker == "template(extra_tools=1)"
    assert "tool_failure=0.25" in (summary.tool_actor or "")
    assert (summary.split, summary.grammar, summary.max_steps) == ("test", "react", 9)


def test_audit_prints_a_report_and_writes_it(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "audit.json"
    assert main(["audit", "MTR-2WikiMultiHopQA-v0", "--split", "sample", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    report: dict[str, Any] = json.loads(file.read_text())
    assert f"questions {report['questions']}, provable {report['provable']}, leaks 0" in out
    assert {"questions", "oracle_em", "provable", "leaks", "invalid_responses", "short_cuts", "unprovable"} <= set(
        report
    )
    assert set(report["short_cuts"]) == {"first-search", "chaser", "no-tool", "random-valid"}
    assert set(report["distractor_tools"]) == {"gold_resolve_rate", "distractor_resolve_rate", "difference"}


def test_audit_ends_with_0_and_shows_ten_unprovable_questions(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "audit.json"
    assert main(["audit", "MTR-Synthetic-v0", "--limit", "12", "--max-steps", "1", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    report = json.loads(file.read_text())
    assert len(report["unprovable"]) == 12
    assert set(report["unprovable"][0]) == {"question_id", "reason"}
    assert "unprovable (the first 10; --json has all):" in out
    assert out.count("are allowed") == 10


def play(*argv: str, typed: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mtr_env", "play", *argv]
    return subprocess.run(command, input=typed, capture_output=True, text=True)


def test_play_shows_the_reward_by_its_parts() -> None:
    done = play("MTR-HotpotQA-v0", "--seed", "3", typed="search somebody\nanswer nobody\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "answer: nobody\ngold answer: " in done.stdout
    assert "  provenance  1.000" in done.stdout


def test_play_can_be_left() -> None:
    done = play("MTR-Synthetic-v0", "--question-id", "synthetic-sample-0-1", typed="quit\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("Quit.\n")


SLOW_POLICY = """
import time

def slow(messages, tools):
    time.sleep(0.05)
    return "<answer>nothing</answer>"
"""


def test_ctrl_c_keeps_what_was_played_and_ends_with_130(tmp_path: Path) -> None:
    (tmp_path / "slow_policy.py").write_text(SLOW_POLICY)
    command = [
        sys.executable,
        "-m",
        "mtr_env",
        "run",
        "MTR-Synthetic-v0",
        "--policy",
        "slow_policy:slow",
        "--out",
        "out",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    traces = tmp_path / "out" / "traces.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (traces.exists() and b"\n" in traces.read_bytes()):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "interrupted; what was written is kept" in err
    assert score_file(tmp_path / "out").episodes >= 1


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mtr_env", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert (process.wait(timeout=60), process.stderr.read()) == (1, "")
    process.stderr.close()


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with Progress("episodes") as progress:
        for done in range(11, 111):  # ten were there before
            clock[0] += 0.5
            progress(done, 110, "EM 0.500")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "30/110 episodes, 2.0/s, 0:40 left, EM 0.500"
    assert len(lines) == 5


def test_on_a_terminal_progress_is_a_bar_on_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress("questions") as progress:
        progress(1, 2, "provable 1")
        progress(2, 2, "provable 2")
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("\r[###############               ] 1/2 questions, ")
    assert "\r[##############################] 2/2 questions, " in err


def test_tables_show_control_characters_instead_of_obeying_them() -> None:
    assert columns([("name", "value"), ("a\x1b[2J", "x\ny")]) == "name      value\na\\x1b[2J  x y"
