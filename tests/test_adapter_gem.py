"""GEM against the real package: episodes, states, vectors, what is unscored, the parity scenarios."""

from __future__ import annotations

import random
from typing import Any

import pytest
from test_readme import ROOT, blocks

gem = pytest.importorskip("gem", reason="gem-llm is not installed (constraints-gem.txt: an environment of its own)")

import numpy as np
from gem.wrappers.episode_tracking_wrapper import EpisodeTrackingWrapper
from gem.wrappers.observation_wrapper import ObservationWrapper

import mtr_env.adapters.gem as adapter
from benchmarks.parity_drivers import gem as driver
from mtr_env.policies.oracle import Oracle
from mtr_env.registration import ENV_IDS
from mtr_env.testing.parity import FaultyToolActor, Scenario, differences, expected, scenarios
from mtr_env.trace import Trace

pytestmark = [pytest.mark.adapters, pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:gem")]
SYNTHETIC = "MTR-Synthetic-v0"
PAGE = ROOT / "docs/adapters/gem.md"
ANSWER = "<answer>Nobody</answer>"


def played(env: Any, seed: int | None = None, actions: int = 100) -> tuple[float, dict[str, Any]]:
    """Plays random actions of the environment's own; the last reward and info."""
    env.reset(seed)
    for _ in range(actions):
        _, reward, terminated, truncated, info = env.step(env.sample_random_action())
        if terminated or truncated:
            break
    return reward, info


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_every_scenario_ends_as_in_plain_gymnasium(scenario: Scenario) -> None:
    assert differences(expected(scenario), driver.play(scenario)) == ()


def test_the_ids_are_those_of_gymnasium() -> None:
    for env_id in ENV_IDS:
        env = gem.make(env_id)
        observation, info = env.reset(seed=1)
        assert info["messages"][-1]["content"] in observation
        assert env.env_id == env_id


def test_reset_leaves_the_global_random_generators_alone() -> None:
    env = gem.make(SYNTHETIC, limit=8)
    before = random.getstate(), np.random.get_state()[1].tolist()
    env.reset(seed=7)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_the_seed_of_make_is_that_of_the_first_reset_and_others_follow() -> None:
    env, same = gem.make(SYNTHETIC, seed=7, limit=8), gem.make(SYNTHETIC, limit=8)
    first = env.reset()
    assert first == same.reset(seed=7)
    seeds = []
    for _ in range(3):
        env.reset()
        seeds.append(env.get_state()["trace"].seed)
    assert len({7, *seeds}) == 4


def test_a_question_is_chosen_by_its_id() -> None:
    env = gem.make(SYNTHETIC, limit=8)
    _, info = env.reset(0, question_id="synthetic-sample-0-5")
    assert info["question_id"] == "synthetic-sample-0-5"


def test_a_state_goes_on_where_it_was_taken() -> None:
    env = gem.make(SYNTHETIC, limit=8)
    env.reset(3)
    env.step(env.sample_random_action())
    state = env.get_state()
    action = env.sample_random_action()
    there = env.step(action)
    env.reset(4)
    env.set_state(state)
    assert env.step(action) == there
    assert isinstance(state["trace"], Trace) and len(state["trace"].steps) == 1


def test_a_spawned_environment_shares_the_world_and_nothing_of_the_episode() -> None:
    env = gem.make(SYNTHETIC, limit=8)
    env.reset(3)
    env.step(env.sample_random_action())
    same, fresh, other = env.spawn(same_state=True), env.spawn(seed=9), env.spawn(max_steps=2)
    assert same.get_state() == env.get_state()
    same.step(ANSWER)
    assert env.get_state()["trace"].answer is None
    assert fresh.reset() == gem.make(SYNTHETIC, limit=8).reset(9)
    other.reset(3)
    assert other.get_state()["trace"].setup.max_steps == 2
    assert fresh._env.game is env._env.game is not other._env.game


def test_a_random_action_is_a_call_that_runs_or_an_answer_and_is_no_draw_from_a_stream() -> None:
    env = gem.make(SYNTHETIC, limit=8)
    for seed in range(20):
        env.reset(seed)
        assert env.sample_random_action() == env.sample_random_action()
        _, info = played(env, seed)
        assert info["trace"].faults == () and info["stop_reason"] == "answer"


def test_the_last_step_logs_under_the_names_of_every_adapter() -> None:
    env = gem.make(SYNTHETIC, limit=8, rubric="additive")
    _, first = env.reset(0)
    reward, info = played(env, 0)
    assert first["prev_ep_log"] is None
    assert info["log"]["reward"] == reward > 0
    assert {"answer", "contract", "em", "unscored", "calls", "policy_faults"} <= set(info["log"])
    assert env.reset()[1]["prev_ep_log"] == info["log"]


def test_an_unscored_episode_says_so_also_after_its_environment_was_reset() -> None:
    actor = FaultyToolActor(0, "outage")
    env = gem.make(SYNTHETIC, limit=8, tool_actor=actor)
    reward, info = played(env, 0)
    assert (reward, info["reward_parts"], info["log"]["reward"], info["log"]["unscored"]) == (0.0, None, None, 1.0)
    assert info["unscored"]
    vector = gem.make_vec([SYNTHETIC] * 2, limit=8, tool_actor=actor)
    vector.reset(seed=0)
    action = vector.envs[0].sample_random_action()
    _, rewards, _, truncated, infos = vector.step([action, ANSWER])
    assert truncated.tolist()[0] and rewards.tolist() == [0.0, 0.0]
    assert [info["prev_ep_log"]["unscored"] for info in infos] == [1.0, 0.0]
    assert [info["prev_ep_log"]["reward"] for info in infos] == [None, 0.0]


def test_gems_wrappers_take_it() -> None:
    env = EpisodeTrackingWrapper(ObservationWrapper(gem.make(SYNTHETIC, limit=8), include_chat_template=False))
    start, _ = env.reset(seed=0)
    seen, _, _, _, info = env.step("<tool_call>{")
    assert seen.startswith(start) and "malformed_action" in seen
    *_, info = env.step(ANSWER)
    assert (info["step_counter"], info["cumulative_rewards"]) == (2, 0.0)


def test_importing_the_adapter_again_registers_nothing_twice() -> None:
    import importlib

    importlib.reload(adapter)
    assert gem.make(SYNTHETIC, limit=1).reset(0)


def test_a_thousand_episodes_end_and_every_oracles_answer_is_paid() -> None:
    env = gem.make(SYNTHETIC, limit=1000, distractors=2)
    oracle = Oracle()
    paid = []
    for seed, question_id in enumerate(env._env.question_ids):
        _, info = env.reset(seed, question_id=question_id)
        player = oracle.for_episode(env.get_state()["trace"])
        chat, over = list(info["messages"]), False
        while not over:
            action = player(chat, [])
            seen, reward, terminated, truncated, info = env.step(action)
            over = terminated or truncated
            chat += [{"role": "assistant", "content": action}, {"role": "user", "content": seen}]
        paid.append(reward)
    assert paid == [1.0] * 1000


@pytest.mark.page
def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    examples = [block.code for block in blocks(PAGE.read_text()) if block.language == "python"]
    exec(compile(examples[0], str(PAGE), "exec"), {"__name__": "page"})
    assert capsys.readouterr().out.splitlines()[0] == "True 0.0 1.0 None"
