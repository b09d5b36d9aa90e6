"""The mtr-env command: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mtr_env.cli import main
from mtr_env.cli.progress import Phases, Progress
from mtr_env.cli.tables import columns
from mtr_env.evaluate import score_file
from mtr_env.registration import ENV_IDS, make_game

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


def test_list_has_each_id_with_its_splits_in_80_columns(capsys: Capture) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("MTR-")] == list(ENV_IDS)
    assert all(len(line) <= 80 for line in lines)
    assert "  sample (24, bundled); train, validation (hub: hotpotqa/hotpot_qa)" in lines
    assert "  sample (24, bundled); validation (= test) (hub: chiayewken/bamboogle)" in lines


def help_of(command: str, capsys: Capture) -> str:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    return " ".join(capsys.readouterr().out.split())


def test_help_says_what_has_to_be_said(capsys: Capture) -> None:
    assert "called once per run" in help_of("run", capsys)
    assert "for_episode(trace)" in help_of("run", capsys)
    assert "What the report says" in help_of("audit", capsys)
    for command in ("run", "audit"):
        assert "Required for a data set: --split or --source" in help_of(command, capsys)
    assert "bundled sample, unless" in help_of("play", capsys)


def test_the_defaults_in_the_help_are_those_of_the_library(capsys: Capture) -> None:
    text = help_of("play", capsys)
    game = make_game("MTR-Synthetic-v0")
    assert f"(MTR-Synthetic-v0: {len(game.world.ids)})" in text
    assert f"steps of an episode (default {game.setup.max_steps})" in text
    assert "distractor tools of a toolset (3)" in text
    assert "extra_tools=3" in game.setup.tool_maker
    assert "distractors=6" in game.setup.world.source
    assert "paragraphs beside the gold ones (6)" in text
    assert "hops=2,3,4" in game.setup.world.source
    assert "some of 2,3,4" in text


@pytest.mark.parametrize("command", [[], ["list"], ["play"], ["run"], ["score"], ["compare"], ["report"], ["audit"]])
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
    assert "  answer                  1.000  [0.566, 1.000]" in out
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


def test_several_ids_and_policies_have_a_folder_each(tmp_path: Path, capsys: Capture) -> None:
    argv = ["run", "MTR-HotpotQA-v0,MTR-MuSiQue-v0", "--split", "sample", "--policy", "no-tool, oracle", "--limit", "3"]
    assert main([*argv, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for env_id in ("MTR-HotpotQA-v0", "MTR-MuSiQue-v0"):
        for policy in ("no-tool", "oracle"):
            assert f"--- {tmp_path / env_id / policy}\n{env_id}: " in out
            assert score_file(tmp_path / env_id / policy).policy == policy
    assert {path.name for path in tmp_path.iterdir()} == {"MTR-HotpotQA-v0", "MTR-MuSiQue-v0"}


def test_of_several_policies_none_is_played_when_one_cannot_be(tmp_path: Path, capsys: Capture) -> None:
    assert "Did you mean 'chaser'?" in error_of(capsys, *RUN[:-3], "--policy", "oracle,chasr", "--out", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_samples_of_each_question_are_played_and_said(tmp_path: Path, capsys: Capture) -> None:
    assert main([*RUN, str(tmp_path), "--samples", "4"]) == 0
    out = capsys.readouterr().out
    assert "20 episodes, 20 scored, 0 unscored; 5 questions, up to 4 samples of each" in out
    assert [line.split()[:2] for line in out.splitlines() if line.startswith("pass")] == [
        [name, "1.000"] for name in ("pass@1", "pass^1", "pass@2", "pass^2", "pass@4", "pass^4")
    ]


FLAKY = """
from mtr_env.errors import InfrastructureError
from mtr_env.policies.usage import EpisodeUsage
class Flaky:
    def __call__(self, messages, tools):
        raise InfrastructureError("away")
    def usage(self, question_id, seed):
        return EpisodeUsage(1, 1000, 10, 0.25, 1.5)
