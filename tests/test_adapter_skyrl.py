"""SkyRL-gym against the real package: rows, registration, episodes, what is unscored, the parity scenarios."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_readme import ROOT, blocks

skyrl_gym = pytest.importorskip("skyrl_gym", reason="skyrl-gym is not installed (pip install -e '.[skyrl]')")

from datasets import Dataset
from skyrl_gym.envs.registration import deregister
from skyrl_gym.metrics import aggregate_for_environment

from benchmarks.parity_drivers import skyrl as driver
from mtr_env.adapters.skyrl import make_rows, mask_unscored, register
from mtr_env.errors import InfrastructureError
from mtr_env.policies.oracle import Oracle
from mtr_env.policies.random_valid import RandomValid
from mtr_env.testing.parity import FaultyToolActor, Scenario, differences, expected, scenarios
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.noise import NoiseSchedule, NoisyToolActor

pytestmark = pytest.mark.adapters
SYNTHETIC = "MTR-Synthetic-v0"
PAGE = ROOT / "docs/adapters/skyrl.md"
CALL = '<tool_call>{"name": "search", "arguments": {"query": "x"}}</tool_call>'


@pytest.fixture(autouse=True)
def a_registry_of_its_own() -> Iterator[None]:
    before = set(skyrl_gym.registry)
    yield
    for name in set(skyrl_gym.registry) - before:
        deregister(name)


def made(row: dict[str, Any], max_turns: int = 8) -> Any:
    """An environment as SkyRL's generator makes it from a row of the data set."""
    extras = {name: value for name, value in row.items() if name not in ("prompt", "env_class")}
    env = skyrl_gym.make(row["env_class"], env_config={}, extras={**extras, "max_turns": max_turns})
    conversation, _ = env.init(copy.deepcopy(row["prompt"]))
    assert conversation == row["prompt"]
    return env


def rows(**options: Any) -> list[dict[str, Any]]:
    register(SYNTHETIC, **options)
    return make_rows(SYNTHETIC, **options)


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_every_scenario_ends_as_in_plain_gymnasium(scenario: Scenario) -> None:
    assert differences(expected(scenario), driver.play(scenario)) == ()


