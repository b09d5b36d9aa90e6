"""Inspect against the real package: the task, its samples and scores, the logs that its viewer opens, the scenarios."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

inspect_ai = pytest.importorskip("inspect_ai", reason="inspect-ai is not installed (pip install -e '.[inspect]')")

from inspect_ai._util.error import PrerequisiteError
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.tool import ToolInfo

from benchmarks.parity_drivers import inspect as driver
from mtr_env.adapters.inspect import TRACE, mtr, reward
from mtr_env.errors import DatasetError, InfrastructureError
from mtr_env.registration import make_game
from mtr_env.reward import score
from mtr_env.session import SUBMIT, SYSTEM
from mtr_env.testing.parity import FaultyToolActor, Said, Scenario, differences, expected, scenarios
from mtr_env.tool import Toolset
from mtr_env.toolmakers.template import TemplateToolMaker
from mtr_env.trace import decode
from tests.chat_server import ChatServer
from tests.played_model import Played, oracle_says
from tests.test_readme import ROOT, blocks

pytestmark = [
    pytest.mark.adapters,
    pytest.mark.filterwarnings("ignore:.*'multiplier':DeprecationWarning"),  # of Inspect's retries
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),  # of Inspect's own streams
]
SYNTHETIC, HOTPOT = "MTR-Synthetic-v0", "MTR-HotpotQA-v0"
PAGE = ROOT / "docs/adapters/inspect.md"
BY_NAME = {scenario.name: scenario for scenario in scenarios()}


def evaluated(task: Any, model: Any, folder: Path, **options: Any) -> EvalLog:
    """The log of an evaluation, as it is read from its file."""
    [log] = inspect_ai.eval(task, model=model, log_dir=str(folder), display="none", **options)
    return read_eval_log(log.location)


def means(log: EvalLog) -> dict[str, float]:
    assert log.results is not None
    return {found.name: found.metrics["mean"].value for found in log.results.scores}


def answering(text: str) -> Any:
    return driver.played_model(Said("", answer=text) for _ in range(99))


class Down:
    """A ToolMaker that cannot be reached."""

    name = "down"

    def make(self, question: object, key: str = "") -> Toolset:
        raise InfrastructureError("nobody is at home")


# ------------------------------------------------------------------------------------------------------------- the task


def test_a_sample_is_a_question_with_its_gold_answers() -> None:
    task = mtr(HOTPOT, limit=4)
    game = make_game(HOTPOT, limit=4)
    assert [sample.id for sample in task.dataset] == list(game.world.ids)
    first, question = task.dataset[0], game.world.question(game.world.ids[0])
    assert first.target == list(question.golds)
    assert [(m.role, m.content) for m in first.input] == [("system", SYSTEM), ("user", f"Question: {question.text}")]


def test_an_unknown_option_is_refused_before_anything_is_played() -> None:
    with pytest.raises(PrerequisiteError, match=r"has no argument 'hop'.*Did you mean 'hops'") as refused:
        mtr(hop=3)
    assert isinstance(refused.value.__cause__, TypeError)
    sentence = r"^mtr-env: error: limit must be an integer of at least 1 or None, found 'abc'\.$"
    with pytest.raises(PrerequisiteError, match=sentence) as refused:
        mtr(HOTPOT, limit="abc")  # type: ignore[arg-type]  # as -T limit=abc
    assert isinstance(refused.value.__cause__, DatasetError)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("env_id=nonsense", "Unknown id 'nonsense'; expected one of 'MTR-HotpotQA-v0'"),
        ("hop=3", "MTR-Synthetic-v0 has no argument 'hop'"),
        ("world=nowhere[red]", "nowhere[red]"),
        ("tool_actor=nowhere:Actor", "nowhere"),
    ],
)
def test_the_command_line_says_what_to_change_without_a_traceback(option: str, sentence: str, tmp_path: Path) -> None:
    done = subprocess.run(
        inspect("eval", "mtr_env/mtr", "--model", "mockllm/model", "-T", option, "--log-dir", str(tmp_path)),
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "1000"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "mtr-env: error: " in said and sentence in said and "Traceback" not in said, said


def test_the_module_hides_nobodys_inspect() -> None:
    import inspect

    assert "mtr_env" not in str(inspect.__file__)


def test_a_model_is_offered_the_questions_tools_with_their_schemas(tmp_path: Path) -> None:
    offered: list[list[ToolInfo]] = []

    def reply(input: Any, tools: list[ToolInfo], *_: Any) -> ModelOutput:
        offered.append(tools)
        output = ModelOutput.from_content("mockllm", "Nobody")
        output.usage = ModelUsage()
        return output

    evaluated(mtr(limit=1), get_model("mockllm/model", custom_outputs=reply, memoize=False), tmp_path)
    game = make_game(SYNTHETIC, limit=1)
    stage, _ = game.begin(game.world.ids[0], 0)
    functions = [tool["function"] for tool in (*stage.tools, SUBMIT.openai())]
    dumped = [tool.model_dump(exclude_none=True, include={"name", "description", "parameters"}) for tool in offered[0]]
    assert dumped == functions


# ------------------------------------------------------------------------------------------------------------- episodes


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_every_scenario_ends_as_in_plain_gymnasium_or_as_the_page_says(scenario: Scenario) -> None:
    found = differences(expected(scenario, one_call_a_step=True), driver.play(scenario))
    assert [line.partition(":")[0] for line in found] == (["trace"] if scenario.name in driver.MAPPED else [])


def test_arguments_that_inspect_could_not_read_are_a_malformed_action() -> None:
    sample = driver.run(BY_NAME["malformed call"])
    trace = decode(sample.store[TRACE])
    assert [fault.kind for fault in trace.faults] == ["malformed_action"]
    assert "Error parsing the following tool call arguments" in trace.steps[0].action
    [first, *_] = [message for message in sample.messages if message.role == "tool"]
    assert json.loads(first.text)["error"]["code"] == "malformed_action"


def test_parallel_calls_are_tool_events_in_their_order() -> None:
    sample = driver.run(BY_NAME["parallel calls"])
    called = [(event.function, event.arguments) for event in sample.events if event.event == "tool"]
    assert called == list(BY_NAME["parallel calls"].said[0].calls)
    trace = decode(sample.store[TRACE])
    assert [step.calls[0].name for step in trace.steps[:-1]] == [name for name, _ in called]


def test_submit_answer_ends_the_sample_and_a_call_after_it_changes_nothing() -> None:
    oracle = BY_NAME["oracle"]
    calls = (("submit_answer", {"answer": oracle.said[-1].answer}), oracle.said[0].calls[0])
    said = (*oracle.said[:-1], Said("", calls), Said("", answer="never asked"))
    sample = driver.run(Scenario("", "", oracle.env_id, oracle.options, oracle.question_id, 0, said))
    trace = decode(sample.store[TRACE])
    assert (trace.stop_reason, score(trace).total) == ("answer", 1.0)
    assert json.loads(sample.messages[-1].text)["error"]["code"] == "episode_over"


def test_a_message_that_was_cut_off_is_no_answer(tmp_path: Path) -> None:
    output = ModelOutput.from_content("mockllm", "It is", stop_reason="max_tokens")
    output.usage = ModelUsage()
    log = evaluated(mtr(limit=1), get_model("mockllm/model", custom_outputs=[output], memoize=False), tmp_path)
    trace = decode(log.samples[0].store[TRACE])
    assert trace.answer is None and trace.stop_reason is None
    assert means(log)["cut"] == 1.0 and means(log)["reward"] == 0.0


def test_a_model_whose_calls_inspect_refuses_is_not_asked_for_ever(tmp_path: Path) -> None:
    nested: dict[str, Any] = {}
    for _ in range(101):
        nested = {"a": nested}
    refused = ModelOutput.for_tool_call("mockllm", "search", nested)
    refused.usage = ModelUsage()
    model = get_model("mockllm/model", custom_outputs=[refused] * 20, memoize=False)
    [sample] = evaluated(mtr(limit=1, max_steps=3), model, tmp_path).samples
    assert sum(message.role == "assistant" for message in sample.messages) == 3
    trace = decode(sample.store[TRACE])
    assert trace.steps == () and sample.scores["reward"].metadata["cut"] == 1.0


def test_a_limit_of_inspects_leaves_an_episode_that_is_scored(tmp_path: Path) -> None:
    scenario = BY_NAME["budget exhausted"]
    task = mtr(SYNTHETIC, limit=1, rubric="additive")
    log = evaluated(task, driver.played_model(scenario.said), tmp_path, message_limit=4)
    sample = log.samples[0]
    assert sample.limit is not None and sample.limit.type == "message"
    trace = decode(sample.store[TRACE])
    assert len(trace.steps) == 1 and sample.scores["reward"].value > 0
    assert means(log)["cut"] == 1.0


def test_epochs_have_seeds_of_their_own(tmp_path: Path) -> None:
    log = evaluated(mtr(limit=2, seed=5), answering("Nobody"), tmp_path, epochs=2)
    assert sorted((s.id, decode(s.store[TRACE]).seed) for s in log.samples) == [
        (question_id, seed) for question_id in make_game(SYNTHETIC, limit=2).world.ids for seed in (5, 6)
    ]


# --------------------------------------------------------------------------------------------------------------- scores


def test_an_unscored_sample_counts_in_no_metric(tmp_path: Path) -> None:
    task = mtr(limit=2, tool_actor=FaultyToolActor(0, "outage"))
    game = make_game(SYNTHETIC, limit=2)
    question = game.begin(game.world.ids[0], 0)[0]
    call = Said("", ((question.toolset.names[0], _arguments(question)),))
    right = Said("", answer=game.world.question(game.world.ids[1]).answer)
    log = evaluated(task, driver.played_model([call, right]), tmp_path, max_samples=1)
    by_id = {sample.id: sample for sample in log.samples}
    unscored = by_id[game.world.ids[0]].scores["reward"]
    assert math.isnan(unscored.value) and unscored.reason == "infrastructure" and unscored.metadata["unscored"] == 1.0
    assert "an outage, as the scenario wants it" in unscored.explanation
    for found in log.results.scores:
        assert (found.scored_samples, found.unscored_samples) in ((1, 1), (0, 2)), found.name
    assert means(log)["reward"] == pytest.approx(0.6)  # right, without a call
    assert {f.name: f.scored_samples for f in log.results.scores}["economy"] == 0  # no call: it does not apply


def _arguments(stage: Any) -> dict[str, Any]:
    first = stage.toolset.tools[0]
    return dict.fromkeys(first.parameters["required"], "Oslo")


def test_a_tool_maker_that_is_down_leaves_its_sample_unscored(tmp_path: Path) -> None:
    log = evaluated(mtr(limit=1, tool_maker=f"{__name__}:Down"), answering("Nobody"), tmp_path)
    [sample] = log.samples
    assert (
        sample.scores["reward"].reason == "infrastructure"
        and "nobody is at home" in sample.scores["reward"].explanation
    )


class Slow(TemplateToolMaker):
    """A ToolMaker that no limit of Inspect's waits for."""

    async def amake(self, question: object, key: str = "") -> Toolset:
        await asyncio.sleep(60)
        raise AssertionError("nobody stopped waiting")