"""


def test_an_alarm_is_cried_out_and_a_budget_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "flaky_policy.py").write_text(FLAKY)
    monkeypatch.chdir(tmp_path)
    argv = ["run", "MTR-Synthetic-v0", "--limit", "5", "--policy", "flaky_policy:Flaky"]
    assert main([*argv, "--max-cost", "0.6", "--out", "a"]) == 1
    out, err = capsys.readouterr()
    assert "3 episodes, 0 scored, 3 unscored; 2 more not played, which count nowhere" in out
    assert "used: player 3 requests, 3,000 + 30 tokens, 0.7500 USD, seconds of an episode: median 1.50" in out
    assert "2 of 5 episodes are left unplayed, the budget of 0.6 USD (0.7500 used)" in err
    assert "ALARM: 3 of 3 episodes (100.0%) are unscored, more than 5.0%" in err
    assert main([*argv, "--unscored-alarm", "1", "--out", "b"]) == 1
    assert "ALARM" not in "".join(capsys.readouterr())
    assert main([*argv, "--quiet", "--out", "c"]) == 1
    assert capsys.readouterr().err.startswith("mtr-env: ALARM: 5 of 5")


def test_a_run_without_a_scored_episode_ends_with_1_and_so_does_its_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "flaky_policy.py").write_text(FLAKY)
    monkeypatch.chdir(tmp_path)
    argv = ["run", "MTR-Synthetic-v0", "--limit", "3", "--quiet", "--policy"]
    assert main([*argv, "flaky_policy:Flaky,oracle", "--unscored-alarm", "1", "--out", "two"]) == 1
    folder = "two/MTR-Synthetic-v0/flaky_policy.Flaky"
    said = f"mtr-env: {folder}: not one episode is scored.\n"
    assert capsys.readouterr().err == said
    assert score_file("two/MTR-Synthetic-v0/oracle").scored == 3, "the others are played all the same"
    assert main(["score", folder, "--json", "scored.json"]) == 1
    assert capsys.readouterr().err == said
    assert json.loads((tmp_path / "scored.json").read_text())["scored"] == 0
    # The budget was used up in an earlier start: nothing is played.
    budget = ["--max-cost", "0.6", "--out", "spent"]
    assert main([*argv, "flaky_policy:Flaky", *budget]) == main([*argv, "flaky_policy:Flaky", *budget]) == 1
    assert capsys.readouterr().err.endswith("mtr-env: spent: not one episode is scored.\n")


def test_one_scored_episode_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    once = """        if not vars(self).setdefault("asked", []):
            self.asked.append(1)
            return "<answer>x</answer>"
