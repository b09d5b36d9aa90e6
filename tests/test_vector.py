"""The vector environment: the traces of single environments, the autoreset modes, and faults that stay at home."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from mtr_env import ENV_IDS
from mtr_env.env import MTREnv
from mtr_env.errors import UnknownQuestionError
from mtr_env.grammar import get_grammar
from mtr_env.toolactors.base import ToolRequest
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.trace import Call, Response, Trace, encode
from mtr_env.vector import MTRVectorEnv

HERMES = get_grammar("hermes")
HOTPOT = "MTR-HotpotQA-v0"
BAD = "sample-hotpotqa-02"
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]


def make_vec(env_id: str = HOTPOT, num_envs: int = 4, **options: Any) -> MTRVectorEnv:
    envs = gym.make_vec(env_id, num_envs=num_envs, **options)
    assert isinstance(envs, MTRVectorEnv)
    return envs


def search(*queries: str) -> str:
    return HERMES.render_call(*(Call("search", {"query": query}) for query in queries))


def answer(text: str) -> str:
    return HERMES.render_answer(text)


def action(trace: Trace, number: int) -> str:
    """What to do in step ``number``: of every sort, different from question to question, answered after two to four."""
    titles = [paragraph.title for paragraph in trace.question.paragraphs]
    calls = [Call("open_page", {"title": titles[(number + i) % len(titles)]}) for i in range(1 + len(titles[0]) % 3)]
    if number >= 2 + len(trace.question.text) % 3:
        return answer(trace.question.answer if len(titles[0]) % 2 else titles[0])
    return (search(trace.question.text[:300]), HERMES.render_call(*calls, Call("nope", {})), "nonsense", search("x"))[
        number
    ]


class FailsForOneQuestion:
    """A grounded actor that breaks down for one question only."""

    name = "fails for one question"

    def __init__(self, question_id: str = BAD) -> None:
        self.inner = GroundedToolActor()
        self.question_id = question_id

    def __deepcopy__(self, memo: object) -> FailsForOneQuestion:
        return self

    def respond(self, call: Call, spec: Any, view: Any, history: Any, key: Any) -> Response:
        if key.question_id == self.question_id:
            raise ConnectionError("no route")
        return self.inner.respond(call, spec, view, history, key)


class Batched(FailsForOneQuestion):
    """The same with a batch form, which returns the exception for the request that failed."""

    name = "batched"

    def __init__(self, question_id: str = BAD) -> None:
        super().__init__(question_id)
        self.sizes: list[int] = []

    def respond(self, *request: Any) -> Response:
        raise AssertionError("a vector environment asks in batches")

    def respond_many(self, requests: Sequence[ToolRequest]) -> Any:
        self.sizes.append(len(requests))
        return [self._one(request) for request in requests]

    def _one(self, r: ToolRequest) -> Response | Exception:
        try:
            return super().respond(r.call, r.spec, r.view, r.history, r.key)
        except ConnectionError as error:
            return error


# ----------------------------------------------------------------------------------------------- as single environments


def single_traces(env_id: str, seeds: Sequence[int], **options: Any) -> list[tuple[Trace, list[float]]]:
    played = []
    env = gym.make(env_id, **options)
    assert isinstance(env, MTREnv)
    for seed in seeds:
        env.reset(seed=seed)
        rewards: list[float] = []
        for number in range(99):
            _, reward, terminated, truncated, _ = env.step(action(env.snapshot(), number))
            rewards.append(reward)
            if terminated or truncated:
                break
        played.append((env.snapshot(), rewards))
    return played


def vector_traces(env_id: str, num_envs: int, seed: int, **options: Any) -> list[tuple[Trace, list[float]]]:
    envs = make_vec(env_id, num_envs, autoreset_mode=AutoresetMode.DISABLED, **options)
    envs.reset(seed=seed)
    rewards: list[list[float]] = [[] for _ in range(num_envs)]
    over = np.zeros(num_envs, dtype=np.bool_)
    number = 0
    while not over.all():
        playing = ~over
        _, paid, terminated, truncated, _ = envs.step([action(trace, min(number, 4)) for trace in envs.snapshot()])
        for i in np.flatnonzero(playing):
            rewards[i].append(float(paid[i]))
        over |= terminated | truncated
        number += 1
    return list(zip(envs.snapshot(), rewards, strict=True))


@pytest.mark.parametrize(
    ("env_id", "actor"), [*((env_id, None) for env_id in ENV_IDS), (HOTPOT, FailsForOneQuestion), (HOTPOT, Batched)]
)
def test_64_environments_play_the_traces_of_64_single_ones(env_id: str, actor: Any) -> None:
    options = {} if actor is None else {"tool_actor": actor()}
    alone = {} if actor is None else {"tool_actor": FailsForOneQuestion()}
    many = vector_traces(env_id, 64, 100, **options)
    one = single_traces(env_id, range(100, 164), **alone)
    for (a, paid_a), (b, paid_b) in zip(many, one, strict=True):
        assert paid_a == paid_b
        assert a.steps == b.steps
        assert a.question == b.question
        assert a.seed == b.seed
        assert actor is Batched or encode(a) == encode(b)
    stops = {trace.stop_reason for trace, _ in many}
    assert stops == ({"answer"} if actor is None else {"answer", "infrastructure"})
    assert len({trace.question.id for trace, _ in many}) > 5


def test_noise_is_the_same_in_a_vector_and_alone() -> None:
    many = vector_traces("MTR-Synthetic-v0", 16, 3, noise=0.6)
    one = single_traces("MTR-Synthetic-v0", range(3, 19), noise=0.6)
    assert [encode(trace) for trace, _ in many] == [encode(trace) for trace, _ in one]
    assert any(r.origin == "noise" for trace, _ in many for _, r in trace.exchanges())


# ------------------------------------------------------------------------------------------------------------- outages


@pytest.mark.parametrize("actor", [FailsForOneQuestion, Batched])
def test_an_actor_that_fails_for_one_episode_ends_that_one_only(actor: Any) -> None:
    ids = ["sample-hotpotqa-01", BAD, "sample-hotpotqa-03", BAD]
    envs = make_vec(tool_actor=actor(), autoreset_mode=AutoresetMode.DISABLED)
    envs.reset(seed=0, options={"question_id": ids})
    golds = [trace.question.answer for trace in envs.snapshot()]
    _, rewards, terminated, truncated, infos = envs.step(
        [search("film"), search("film", "x"), search("film"), answer(golds[3])]
    )
    assert terminated.tolist() == [False, False, False, True]
    assert truncated.tolist() == [False, True, False, False]
    assert rewards.tolist() == [0.0, 0.0, 0.0, pytest.approx(0.6)]
    assert infos["unscored"][1] == "search: ConnectionError"
    assert infos["unscored"][3] is None
    assert infos["stop_reason"].tolist() == [None, "infrastructure", None, "answer"]
    assert infos["_reward_parts"].tolist() == [False, False, False, True]
    observations, rewards, terminated, _, infos = envs.step([answer(gold) for gold in golds])
    assert terminated.tolist() == [True, False, True, False]
    assert (rewards[[0, 2]] > 0.6).all()
    assert (rewards[[1, 3]] == 0).all()
    assert observations == ("", "", "", "")
    assert infos["metrics"]["em"][[0, 2]].tolist() == [1.0, 1.0]


def test_an_actor_with_a_batch_form_is_asked_once_a_round_for_all_that_wait() -> None:
    actor = Batched("none")
    envs = make_vec(num_envs=5, tool_actor=actor)
    envs.reset(seed=0)
    envs.step([search("a"), search("a", "b", "c"), "nonsense", answer("x"), search("a", "b")])
    assert actor.sizes == [3, 2, 1]
    envs.step(["nonsense"] * 5)
    assert actor.sizes == [3, 2, 1]


class BadBatch(FailsForOneQuestion):
    """A batch form that returns something of its own."""

    def __init__(self, returned: Any) -> None:
        super().__init__("none")
        self.returned = returned

    def respond_many(self, requests: Sequence[ToolRequest]) -> Any:
        if isinstance(self.returned, Exception):
            raise self.returned
        return self.returned


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (OSError("down"), "search: OSError"),
        ([], "respond_many returned 0 responses to 3 requests"),
        ([1] * 4, "respond_many returned 4 responses to 3 requests"),
        (None, "TypeError"),
        ([{"status": "ok"}] * 3, "a ToolActor returns a Response, found dict"),
    ],
)
def test_a_batch_that_fails_as_a_whole_is_an_outage_of_those_that_waited(returned: Any, reason: str) -> None:
    envs = make_vec(tool_actor=BadBatch(returned), autoreset_mode=AutoresetMode.DISABLED)
    envs.reset(seed=0)
    _, _, terminated, truncated, infos = envs.step([search("a"), search("b"), answer("x"), search("a")])
    assert truncated.tolist() == [True, True, False, True]
    assert terminated.tolist() == [False, False, True, False]
    assert all(reason in infos["unscored"][i] for i in (0, 1, 3))
    assert infos["unscored"][2] is None


# ----------------------------------------------------------------------------------------------------------- autoreset


def test_next_step_ignores_the_action_after_an_end_and_starts_the_episode_that_follows() -> None:
    envs = make_vec(num_envs=2)
    assert envs.autoreset_mode == AutoresetMode.NEXT_STEP == envs.metadata["autoreset_mode"]
    first, _ = envs.reset(seed=[3, 4])
    _, _, terminated, _, infos = envs.step([answer("x"), search("a")])
    assert terminated.tolist() == [True, False]
    assert infos["trace"][0].stop_reason == "answer"
    observations, rewards, terminated, truncated, infos = envs.step([search("ignored"), search("b")])
    assert (rewards.tolist(), terminated.any(), truncated.any()) == ([0.0, 0.0], False, False)
    assert [len(trace.steps) for trace in envs.snapshot()] == [0, 2]
    assert "# Tools" in observations[0]
    assert infos["_question_id"].tolist() == [True, False]
    single = gym.make(HOTPOT)
    assert single.reset(seed=3)[0] == first[0]
    assert single.reset()[0] == observations[0]
    envs.step([search("c"), search("c")])
    assert [len(trace.steps) for trace in envs.snapshot()] == [1, 3]


def test_same_step_starts_the_next_episode_at_once_and_keeps_the_last_of_the_old_one() -> None:
    envs = make_vec(num_envs=2, autoreset_mode="SameStep", max_steps=1)
    envs.reset(seed=[3, 4])
    golds = [trace.question.answer for trace in envs.snapshot()]
    observations, rewards, terminated, truncated, infos = envs.step([answer(golds[0]), search("a")])
    assert (terminated.tolist(), truncated.tolist()) == ([True, False], [False, True])
    assert rewards[0] == pytest.approx(0.6)
    assert "# Tools" in observations[0]
    assert "# Tools" in observations[1]
    assert infos["final_obs"][0] == ""
    assert "tool_response" in infos["final_obs"][1]
    assert infos["final_info"]["stop_reason"].tolist() == ["answer", "max_steps"]
    assert infos["final_info"]["reward_parts"]["answer"].tolist() == [1.0, 0.0]
    assert infos["final_info"]["trace"][0].answer == golds[0]
    assert [len(trace.steps) for trace in envs.snapshot()] == [0, 0]
    assert infos["question_id"].tolist() == [trace.question.id for trace in envs.snapshot()]


def test_disabled_waits_for_a_reset_of_those_that_are_over() -> None:
    envs = make_vec(num_envs=3, autoreset_mode=AutoresetMode.DISABLED)
    envs.reset(seed=0)
    envs.step([answer("x"), search("a"), answer("y")])
    ended = envs.snapshot()
    observations, rewards, terminated, truncated, _ = envs.step([answer("again")] * 3)
    assert (observations[0], rewards[0], terminated.tolist(), truncated.any()) == ("", 0.0, [False, True, False], False)
    assert [envs.snapshot()[i] is ended[i] for i in range(3)] == [True, False, True]
    observations, infos = envs.reset(seed=[7, None, None], options={"reset_mask": np.array([True, False, False])})
    assert observations[1:] == ("", "")
    assert infos["_question_id"].tolist() == [True, False, False]
    assert [len(trace.steps) for trace in envs.snapshot()] == [0, 2, 1]
    assert envs.snapshot()[0].seed == 7
    _, _, terminated, _, _ = envs.step([answer("z")] * 3)
    assert terminated.tolist() == [True, False, False]


@pytest.mark.parametrize("mode", MODES)
def test_a_reset_of_all_starts_all_in_every_mode(mode: AutoresetMode) -> None:
    envs = make_vec(num_envs=2, autoreset_mode=mode)
    first = envs.reset(seed=5)
    envs.step([answer("x"), search("a")])
    again = envs.reset(seed=5)
    assert again[0] == first[0]
    assert [len(trace.steps) for trace in envs.snapshot()] == [0, 0]
    envs.step([search("a"), search("a")])
    assert [len(trace.steps) for trace in envs.snapshot()] == [1, 1]


# ------------------------------------------------------------------------------------------------------ seeds, options


def test_an_integer_seed_counts_up_and_a_list_gives_each_its_own() -> None:
    envs = make_vec(num_envs=3)
    envs.reset(seed=10)
    assert [trace.seed for trace in envs.snapshot()] == [10, 11, 12]
    envs.reset(seed=[5, 5, 1])
    assert [trace.seed for trace in envs.snapshot()] == [5, 5, 1]
    one, two, _ = envs.snapshot()
    assert one == two


def test_questions_are_chosen_for_all_or_one_by_one() -> None:
    envs = make_vec(num_envs=3)
    _, infos = envs.reset(seed=0, options={"question_id": BAD})
    assert infos["question_id"].tolist() == [BAD] * 3
    seeded = envs.reset(seed=0)[1]["question_id"].tolist()
    _, infos = envs.reset(seed=0, options={"question_id": [None, BAD, None]})
    assert infos["question_id"].tolist() == [seeded[0], BAD, seeded[2]]


def test_what_cannot_be_used_is_an_error_that_says_so() -> None:
    envs = make_vec(num_envs=3)
    with pytest.raises(gym.error.ResetNeeded, match=r"Call reset\(\) before step\(\)"):
        envs.step(["x"] * 3)
    with pytest.raises(gym.error.ResetNeeded, match="must start every environment"):
        envs.reset(options={"reset_mask": np.array([True, False, True])})
    with pytest.raises(UnknownQuestionError, match="No question with id 'nope'"):
        envs.reset(options={"question_id": [None, "nope", None]})
    with pytest.raises(gym.error.ResetNeeded, match=r"Call reset\(\) before step\(\)"):
        envs.step(["x"] * 3)
    envs.reset(seed=0)
    before = envs.snapshot()
    for error, actions, message in (
        (ValueError, ["x"] * 2, "Expected 3 actions, one per environment, found 2"),
        (TypeError, ["x", 5, "x"], "An action is a string, found int"),
    ):
        with pytest.raises(error, match=message):
            envs.step(actions)  # type: ignore[arg-type]
    for options, message in (
        ({"seed": [1, 2]}, "seed: expected 3 values, one per environment, found 2"),
        ({"options": {"question_id": [BAD]}}, "question_id: expected 3 values"),
        ({"options": {"mask": 1}}, "Unknown reset option 'mask'; expected one of 'question_id', 'reset_mask'"),
        ({"options": {"reset_mask": [True] * 3}}, r"boolean array of shape \(3,\)"),
        ({"options": {"reset_mask": np.ones(3)}}, r"boolean array of shape \(3,\)"),
        ({"options": {"reset_mask": np.ones(2, dtype=bool)}}, r"boolean array of shape \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            envs.reset(**options)  # type: ignore[arg-type]
    with pytest.raises(UnknownQuestionError):
        envs.reset(seed=9, options={"question_id": [BAD, BAD, "nope"]})
    assert envs.snapshot() == before
    with pytest.raises(ValueError, match="num_envs is at least 1, found 0"):
        gym.make_vec(HOTPOT, num_envs=0)


def test_actions_may_come_as_an_array_of_strings() -> None:
    envs = make_vec(num_envs=2)
    envs.reset(seed=0)
    envs.step(np.array([search("a"), answer("x")]))  # type: ignore[arg-type]
    assert [type(trace.steps[0].action) for trace in envs.snapshot()] == [str, str]


def test_the_spaces_are_batches_of_the_single_ones() -> None:
    envs = make_vec(num_envs=3)
    observations, _ = envs.reset(seed=0)
    assert observations in envs.observation_space
    assert envs.single_action_space.contains("x")
    actions = envs.action_space.sample()
    assert len(actions) == 3
    envs.step(actions)