def test_a_sample_that_a_limit_ends_before_it_has_tools_is_unscored(tmp_path: Path) -> None:
    log = evaluated(mtr(limit=1, tool_maker=f"{__name__}:Slow"), answering("Nobody"), tmp_path, time_limit=1)
    [sample] = log.samples
    assert sample.error is None and sample.limit is not None and sample.limit.type == "time"
    assert [found.reason for found in sample.scores.values()] == ["infrastructure"] * 2


def test_a_saved_log_is_scored_again_without_a_model(tmp_path: Path) -> None:
    log = evaluated(mtr(limit=1), driver.played_model(BY_NAME["oracle"].said), tmp_path)
    again = inspect_ai.score(log, reward("em"), action="overwrite", display="none")
    assert log.samples[0].scores["reward"].metadata["support"] == 1.0
    assert again.samples[0].scores["reward"].value == 1.0
    assert "support" not in again.samples[0].scores["reward"].metadata


@pytest.mark.page
def test_the_example_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # for its log
    [example] = [block.code for block in blocks(PAGE.read_text()) if block.language == "python"]
    exec(compile(example, str(PAGE), "exec"), {"__name__": "page"})
    assert capsys.readouterr().out.startswith("success {'reward': 0.0, 'answer': 0.0, 'contract': 1.0")