"""
    raises = "        raise InfrastructureError"
    (tmp_path / "once_policy.py").write_text(FLAKY.replace(raises, once + raises))
    monkeypatch.chdir(tmp_path)
    argv = ["run", "MTR-Synthetic-v0", "--limit", "5", "--policy", "once_policy:Flaky", "--out", "a"]
    assert main(argv) == main(["score", "a"]) == 0
    out, err = capsys.readouterr()
    assert out.count("5 episodes, 1 scored, 4 unscored") == 2
    assert "ALARM: 4 of 5" in err
    assert "not one" not in err


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
        ("run MTR-Synthetic-v0 --policy oracle --out x --noise 2", "found tool_failure=0.5, not_found=0.5"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --families bridges", "found 'bridges'"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --grammar latin", "Unknown grammar 'latin'"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --rubric best", "Unknown rubric 'best'"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --source y", "--source is not for MTR-Synthetic-v0"),
        ("run MTR-HotpotQA-v0 --split sample --policy oracle --out x --hops 2", "--hops is for MTR-Synthetic-v0"),
        ("run MTR-Synthetic-v0 --pol oracle --out x", "required: --policy"),
        ("run MTR-HotpotQA-v0 --source= --policy oracle --out x", "The source is empty"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --samples 2 --episodes 3", "not allowed with argument"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --max-minutes 0", "expected a number above 0, found '0'"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --unscored-alarm 5", "expected a share from 0 to 1, found '5'"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --max-tokens 5", "needs a model that counts them"),
        ("run MTR-Synthetic-v0,MTR-X-v0 --policy oracle --out x", "unknown id 'MTR-X-v0'"),
        ("run MTR-Synthetic-v0 --policy oracle,chaser --policy-model m --out x", "is for --policy chat"),
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
    message = error_of(capsys, *RUN, str(tmp_path / "taken"))
    assert "--out is a folder" in message
    assert "taken' is a file" in message


QUESTION = '{"Question": "Where was the owner of the House born?", "Answer": "Turku"}\n'


def test_errors_speak_the_words_of_the_command_line(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "rows.jsonl").write_text(QUESTION)
    message = error_of(capsys, "audit", "MTR-Bamboogle-v0", "--source", str(tmp_path / "rows.jsonl"))
    assert "Give --corpus FILE" in message
    assert "--split sample has paragraphs" in message
    assert not re.search("corpus=|tool_actor|split=", message)


def test_an_error_of_several_lines_keeps_them(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "rows.jsonl").write_text(f'{QUESTION}{{"Question": ""}}\nnonsense\n')
    assert main(["audit", "MTR-Bamboogle-v0", "--source", str(tmp_path / "rows.jsonl")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("mtr-env: error: ")
    assert [line.split(":")[0] for line in lines[1:]] == ["  line 2", "  line 3"]


def test_a_corpus_is_measured_and_one_that_does_not_fit_is_a_warning(tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("bm25s")
    (tmp_path / "rows.jsonl").write_text(QUESTION)
    for text, count in (("Ann was born in Turku.", 1), ("It is red.", 0)):
        (tmp_path / "pages.jsonl").write_text(json.dumps({"title": "House", "text": text}))
        argv = ["--source", str(tmp_path / "rows.jsonl"), "--corpus", str(tmp_path / "pages.jsonl")]
        assert main(["audit", "MTR-Bamboogle-v0", *argv]) == 0
        out = capsys.readouterr().out
        assert f"{count} of 1 gold answers occur in the corpus\n" in out
        assert ("warning: only 0 of 1 gold answers occur in the corpus" in out) == (count == 0)


BAD_POLICIES = """
def number(messages, tools):
    return 42

async def inner(messages, tools):
    return "x"

def later(messages, tools):
    return inner(messages, tools)

def broken(messages, tools):
    raise ZeroDivisionError("a bug of the policy")
