"""OpenEnv's real server and client: the parity scenarios, what a client is told, many sessions, clients that vanish."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openenv", reason="openenv is not installed (pip install -e '.[openenv]')")

from openenv.core.env_server import ListToolsAction
from openenv.core.generic_client import GenericEnvClient
from openenv.core.mcp_client import MCPToolClient
from test_readme import blocks

from benchmarks.parity_drivers import openenv as driver
from benchmarks.served import served
from mtr_env.adapters.openenv import MTRClient, MTREnvironment, call_action, end_action, make_app
from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.errors import InfrastructureError
from mtr_env.policies.oracle import Oracle
from mtr_env.registration import make_game
from mtr_env.rollout import play
from mtr_env.serving import Limits
from mtr_env.testing.parity import FaultyToolActor, Scenario, differences, expected, scenarios
from mtr_env.tool import Toolset
from mtr_env.trace import Trace

pytestmark = pytest.mark.adapters
ROOT = Path(__file__).resolve().parents[1]
SYNTHETIC = "MTR-Synthetic-v0"


@pytest.fixture(scope="module")
def game() -> Game:
    return make_game(SYNTHETIC, limit=20)


@pytest.fixture(scope="module")
def url(game: Game) -> Iterator[str]:
    with served(make_app(game)) as address:
        yield address


@pytest.fixture
def env(url: str) -> Iterator[Any]:
    with MTRClient(url).sync() as client:
        yield client


def seen(result: Any) -> Any:
    return json.loads(result.observation.result)


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_every_scenario_ends_as_in_plain_gymnasium(scenario: Scenario) -> None:
    assert differences(expected(scenario, one_call_a_step=True), driver.play(scenario)) == ()


# ------------------------------------------------------------------------------------------------ what a client is told


def test_reset_gives_tools_and_messages_and_nothing_derived_from_the_answer(env: Any, game: Game) -> None:
    begun = env.reset(index=4, seed=11, episode_id="mine")
    question = game.world.question(game.world.ids[4])
    stage, _ = game.begin(question.id, 11)
    names = [tool.name for tool in begun.observation.tools]
    assert names == [*stage.toolset.names, "submit_answer"]
    assert begun.observation.tools[0].input_schema == stage.toolset.tools[0].parameters
    assert {**begun.metadata, "messages": None} == {
        "question_id": question.id,
        "seed": 11,
        "messages": None,
        "split": "sample",
        "world": game.setup.world.name,
        "max_steps": 8,
    }
    assert question.text in begun.metadata["messages"][1]["content"]
    assert (begun.done, begun.reward) == (False, None)
    assert env.state().model_dump() == {
        "episode_id": "mine",
        "step_count": 0,
        "question_id": question.id,
        "seed": 11,
        "stop_reason": None,
    }


def test_a_seed_picks_the_question_as_it_does_in_gymnasium(env: Any, game: Game) -> None:
    assert [env.reset(seed=seed).metadata["question_id"] for seed in range(5)] == [
        game.question_for(seed) for seed in range(5)
    ]
    assert len({env.reset().metadata["seed"] for _ in range(5)}) == 5


def test_only_the_last_observation_has_a_reward_and_one_after_it_says_the_same_again(env: Any) -> None:
    env.reset(seed=0)
    first = env.step(call_action("search", {"query": "x"}))
    assert (first.reward, first.done, first.metadata) == (None, False, {})
    last = env.step(call_action("submit_answer", {"answer": "x"}))
    assert last.done and last.reward == last.metadata["log"]["reward"] == 0.0
    assert (last.metadata["terminated"], last.metadata["truncated"], last.metadata["stop_reason"]) == (
        True,
        False,
        "answer",
    )
    late = env.step(call_action("search", {"query": "x"}))
    assert seen(late)["error"]["code"] == "episode_over"
    assert (late.done, late.reward, late.metadata) == (True, last.reward, last.metadata)


def test_the_tools_can_be_listed_again_and_that_is_no_step(env: Any) -> None:
    tools = env.reset(seed=0).observation.tools
    assert env.step(ListToolsAction()).observation.tools == tools
    assert env.state().step_count == 0


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("search", '{"query": ', "malformed_action"),
        ("search", ["x"], "malformed_action"),
        ("search", None, "malformed_action"),
        ("search", {"query": "\ud800"}, "malformed_action"),
        ("se\ud800arch", {}, "unknown_tool"),
        ("", {}, "unknown_tool"),
        ("search", {"query": float("nan")}, "invalid_arguments"),
        ("search", {"query": 10**400}, "invalid_arguments"),
        ("submit_answer", {"answer": 5}, "invalid_arguments"),
    ],
)
def test_whatever_a_policy_writes_it_is_an_observation_with_a_code(
    env: Any, name: str, arguments: Any, code: str
) -> None:
    env.reset(seed=0)
    result = env.step(call_action(name, arguments))
    assert seen(result)["error"]["code"] == code
    assert not result.done and env.state().step_count == 1


def test_the_last_message_is_the_answer(env: Any, game: Game) -> None:
    question_id = game.world.ids[0]
    answer = game.world.question(question_id).answer
    for message in (answer, f"<answer>{answer}</answer>"):
        env.reset(question_id=question_id, seed=0)
        last = env.step(end_action(message))
        assert last.done and last.metadata["log"]["answer"] == 1.0 and last.metadata["terminated"]


def test_a_policy_that_stops_without_an_answer_is_paid_as_if_its_steps_were_all(env: Any) -> None:
    env.reset(seed=0)
    env.step(call_action("search", {"query": "x"}))
    last = env.step(end_action())
    assert last.done and last.reward == 0.0 and last.metadata["truncated"] and last.metadata["stop_reason"] is None
    assert last.metadata["log"]["cut"] == 1.0
    assert "reset begins one" in env.step(call_action("search", {"query": "x"})).observation.error.message


def test_an_outage_is_unscored_and_never_0() -> None:
    app = make_app(make_game(SYNTHETIC, tool_actor=FaultyToolActor(0, "outage")))
    with served(app) as url, MTRClient(url).sync() as env:
        env.reset(seed=0)
        last = env.step(call_action("search", {"query": "x"}))
    assert last.done and last.reward is None and last.metadata["log"]["reward"] is None
    assert last.metadata["unscored"] == "search: InfrastructureError: an outage, as the scenario wants it"
    assert (last.metadata["truncated"], last.metadata["stop_reason"]) == (True, "infrastructure")


class NoMaker:
    """A ToolMaker that cannot be reached."""

    name = "none"

    def make(self, question: object, key: str = "") -> Toolset:
        raise InfrastructureError("no maker")


def test_an_episode_without_tools_is_over_as_it_begins_and_kept_once() -> None:
    kept: list[Trace] = []
    app = make_app(make_game(SYNTHETIC, tool_maker=NoMaker()), keep=kept.append)
    with served(app) as url, MTRClient(url).sync() as env:
        begun = env.reset(seed=0)
        assert begun.done and begun.reward is None and "no maker" in begun.metadata["unscored"]
        assert seen(env.step(call_action("search", {})))["error"]["code"] == "episode_over"
        env.reset(seed=1)
    assert [trace.seed for trace in kept] == [0, 1]


def test_an_episode_is_kept_once_when_it_is_over_or_left(game: Game) -> None:
    kept: list[Trace] = []
    env = MTREnvironment(game, kept.append)
    env.reset(seed=0)
    env.step(call_action("submit_answer", {"answer": "x"}))
    env.step(call_action("submit_answer", {"answer": "x"}))
    assert [trace.stop_reason for trace in kept] == ["answer"]
    env.reset(seed=1)
    env.step(call_action("search", {"query": "x"}))
    env.reset(seed=2)
    env.step(end_action())
    env.close()
    assert [(trace.seed, trace.stop_reason) for trace in kept] == [(0, "answer"), (1, None), (2, None)]


# ------------------------------------------------------------------------------------------------- bad input, the tasks


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"seed": "1"}, "seed must be an integer from 0 to 2\\*\\*63 - 1, found '1'"),
        ({"seed": True}, "seed must be an integer"),
        ({"seed": 2**63}, "seed must be an integer"),
        ({"question_id": "nobody"}, "No question with id 'nobody'; this world holds 20 questions"),
        ({"question_id": ""}, "No question with id ''"),
        ({"question_id": 5}, "question_id must be a text, found 5"),
        ({"index": 20}, "index must be an integer from 0 to 19, found 20"),
        ({"split": "train"}, "No split 'train'; this world is the split 'sample'"),
        ({"question_id": "x", "index": 1}, "either question_id or index, not both"),
    ],
)
def test_a_bad_reset_is_refused_and_the_episode_goes_on(env: Any, options: dict[str, Any], reason: str) -> None:
    env.reset(seed=0)
    env.step(call_action("search", {"query": "x"}))
    with pytest.raises(RuntimeError, match=reason):
        env.reset(**options)
    assert env.state().step_count == 1


def test_the_tasks_are_the_worlds_questions(game: Game) -> None:
    env = MTREnvironment(game)
    assert env.list_splits() == [{"name": "sample", "type": "validation"}]
    assert env.num_tasks("sample") == 20
    assert env.get_task("sample", 3) == {"id": game.world.ids[3], "index": 3}
    assert [task["id"] for task in env.list_tasks("sample")] == [*game.world.ids]
    assert [task["index"] for task in env.get_task_range("sample", -2)] == [18, 19]
    with pytest.raises(ValueError, match="No split 'test'"):
        env.num_tasks("test")


# -------------------------------------------------------------------------------------------------- other clients, many


def test_openenvs_own_clients_play_too(url: str, game: Game) -> None:
    with GenericEnvClient(url).sync() as env:
        env.reset(seed=0)
        result = env.step({"type": "call_tool", "tool_name": "submit_answer", "arguments": {"answer": "x"}})
        assert (result.done, result.reward) == (True, 0.0)

    async def by_mcp() -> tuple[list[str], Any]:
        async with MCPToolClient(url) as client:
            await client.reset(question_id=game.world.ids[0], seed=0)
            return [tool.name for tool in await client.list_tools()], await client.call_tool("search", query="x")

    names, result = asyncio.run(by_mcp())
    assert "search" in names and "submit_answer" in names
    assert json.loads(result["result"] if isinstance(result, dict) else result)


def test_what_is_no_unicode_is_echoed_as_an_escape(url: str) -> None:
    with GenericEnvClient(url).sync() as env:
        env.reset(seed=0, episode_id="\ud800")
        seen = env.step({"type": "call_tool", "tool_name": "\ud800", "arguments": {"query": "\ud800"}}).observation
        assert (seen["tool_name"], env.state()["episode_id"]) == ("\\ud800", "\\ud800")
        assert json.loads(seen["result"])["error"]["code"] == "malformed_action"


def test_two_hundred_sessions_at_a_time_and_clients_that_vanish_in_the_middle() -> None:
    game = make_game(SYNTHETIC, limit=20, max_steps=20)
    kept: list[Trace] = []
    plans = {
        question_id: play(MTREnv(game), Oracle(game.grammar, game.tool_actor), question_id=question_id)
        for question_id in game.world.ids
    }
    together = asyncio.Event()

    async def episode(url: str, number: int) -> float | None:
        plan = plans[game.world.ids[number % 20]]
        calls = [call for step in plan.steps for call in step.calls]
        client = MTRClient(url, message_timeout_s=120.0, connect_timeout_s=120.0)
        async with client:
            await client.reset(question_id=plan.question.id, seed=number)
            waiting[number] = True
            if len(waiting) == 200:
                together.set()
            await together.wait()
            for call in calls:
                await client.step(call_action(call.name, call.arguments))
                if number % 4 == 3:  # gone, without a word
                    client._ws.transport.abort()
                    return None
            result = await client.step(call_action("submit_answer", {"answer": plan.answer}))
            return result.reward

    waiting: dict[int, bool] = {}

    async def all_of_them(url: str) -> list[float | None]:
        return await asyncio.gather(*[episode(url, number) for number in range(200)])

    with served(
        make_app(game, limits=Limits(max_sessions=200), keep=kept.append), limits=Limits(max_sessions=200)
    ) as url:
        rewards = asyncio.run(all_of_them(url))
        with MTRClient(url).sync() as env:  # there is room again
            assert not env.reset(seed=0).done
    assert [reward for number, reward in enumerate(rewards) if number % 4 != 3] == [1.0] * 150
    assert sum(trace.stop_reason == "answer" for trace in kept) == 150
    assert sum(trace.stop_reason is None and len(trace.steps) == 1 for trace in kept) == 50


def test_one_session_too_many_is_refused_until_another_ends(game: Game) -> None:
    with served(make_app(game, limits=Limits(max_sessions=2))) as url:
        first, second, third = (MTRClient(url).sync() for _ in range(3))
        with second:
            with first:
                first.reset(seed=0), second.reset(seed=0)
                with pytest.raises(RuntimeError, match="CAPACITY_REACHED"), third:
                    third.reset(seed=0)
                assert not first.step(call_action("search", {"query": "x"})).done
            with MTRClient(url).sync() as fourth:
                assert not fourth.reset(seed=0).done


@pytest.mark.page
def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = ROOT / "docs/adapters/openenv.md"
    [example] = [block for block in blocks(page.read_text()) if block.language == "python"]
    before = {*threading.enumerate()}
    exec(compile(example.code, str(page), "exec"), {"__name__": "page"})
    for thread in {*threading.enumerate()} - before:
        thread.join(30)
        assert not thread.is_alive(), "the server did not stop"
    *_, result, last = capsys.readouterr().out.splitlines()
    assert json.loads(result) and last.startswith("0.0 {'reward': 0.0, 'answer': 0.0,")
