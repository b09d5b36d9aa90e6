"""Parity: the same actions give the same trace and the same reward, in plain Gymnasium and through every adapter.

    for scenario in scenarios():
        found = play(scenario)  # your driver: the real framework, with the scenario's messages for a model
        assert differences(expected(scenario), found) == (), scenario.name

A :class:`Scenario` is an episode with every message of the policy written down, each as text in the ``hermes`` grammar
and as native tool calls. A driver starts its question with its seed and its options, lets the framework play the
messages in either form, and says how the episode ended: an :class:`Outcome`. What plain Gymnasium says of the same
episode is :func:`expected`. A framework that makes tool calls one by one is compared with
``expected(scenario, one_call_a_step=True)``. Everything is offline and free of chance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from mtr_env.env import MTREnv
from mtr_env.errors import InfrastructureError
from mtr_env.grammar import HermesGrammar
from mtr_env.policies.oracle import Oracle
from mtr_env.question import View
from mtr_env.registration import SYNTHETIC, make_game
from mtr_env.reward import CONSISTENCY, Reward
from mtr_env.rollout import play
from mtr_env.tool import ToolSpec
from mtr_env.toolactors.base import CallKey, History
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.trace import Call, Response, Trace, encode

GRAMMAR = HermesGrammar()
PARTS = ("answer", *CONSISTENCY)
"""The names of the reward's parts, as adapters log them beside ``reward``."""
End = Literal["answer", "max_steps", "infrastructure", "open"]


class Said(Struct, frozen=True):
    """One message of the policy. Either it calls tools or it answers; ``text`` says the same as an action.

    ``calls`` are (name, arguments); the arguments are a text where the policy wrote something that is no JSON object.
    """

    text: str
    calls: tuple[tuple[str, Any], ...] = ()
    answer: str | None = None


class Scenario(Struct, frozen=True):
    """An episode to play: ``make_game(env_id, **options)``, a question, a seed, and what the policy says.

    ``about`` is one line for tables and pages.
    """

    name: str
    about: str
    env_id: str
    options: dict[str, Any]
    question_id: str
    seed: int
    said: tuple[Said, ...]


class Outcome(Struct, frozen=True):
    """How an episode ended. ``digest`` is the SHA-256 of its trace as JSON; ``reward`` is ``None`` when it is unscored.
    ``end`` is the trace's ``stop_reason``, or ``"open"`` when the driver stopped an episode that could have gone on."""

    digest: str
    reward: float | None
    parts: dict[str, float | None]
    end: End


class FaultyToolActor:
    """The grounded ToolActor, but for the step numbered ``step`` (from 0): there it fails, as ``how`` says.

    ``"response"``: it returns what no tool's schema allows. ``"outage"``: it raises ``InfrastructureError``.
    """

    def __init__(self, step: int, how: Literal["response", "outage"]) -> None:
        self.step = step
        self.how = how
        self.name = f"faulty({how} in step {step})"
        self._grounded = GroundedToolActor()

    def respond(self, call: Call, spec: ToolSpec, view: View, history: History, key: CallKey) -> Response:
        """See :class:`~mtr_env.toolactors.base.ToolActor`."""
        if len(key.steps) != self.step:
            return self._grounded.respond(call, spec, view, history, key)
        if self.how == "outage":
            raise InfrastructureError("an outage, as the scenario wants it")
        return Response("not what the schema promises")


@lru_cache(1)
def scenarios() -> tuple[Scenario, ...]:
    """The suite. What the oracle says in it is what the oracle does say, so that right answers are right."""
    chain = _Question(SYNTHETIC, "synthetic-sample-0-0", limit=8)
    pair = _Question(SYNTHETIC, "synthetic-sample-0-6", limit=8)
    sample = _Question("MTR-HotpotQA-v0", "sample-hotpotqa-01")
    first, second = chain.calls[:2]
    name, arguments = first
    by_sums: dict[str, Any] = {"rubric": "additive"}  # which pays something where "mtr-v0" pays nothing
    return (
        chain.scenario("oracle", "the oracle's calls and answer", *chain.oracle),
        sample.scenario("oracle, sample", "the same on a bundled question, with letters beyond ASCII", *sample.oracle),
        chain.scenario("wrong answer", "one call and a wrong answer", _calls(first), _answer("Nobody"), **by_sums),
        pair.scenario("parallel calls", "two calls in one message", _calls(*pair.calls), pair.answer),
        chain.scenario(
            "malformed call",
            "arguments that are no JSON, then the oracle's messages",
            _calls((name, '{"entity": ')),
            *chain.oracle,
        ),
        chain.scenario(
            "unknown tool",
            "a tool that the question does not have, then the oracle's messages",
            _calls(("get_weather", {"city": "Oslo"})),
            *chain.oracle,
        ),
        chain.scenario(
            "invalid arguments",
            "an argument that the tool does not have, then the oracle's messages",
            _calls((name, {**arguments, "page": 2})),
            *chain.oracle,
        ),
        chain.scenario(
            "budget exhausted",
            "three calls where max_steps is 3",
            *[_calls(call) for call in (first, second, first)],
            max_steps=3,
            **by_sums,
        ),
        chain.scenario(
            "simulator fault",
            "a response that breaks its schema, then a wrong answer: unscored",
            _calls(first),
            _answer("Nobody"),
            tool_actor=FaultyToolActor(0, "response"),
        ),
        chain.scenario(
            "simulator fault survived",
            "the same, but the call is made again, and the answer is right: scored",
            _calls(first),
            *chain.oracle,
            tool_actor=FaultyToolActor(0, "response"),
        ),
        chain.scenario(
            "outage",
            "the second call cannot be answered: over, unscored",
            *[_calls(call) for call in (first, second)],
            tool_actor=FaultyToolActor(1, "outage"),
        ),
    )