def test_the_prompt_of_a_row_holds_the_tools_and_the_question() -> None:
    row = rows(limit=3)[0]
    assert set(row) == {"prompt", "env_class", "question_id", "seed"}
    system, user = row["prompt"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert '"function"' in system["content"] and user["content"].startswith("Question: ")


def test_rows_are_of_the_questions_named_and_their_seeds_follow_from_one() -> None:
    every, again, other = (make_rows(SYNTHETIC, limit=4, seed=seed) for seed in (0, 0, 1))
    assert every == again
    assert len({row["seed"] for row in every + other}) == 8
    ids = [row["question_id"] for row in every]
    assert [row["question_id"] for row in make_rows(SYNTHETIC, limit=4, questions=2)] == ids[:2]
    assert [row["question_id"] for row in make_rows(SYNTHETIC, limit=4, questions=[ids[3]])] == [ids[3]]


def test_a_step_returns_one_user_message_until_the_episode_is_over() -> None:
    env = made(rows(limit=1)[0])
    first = env.step(CALL)
    assert [message["role"] for message in first["observations"]] == ["user"]
    assert (first["reward"], first["done"], first["metadata"]["faults"]) == (0.0, False, env.trace.faults)
    last = env.step("<answer>Nobody</answer>")
    assert (last["observations"], last["done"], last["metadata"]["stop_reason"]) == ([], True, "answer")


def test_anything_that_a_model_writes_is_an_observation_with_a_code() -> None:
    env = made(rows(limit=1)[0])
    for text in ("", "hello", "<tool_call>{", "\ud800", "</tool_response><answer>"):
        [seen] = env.step(text)["observations"]
        assert "malformed_action" in seen["content"]


def test_noise_that_follows_the_training_is_refused() -> None:
    noise = NoisyToolActor(GroundedToolActor(), NoiseSchedule.over_steps({0.0: 0.0, 1.0: 0.4}, steps=100))
    for make in (make_rows, register):
        with pytest.raises(ValueError, match="a question keeps its seed"):
            make(SYNTHETIC, tool_actor=noise, limit=1)


def test_the_budget_of_skyrl_must_be_the_environments() -> None:
    row = rows(limit=1)[0]
    with pytest.raises(ValueError, match=r"An episode has 8 steps and SkyRL's generator\.max_turns is 1: set"):
        made(row, max_turns=1)
    with pytest.raises(ValueError, match="A row needs question_id and seed"):
        made({name: row[name] for name in ("prompt", "env_class", "seed")})


def test_metrics_have_the_names_of_every_adapter_and_skyrl_averages_them() -> None:
    row = rows(limit=1)[0]
    right, wrong, begun = made(row), made(row), made(row)
    assert begun.get_metrics().items() >= {"steps": 0.0, "cut": 1.0, "answered": 0.0, "reward": 0.0}.items()
    assert skyrl_gym.make("mtr", extras={"question_id": row["question_id"], "seed": 0}).get_metrics() == {}
    wrong.step("<answer>Nobody</answer>")
    player = Oracle(right.game.grammar).for_episode(right.trace)
    chat = list(row["prompt"])
    done = False
    while not done:
        action = player(chat, [])
        out = right.step(action)
        done = out["done"]
        chat += [{"role": "assistant", "content": action}, *out["observations"]]
    assert right.get_metrics()["reward"] == out["reward"] == 1.0
    means = aggregate_for_environment("mtr", [right.get_metrics(), wrong.get_metrics()])
    assert (means["reward"], means["em"], means["unscored"], means["answered"]) == (0.5, 0.5, 0.0, 1.0)
    assert means["support"] == 0.5 and means["economy"] == 1.0  # economy does not apply without a call


def test_an_unscored_episode_is_marked_and_left_out_of_the_means() -> None:
    row = rows(limit=1, tool_actor=FaultyToolActor(0, "outage"))[0]
    env = made(row)
    stage = env.game.resume(env.trace)
    player = RandomValid(env.game.grammar).for_episode(env.trace)
    out = env.step(player(row["prompt"], stage.tools))
    assert (out["done"], out["reward"], out["metadata"]["reward_parts"]) == (True, 0.0, None)
    assert out["metadata"]["unscored"]
    metrics = env.get_metrics()
    assert metrics["unscored"] == 1.0 and "reward" not in metrics and "em" not in metrics


def test_a_simulator_fault_in_an_episode_that_skyrl_cuts_short_is_not_charged() -> None:
    row = rows(limit=1, tool_actor=FaultyToolActor(0, "response"))[0]
    env = made(row)
    assert not env.step(CALL)["done"]
    metrics = env.get_metrics()
    assert (metrics["unscored"], metrics["cut"]) == (1.0, 1.0) and "reward" not in metrics


def test_an_unscored_rollout_is_masked_whole_and_a_scored_one_is_not() -> None:
    def output(**metrics: float) -> SimpleNamespace:
        return SimpleNamespace(env_metrics=metrics, loss_mask=[1, 0, 1])

    assert mask_unscored(output(unscored=1.0)).loss_mask == [0, 0, 0]
    assert mask_unscored(output(unscored=0.0, reward=0.0)).loss_mask == [1, 0, 1]
    step_wise = SimpleNamespace(step_outputs=[output(), output(unscored=1.0)])
    assert [part.loss_mask for part in mask_unscored(step_wise).step_outputs] == [[0, 0, 0]] * 2


class NoMaker:
    name = "no maker"

    def make(self, question: object, key: str = "") -> Any:
        raise InfrastructureError("down")


def test_an_episode_without_tools_ends_unscored_at_its_first_step() -> None:
    row = make_rows(SYNTHETIC, limit=1)[0]
    register(SYNTHETIC, limit=1, tool_maker=NoMaker())
    env = skyrl_gym.make("mtr", extras={"question_id": row["question_id"], "seed": 0})
    env.init(row["prompt"])
    out = env.step("<answer>x</answer>")
    assert out["done"] and out["metadata"]["unscored"] and env.get_metrics()["unscored"] == 1.0


def test_rollouts_of_one_class_share_nothing_but_the_world() -> None:
    row = rows(limit=1)[0]
    one, two = made(row), made(row)
    one.step(CALL)
    assert (len(one.trace.steps), len(two.trace.steps)) == (1, 0)
    assert one.game is two.game
    one.init(row["prompt"])
    assert one.trace == two.trace and one.turns == 0 and one.get_metrics() == two.get_metrics()


def test_a_thousand_episodes_end_and_every_oracles_answer_is_paid() -> None:
    table = rows(limit=1000, distractors=2)
    oracle = None
    paid = []
    for row in table:
        env = made(row)
        oracle = oracle or Oracle(env.game.grammar)
        player = oracle.for_episode(env.trace)
        chat, done = list(row["prompt"]), False
        while not done:
            action = player(chat, [])
            out = env.step(action)
            done = out["done"]
            chat += [{"role": "assistant", "content": action}, *out["observations"]]
        paid.append(out["reward"])
    assert paid == [1.0] * 1000


@pytest.mark.page
def test_the_example_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = [block.code for block in blocks(PAGE.read_text()) if block.language == "python"]
    exec(compile(examples[0], str(PAGE), "exec"), {"__name__": "page"})
    assert capsys.readouterr().out.strip() == "True 0.0 1.0"
    assert len(Dataset.from_parquet(str(tmp_path / "train.parquet"))) == 200


@pytest.mark.page
def test_the_examples_for_skyrls_trainer_register_the_world_and_mask_what_is_unscored() -> None:
    """With stand-ins for Ray and for SkyRL's trainer and generator, which need a GPU."""
    _, entry, generator = [block.code for block in blocks(PAGE.read_text()) if block.language == "python"]
    ran: list[Any] = []

    class Generated:
        async def agent_loop(self, *args: Any, **kwargs: Any) -> SimpleNamespace:
            return SimpleNamespace(env_metrics={"unscored": kwargs["unscored"]}, loss_mask=[1, 1])

    space = {
        "ray": SimpleNamespace(remote=lambda **resources: lambda function: function),
        "register": register,
        "BasePPOExp": lambda cfg: SimpleNamespace(run=lambda: ran.append(cfg)),
        "SkyRLGymGenerator": Generated,
        "mask_unscored": mask_unscored,
    }
    exec(compile(entry, str(PAGE), "exec"), space)
    space["skyrl_entrypoint"]("cfg")  # type: ignore[operator]
    assert ran == ["cfg"] and "mtr" in skyrl_gym.registry
    exec(compile(generator, str(PAGE), "exec"), space)
    play = space["Generator"]().agent_loop  # type: ignore[operator]
    assert [asyncio.run(play(unscored=mark)).loss_mask for mark in (0.0, 1.0)] == [[1, 1], [0, 0]]
