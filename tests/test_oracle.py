"""The oracle proves questions solvable, and says nothing that it has not read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from mtr_env.env import MTREnv
from mtr_env.metrics import metrics
from mtr_env.policies.oracle import Oracle
from mtr_env.policies.plan import QUESTION, Joined, Span, Verdict
from mtr_env.provenance import stated_strings
from mtr_env.question import Paragraph, Question
from mtr_env.registration import ENV_IDS, make_game
from mtr_env.reward import score
from mtr_env.rollout import aplay, play
from mtr_env.text import fold
from mtr_env.toolactors.cassette import CassetteToolActor, RecordedActor
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.ladder import LadderToolActor
from mtr_env.toolactors.noise import NoisyToolActor
from mtr_env.trace import Response, Trace


def traces_of(env: MTREnv, policy: Any, limit: int | None = None) -> Iterator[Trace]:
    for question_id in env.game.world.ids[:limit]:
        yield play(env, policy, question_id=question_id)


@pytest.mark.parametrize("env_id", ENV_IDS)
@pytest.mark.parametrize("grammar", ["hermes", "react-compact"])
def test_the_oracle_solves_every_bundled_question_with_full_reward(env_id: str, grammar: str) -> None:
    env = gym.make(env_id, grammar=grammar, limit=60).unwrapped
    rewards = {trace.question.id: score(trace).total for trace in traces_of(env, Oracle(grammar))}
    assert {question_id: reward for question_id, reward in rewards.items() if reward != 1.0} == {}


def test_a_plan_copies_every_argument_and_the_answer_from_what_was_seen() -> None:
    env = gym.make("MTR-MuSiQue-v0").unwrapped
    oracle = Oracle()
    for trace in traces_of(env, oracle):
        plan = oracle.plan(trace.upto(0))
        planned = [call for step in plan.steps for call in step]
        exchanges = list(trace.exchanges())
        strings = [stated_strings(call, response.value) for call, response in exchanges]
        for number, call in enumerate(planned):
            for argument in (*call.arguments.values(), *([plan.answer] if number == len(planned) - 1 else [])):
                assert isinstance(argument, (Span, Joined, Verdict))
                for span in argument.spans if isinstance(argument, Joined) else [argument]:
                    if isinstance(span, Span) and span.call != QUESTION:
                        assert span.call <= number  # nothing is copied from the future
                        assert strings[span.call][span.string][span.start : span.end]


def test_the_oracle_tries_again_when_a_tool_fails_or_answers_in_part() -> None:
    game = make_game(
        "MTR-Synthetic-v0", noise={"tool_failure": 0.15, "not_found": 0.1, "partial": 0.1}, limit=80, max_steps=16
    )
    oracle = Oracle(actor=game.tool_actor)
    rewards = [score(trace) for trace in traces_of(MTREnv(game), oracle)]
    assert sum(reward.total == 1.0 for reward in rewards) >= 78
    noisy = [
        trace for trace in traces_of(MTREnv(game), oracle) if any(r.origin == "noise" for _, r in trace.exchanges())
    ]
    assert len(noisy) > 20


def test_an_unprovable_question_is_answered_with_nothing_and_has_a_reason() -> None:
    env = gym.make("MTR-HotpotQA-v0").unwrapped
    env.reset(seed=0)
    trace = env.snapshot()
    question = Question("made", "Who is it?", "Nobody", paragraphs=(Paragraph("A page", ("It says something else.",)),))
    oracle = Oracle()
    made = Trace(question, trace.toolset, trace.setup, 0)
    plan = oracle.plan(made)
    assert plan.answer is None and plan.reason == "no value that the tools return states the answer"
    assert oracle.for_episode(made)([{"role": "user", "content": ""}], []) == "<answer></answer>"


def test_more_calls_than_steps_are_made_together_where_they_do_not_need_each_other() -> None:
    game = make_game("MTR-2WikiMultiHopQA-v0", max_steps=4)
    oracle = Oracle()
    for trace in traces_of(MTREnv(game), oracle):
        assert len(trace.steps) <= 4
        if trace.question.family == "bridge_comparison":
            assert any(len(step.calls) > 1 for step in trace.steps)
            assert score(trace).total == 1.0


def test_the_answer_is_the_gold_answer_however_it_is_written() -> None:
    env = gym.make("MTR-2WikiMultiHopQA-v0").unwrapped
    for trace in traces_of(env, Oracle()):
        assert metrics(trace).em == 1.0
        without_article = [fold(text).removeprefix("the ") for text in (trace.answer or "", trace.question.answer)]
        assert without_article[0] == without_article[1]


def test_it_plans_against_what_is_grounded_however_that_is_wrapped(tmp_path: Path) -> None:
    class Model:
        name, uses_history = "model", True

        def respond(self, *request: Any) -> Any:
            raise AssertionError("a model cannot be foreseen")

    grounded, path = GroundedToolActor(), tmp_path / "responses.sqlite"
    ladder = LadderToolActor(grounded, CassetteToolActor(Model(), path))
    for actor in (grounded, ladder, NoisyToolActor(ladder, 0.2), CassetteToolActor(NoisyToolActor(ladder, 0.2), path)):
        assert Oracle(actor=actor).actor is grounded
    other = Oracle(actor=NoisyToolActor(Model(), 0.2)).actor
    assert type(other) is GroundedToolActor
    replayed = CassetteToolActor(RecordedActor("grounded"), path, "replay")
    assert Oracle(actor=NoisyToolActor(replayed, 0.2)).actor is replayed


def test_an_actor_that_fails_while_the_plan_is_made_is_a_reason_not_a_crash() -> None:
    class Broken:
        name = "broken"

        def __deepcopy__(self, memo: object) -> Broken:
            return self

        def respond(self, *request: object) -> Response:
            raise ConnectionError("no route")

    game = make_game("MTR-HotpotQA-v0", tool_actor=Broken(), limit=1)
    env = MTREnv(game)
    oracle = Oracle(actor=game.tool_actor)
    env.reset(seed=0)
    assert oracle.plan(env.snapshot()).reason == "the ToolActor failed: ConnectionError"
    assert score(play(env, oracle)).unscored is not None


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_an_actor_that_returns_no_response_is_named_by_the_plan_and_by_the_episode(noise: float) -> None:
    class Dicty:
        name = "dicty"

        def respond(self, *request: Any) -> Any:
            return {"status": "not_found"}

    actor = NoisyToolActor(Dicty(), noise)
    game = make_game("MTR-Synthetic-v0", tool_actor=actor)
    oracle = Oracle(actor=actor)
    said = "a ToolActor returns a Response, found dict"
    assert said in str(oracle.plan(game.begin(game.world.ids[0], 0)[1]).reason)
    assert said in str(score(play(MTREnv(game), oracle, seed=0)).unscored)
    assert said in str(score(asyncio.run(aplay(game, oracle, seed=0))).unscored)
