"""The oracle: plays the plan that proves a question solvable, copying everything from what it saw."""

from __future__ import annotations

from mtr_env.grammar import Grammar, get_grammar
from mtr_env.policies.base import Messages, Tools
from mtr_env.policies.plan import QUESTION, Argument, Joined, Plan, PlannedCall, Planner, Verdict
from mtr_env.provenance import stated_strings
from mtr_env.toolactors.base import ToolActor
from mtr_env.toolactors.cassette import CassetteToolActor
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.ladder import LadderToolActor
from mtr_env.toolactors.noise import NoisyToolActor
from mtr_env.trace import Call, Trace


class Oracle:
    """Knows the gold evidence, so it knows which call to make next; every word it says it has read before.

    It plans against ``actor``: the environment's, without its noise; what is grounded in a ladder, and the grounded one
    in place of a model, whose responses depend on the episode and cannot be foreseen. Where a response is not the
    planned one (noise, a model's mistake), it makes the call again while steps are left. A question without a plan is
    answered with nothing.
    """

    sees_gold = True

    def __init__(self, grammar: str | Grammar = "hermes", actor: ToolActor | None = None) -> None:
        self.grammar = get_grammar(grammar)
        self.actor = GroundedToolActor() if actor is None else _foreseeable(actor)

    def plan(self, trace: Trace) -> Plan:
        """The plan for the episode that begins with ``trace``."""
        return Planner(trace.question, trace.toolset, self.actor, trace.setup).plan()

    def for_episode(self, trace: Trace) -> OraclePlayer:
        """See :class:`~mtr_env.policies.base.EpisodicPolicy`."""
        return OraclePlayer(self.plan(trace), trace.question.text, self.grammar)


def _foreseeable(actor: ToolActor) -> ToolActor:
    """What of an actor answers in the same way when it is asked before the episode."""
    inner = actor
    while isinstance(inner, NoisyToolActor | CassetteToolActor):
        inner = inner.inner
    if isinstance(inner, LadderToolActor):
        return inner.grounded
    if isinstance(inner, GroundedToolActor):
        return inner
    while isinstance(actor, NoisyToolActor):
        actor = actor.inner
    return GroundedToolActor() if getattr(actor, "uses_history", False) else actor


class OraclePlayer:
    """Plays one plan."""

    def __init__(self, plan: Plan, question: str, grammar: Grammar) -> None:
        self.plan = plan
        self._question = question
        self._grammar = grammar
        self._values: list[list[str]] = []  # the strings that each planned call returned
        self._waiting: list[tuple[PlannedCall, Call]] = []
        self._next_step = 0

    def __call__(self, messages: Messages, tools: Tools) -> str:
        """The next planned step, or the last one's calls again where their responses were not as planned."""
        again = self._read(messages[-1]["content"]) if self._waiting else []
        if again:
            self._waiting = again
        elif self._next_step < len(self.plan.steps):
            step = self.plan.steps[self._next_step]
            self._next_step += 1
            first = len(self._values)
            self._values += [[] for _ in step]
            self._waiting = [(planned, self._call(planned)) for planned in step]
            self._places = {id(planned): first + i for i, planned in enumerate(step)}
        else:
            return self._grammar.render_answer(self._text(self.plan.answer))
        return self._grammar.render_call(*[call for _, call in self._waiting])

    def _read(self, observation: str) -> list[tuple[PlannedCall, Call]]:
        """Keeps the responses that are as planned; returns the calls whose responses are not."""
        try:
            results = self._grammar.parse_observation(observation)
        except ValueError:
            return self._waiting
        again = []
        for (planned, call), result in zip(self._waiting, results, strict=False):
            texts = list(stated_strings(call, result.content))
            if tuple(map(len, texts)) == planned.lengths:
                self._values[self._places[id(planned)]] = texts
            else:
                again.append((planned, call))
        return again + self._waiting[len(results) :]

    def _call(self, planned: PlannedCall) -> Call:
        return Call(planned.tool, {name: self._text(argument) for name, argument in planned.arguments.items()})

    def _text(self, argument: Argument | Verdict | None) -> str:
        if argument is None:
            return ""
        if isinstance(argument, Verdict):
            return argument.word
        if isinstance(argument, Joined):
            return argument.separator.join(self._text(span) for span in argument.spans)
        text = self._question if argument.call == QUESTION else self._values[argument.call][argument.string]
        return text[argument.start : argument.end]