"""


@pytest.fixture
def bad_policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bad_policies.py").write_text(BAD_POLICIES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bad_policies", raising=False)
    return tmp_path


@pytest.mark.parametrize(("name", "found"), [("number", "returned int: 42"), ("later", "returned coroutine")])
def test_an_action_that_is_not_text_is_one_clear_line(
    name: str, found: str, bad_policies: Path, capsys: Capture
) -> None:
    argv = ["run", "MTR-Synthetic-v0", "--policy", f"bad_policies:{name}", "--out", str(bad_policies / "out")]
    message = error_of(capsys, *argv)
    assert f"The policy bad_policies.{name} must return the text of its action, a str; it {found}" in message
    assert "(question 'synthetic-sample-0-0', seed 0)." in message


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("list --foo", "unrecognized arguments: --foo (see `mtr-env list --help`)"),
        ("world info . --foo", "unrecognized arguments: --foo (see `mtr-env world info --help`)"),
        ("run MTR-Synthetic-v0 --policy oracle --out x --foo", "--foo (see `mtr-env run --help`)"),
        ("--foo", "(see `mtr-env --help`)"),
        ("run MTR-Synthetic-v0 --out x --policy caht", "'no-tool', 'chat', 'local'. Did you mean 'chat'?"),
        ("run MTR-Synthetic-v0 --out x --policy caht", "A policy of yours is given as module:attr."),
        (
            "run MTR-Synthetic-v0 --out x --policy local --policy-model ./nothere",
            "--policy-model: there is no folder './nothere'",
        ),
        (
            "run MTR-Synthetic-v0 --out x --policy local --policy-model here/nothere",
            "--policy-model: there is no folder 'here/nothere'",
        ),
    ],
)
def test_a_mistake_is_told_in_words_that_lead_on(
    argv: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert expected in error_of(capsys, *argv.split())


def test_fewer_episodes_than_are_there_play_nothing_and_say_so(tmp_path: Path, capsys: Capture) -> None:
    argv = ["run", "MTR-Synthetic-v0", "--policy", "oracle", "--out", str(tmp_path), "--episodes"]
    assert main([*argv, "4"]) == main([*argv, "2"]) == 0
    out, err = capsys.readouterr()
    assert "holds 4 episodes already (2 asked for): nothing to play; what follows is of all 4." in err
    assert out.count("4 episodes, 4 scored") == 2


def test_what_a_policy_raises_keeps_its_traceback_and_gets_a_note(bad_policies: Path) -> None:
    argv = ["run", "MTR-Synthetic-v0", "--policy", "bad_policies:broken", "--out", str(bad_policies / "out")]
    with pytest.raises(ZeroDivisionError) as caught:
        main(argv)
    assert caught.traceback[-1].name == "broken"
    question, kept = caught.value.__notes__
    assert question == "mtr-env: this was question 'synthetic-sample-0-0' with seed 0."
    assert kept.startswith("mtr-env: 0 finished episodes are kept in")
    assert "traces.jsonl; the same command goes on there." in kept


def test_tables_of_a_run_and_an_audit_fit_100_columns(tmp_path: Path, capsys: Capture) -> None:
    noise = ("--noise", "tool_failure=0.125,not_found=0.125,partial=0.125,contradicting=0.125")
    assert main([*RUN, str(tmp_path), "--quiet", *noise]) == 0
    assert main(["audit", "MTR-Synthetic-v0", "--limit", "5", *noise]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if len(line) > 100] == []
    assert "\n\nfamily " in out
    assert "\n\nhops  episodes  EM " in out
    assert "(with this noise)" in out


def test_the_knobs_of_the_synthetic_world_reach_it(tmp_path: Path, capsys: Capture) -> None:
    knobs = "--hops 3 --distractors 2 --extra-tools 1 --noise tool_failure=0.25 --families bridge,count --world-seed 9"
    assert main([*RUN, str(tmp_path), *knobs.split(), "--split", "test", "--grammar", "react", "--max-steps", "9"]) == 0
    summary = score_file(tmp_path)
    assert set(summary.hops) == {"3"}
    assert set(summary.families) <= {"bridge", "count"}
    assert (summary.tool_maker or "").startswith("template(extra_tools=1")
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
    assert "[1/8] > search somebody\n" in done.stdout
    assert "[2/8] > answer nobody\n" in done.stdout


def test_play_shows_what_a_model_would_see() -> None:
    done = play("MTR-HotpotQA-v0", "--seed", "3", "--show-prompt", typed="search somebody\nanswer nobody\n")
    assert "--- system\nAnswer the question" in done.stdout
    assert "--- user\nQuestion: " in done.stdout
    assert "<tools>" in done.stdout
    assert "--- user\n<tool_response>" in done.stdout


def test_ctrl_c_in_play_speaks_of_no_files(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupt(prompt: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupt)
    assert main(["play", "MTR-HotpotQA-v0"]) == 130
    assert capsys.readouterr().err == "\nmtr-env: interrupted.\n"


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
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever started the tests in the background had SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        traces = tmp_path / "out" / "traces.jsonl"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (traces.exists() and b"\n" in traces.read_bytes()):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
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


def test_each_phase_of_a_work_has_a_bar_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Phases() as progress:
        for phase in ("toolsets", "oracle"):
            progress(phase, 1, 2)
            progress(phase, 2, 2)
    lines = capsys.readouterr().err.splitlines()
    ends = [line for line in lines if "2/2 questions, " in line]
    assert [end.rpartition(", ")[2].partition("\x1b")[0] for end in ends] == ["toolsets", "oracle"]


def test_tables_show_control_characters_instead_of_obeying_them() -> None:
    assert columns([("name", "value"), ("a\x1b[2J", "x\ny")]) == "name      value\na\\x1b[2J  x y"
