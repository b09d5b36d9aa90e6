"""verifiers against the real package: the taskset, a rollout's tools, vf-eval and vf-validate, the parity scenarios."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

vf = pytest.importorskip("verifiers.v1", reason="verifiers is not installed (pip install -e '.[verifiers]')")
pytest.importorskip("mtr_taskset", reason="environments/mtr_taskset is not installed")

from benchmarks.parity_drivers import verifiers as driver
from mtr_env.adapters.verifiers import TRACE, MTRConfig, MTRState, MTRTask, MTRTaskset, MTRToolset, UnscoredError
from mtr_env.errors import InfrastructureError
from mtr_env.registration import make_game
from mtr_env.reward import score
from mtr_env.session import SUBMIT
from mtr_env.testing.parity import Scenario, differences, expected, scenarios
from mtr_env.tool import Toolset
from mtr_env.trace import decode
from tests.chat_server import ChatServer
from tests.played_model import Played, oracle_says
from tests.test_readme import ROOT, blocks

pytestmark = [pytest.mark.adapters, pytest.mark.timeout(300)]
HOTPOT = "MTR-HotpotQA-v0"
PAGE = ROOT / "docs/adapters/verifiers.md"


def tasks(**config: Any) -> list[MTRTask]:
    return list(MTRTaskset(MTRConfig(id="mtr-taskset", **config)))


class Down:
    """A ToolMaker that cannot be reached."""

    name = "down"

    def make(self, question: object, key: str = "") -> Toolset:
        raise InfrastructureError("nobody is at home")


# ------------------------------------------------------------------------------------------------------------ the tasks


def test_a_task_is_a_question_and_says_how_to_make_its_game_again() -> None:
    found = tasks(env_id=HOTPOT, seed=7, options={"limit": 3, "max_steps": 5})
    ids = make_game(HOTPOT).world.ids[:3]
    assert [task.data.id for task in found] == [task.data.name for task in found] == list(ids)
    again = MTRTask(type(found[0].data).model_validate_json(found[0].data.model_dump_json()))
    assert again.game is found[1].game  # one for all of a process
    assert (again.game.setup.max_steps, again.data.seed) == (5, 7)
    assert len({task.key for task in found}) == 3


def test_a_split_given_twice_is_the_one_of_the_field() -> None:
    found = tasks(split="test", options={"split": "train", "limit": 1})
    assert found[0].game.world.info.split == "test"


def test_an_unknown_option_is_refused_as_the_tasks_are_read() -> None:
    with pytest.raises(TypeError, match=r"has no argument 'hop'.*Did you mean 'hops'"):
        tasks(options={"hop": 3})


def test_a_plug_is_named_in_the_options() -> None:
    [task] = tasks(options={"limit": 1, "tool_maker": "mtr_env.toolmakers.template:TemplateToolMaker"})
    assert task.game.tool_maker.name.startswith("template")


def test_a_tool_maker_that_is_down_fails_the_rollout_as_it_begins() -> None:
    [task] = tasks(options={"limit": 1, "tool_maker": f"{__name__}:Down"})
    with pytest.raises(UnscoredError, match="nobody is at home"):
        asyncio.run(task.setup(begun(task)))


def test_a_harness_that_calls_tools_unasked_is_refused() -> None:
    [task] = tasks(options={"limit": 1})
    with pytest.raises(ValueError, match="harness 'mini_swe_agent' makes tool calls without asking"):
        asyncio.run(task.setup(begun(task, harness="mini_swe_agent")))


def begun(task: MTRTask, harness: str = "null") -> Any:
    return vf.Trace(
        task=vf.TraceTask(type="MTRTask", data=task.data),
        state=MTRState(),
        agent=vf.AgentInfo(config=vf.AgentConfig(harness={"id": harness})),
    )


def test_a_rollouts_tools_have_their_whole_schemas_and_nothing_of_the_gold() -> None:
    [task] = tasks(options={"limit": 1})
    trace = begun(task)
    asyncio.run(task.setup(trace))
    shown = json.loads(trace.state.model_dump_json())
    assert set(shown) == {"artifacts", "tools"}  # what the tool server can ask for
    stage, _ = task.game.begin(str(task.data.id), 0)
    assert shown["tools"] == [tool["function"] for tool in [*stage.tools, SUBMIT.openai()]]
    server = MTRToolset(vf.SharedToolsetConfig())
    server._inert_state = trace.state
    listed = asyncio.run(server.list_tools())
    assert [{"name": t.name, "description": t.description, "parameters": t.input_schema} for t in listed] == [
        *shown["tools"]
    ]


# ------------------------------------------------------------------------------------------------------------- rollouts


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_every_scenario_ends_as_in_plain_gymnasium(scenario: Scenario) -> None:
    assert differences(expected(scenario, one_call_a_step=True), driver.play(scenario)) == ()


def test_an_unscored_rollout_fails_and_earns_no_zero() -> None:
    for name, reason in (("outage", "an outage, as the scenario wants it"), ("simulator fault", "invalid response")):
        trace = driver.rollouts()[name]
        assert not trace.ok and trace.rewards["reward"] is None
        assert "UnscoredError" in trace.errors[-1].message and reason in trace.errors[-1].message
        assert trace.metrics["unscored"] == 1.0


def test_the_end_of_an_episode_is_a_stop_condition() -> None:
    stops = {name: (trace.stop_condition, trace.is_truncated) for name, trace in driver.rollouts().items()}
    assert stops["oracle"] == ("agent_completed", False)
    assert stops["budget exhausted"] == ("max_turns", True)
    assert stops["outage"] == ("infrastructure", False)


def test_a_mistake_becomes_an_observation_with_a_code() -> None:
    for name, code in (
        ("malformed call", "malformed_action"),
        ("unknown tool", "unknown_tool"),
        ("invalid arguments", "invalid_arguments"),
    ):
        first = driver.rollouts()[name].tool_messages[0]
        assert json.loads(first.content)["error"]["code"] == code


def test_only_the_total_is_paid_and_its_parts_stand_beside_it() -> None:
    trace = driver.rollouts()["malformed call"]
    assert trace.reward == pytest.approx(0.6 + 0.4 * (2 / 3 + 3) / 4)
    assert {name: reward.weight for name, reward in trace.rewards.items()} == {
        "reward": 1.0, "answer": 0.0, "contract": 0.0, "provenance": 0.0, "support": 0.0, "economy": 0.0,
    }  # fmt: skip
    assert trace.rewards["contract"].score == pytest.approx(2 / 3)


@pytest.mark.page
def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [example] = [block.code for block in blocks(PAGE.read_text()) if block.language == "python"]
    exec(compile(example, str(PAGE), "exec"), {"__name__": "page"})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(line.endswith(" True") for line in lines)


# --------------------------------------------------------------------------------------------------- the command line


def command(name: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        [name, *arguments, "--no-rich"],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.skipif(shutil.which("uv", path=str(Path(sys.executable).parent)) is None, reason="uv is not installed")
def test_vf_eval_completes_20_rollouts_against_a_model_server(tmp_path: Path) -> None:
    game = make_game("MTR-Synthetic-v0", limit=20)
    said = {game.begin(i, 0)[0].prompt.user: oracle_says(game, i) for i in game.world.ids}
    played = Played(said)
    with ChatServer(content=played) as server:
        done = command(
            "vf-eval", "mtr-taskset", "-m", "tiny", "-n", "20", "--no-push", "--client.base-url", server.url,
            "--env.agent.harness.id", "null", "--env.agent.runtime.type", "subprocess",
            "--env.taskset.options", '{"limit": 20}', folder=tmp_path,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [file] = tmp_path.glob("outputs/*/traces.jsonl")
    traces = saved_traces(file)
    assert len(traces) == 20 and all(trace["ok"] for trace in traces)
    for trace in traces:
        played_trace = decode(trace["info"][TRACE])
        assert played_trace.answer is not None
        assert trace["rewards"]["reward"]["score"] == score(played_trace).total == 1.0
    offered = played.tools[0]
    assert {"name", "description", "parameters"} == set(offered[0]["function"])
    assert offered[0]["function"]["parameters"]["additionalProperties"] is False

    done = command("vf-replay", str(file.parent), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    [again] = tmp_path.glob("outputs/mtr-taskset--replay/*/traces.jsonl")
    rewards = {trace["task"]["data"]["id"]: trace["rewards"] for trace in traces}
    assert {trace["task"]["data"]["id"]: trace["rewards"] for trace in saved_traces(again)} == rewards


def saved_traces(file: Path) -> list[dict[str, Any]]:
    """The traces of a run's file, whose lines are traces or episodes of one."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [trace for line in lines for trace in line.get("traces", [line])]


def test_vf_validate_proves_every_bundled_question(tmp_path: Path) -> None:
    done = command(
        "vf-validate", "mtr-taskset", "--runtime.type", "subprocess", "--taskset.env_id", HOTPOT, folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout[done.stdout.index("{") :])
    assert summary["outcomes"]["valid"] == summary["total"] == len(make_game(HOTPOT).world.ids)
    assert summary["checks"]["gold"]["valid"] == summary["checks"]["noop"]["valid"] == summary["total"]