# --------------------------------------------------------------------------------------------- command line and viewer


def played(episodes: int) -> Played:
    game = make_game(SYNTHETIC, limit=episodes)
    return Played({game.begin(i, 0)[0].prompt.user: oracle_says(game, i) for i in game.world.ids})


def inspect(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).parent / "inspect"), *arguments]


def test_a_run_against_a_model_server_gives_a_log_that_the_viewer_opens(tmp_path: Path) -> None:
    with ChatServer(content=played(5)) as server:
        done = subprocess.run(
            inspect(
                "eval", "mtr_env/mtr", "--model", "openai/tiny", "--model-base-url", server.url, "-M",
                "responses_api=false", "-T", "limit=5", "--log-dir", str(tmp_path), "--display", "none",
            ),
            env=os.environ | {"OPENAI_API_KEY": "none"}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    [file] = tmp_path.glob("*.eval")
    log = read_eval_log(str(file))
    assert log.status == "success" and len(log.samples) == 5
    assert means(log)["reward"] == means(log)["em"] == 1.0
    with viewer(tmp_path) as address:
        assert b"<title>" in fetched(address)
        [listed] = json.loads(fetched(f"{address}/api/logs"))["files"]
        assert listed["name"].endswith(file.name)
        opened = json.loads(fetched(f"{address}/api/logs/{quote(listed['name'], safe='')}"))
        assert opened["status"] == "success" and len(opened["samples"]) == 5


@contextmanager
def viewer(folder: Path) -> Iterator[str]:
    """``inspect view`` on loopback, on a port that was free a moment ago."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    arguments = inspect("view", "start", "--host", "127.0.0.1", "--port", str(port), "--log-dir", str(folder))
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(120):
            try:
                fetched(address)
                break
            except OSError:
                assert process.poll() is None, process.stdout
                time.sleep(0.25)
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=20)


def fetched(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=10) as answer:
        body: bytes = answer.read()
        return body