def expected(scenario: Scenario, *, one_call_a_step: bool = False) -> Outcome:
    """How the scenario ends in plain Gymnasium. ``one_call_a_step``: the calls of one message are steps of their own,
    as they are for a framework that makes tool calls one by one. Raises ``ValueError`` for one that does not end."""
    env = MTREnv(make_game(scenario.env_id, **scenario.options))
    env.reset(seed=scenario.seed, options={"question_id": scenario.question_id})
    for action in _actions(scenario, one_call_a_step):
        _, paid, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            reward = None if info["unscored"] else paid
            return outcome_of(info["trace"], Reward(reward, info["reward_parts"] or {}))
    raise ValueError(f"The messages of scenario {scenario.name!r} do not end its episode.")


def outcome_of(trace: Trace, reward: Reward) -> Outcome:
    """How an episode ended, by its trace and what the framework paid for it. The token ids that a trainer recorded
    are left out of the digest: they are the tokenizer's."""
    plain = replace(trace, steps=tuple([replace(step, tokens=None) for step in trace.steps]))
    return Outcome(hashlib.sha256(encode(plain)).hexdigest(), reward.total, reward.parts, trace.stop_reason or "open")


def outcome_of_log(trace: Trace, log: Mapping[str, float | None]) -> Outcome:
    """The same where reward and parts stand in what an adapter logs of the episode
    (:func:`mtr_env.reward_log.episode_log`); a name that is not there did not apply."""
    return outcome_of(trace, Reward(log.get("reward"), {name: log.get(name) for name in PARTS}))


def differences(expected: Outcome, found: Outcome) -> tuple[str, ...]:
    """What differs, in sentences; empty when nothing does. A part that does not apply may be ``None`` or missing."""
    pairs: dict[str, tuple[object, object]] = {
        "end": (expected.end, found.end),
        "reward": (expected.reward, found.reward),
        "trace": (expected.digest[:12], found.digest[:12]),
    }
    for name in dict.fromkeys([*expected.parts, *found.parts]):
        pairs[f"part {name}"] = expected.parts.get(name), found.parts.get(name)
    return tuple(f"{what}: expected {a!r}, found {b!r}" for what, (a, b) in pairs.items() if a != b)


class _Question:
    """A question and what the oracle says about it."""

    def __init__(self, env_id: str, question_id: str, **options: Any) -> None:
        self.env_id = env_id
        self.question_id = question_id
        self.options = options
        game = make_game(env_id, **options)
        trace = play(MTREnv(game), Oracle(GRAMMAR, game.tool_actor), question_id=question_id)
        assert trace.answer is not None
        self.calls = [(call.name, call.arguments) for step in trace.steps for call in step.calls]
        self.answer = _answer(trace.answer)
        self.oracle = (*[_calls(call) for call in self.calls], self.answer)

    def scenario(self, name: str, about: str, *said: Said, **options: Any) -> Scenario:
        return Scenario(name, about, self.env_id, {**self.options, **options}, self.question_id, 0, said)


def _calls(*calls: tuple[str, Any]) -> Said:
    return Said(GRAMMAR.render_call(*[Call(name, arguments) for name, arguments in calls]), calls)


def _answer(answer: str) -> Said:
    return Said(GRAMMAR.render_answer(answer), answer=answer)


def _actions(scenario: Scenario, one_call_a_step: bool) -> Iterator[str]:
    for said in scenario.said:
        if one_call_a_step and said.calls:
            yield from [_calls(call).text for call in said.calls]
        else:
            yield said.text
