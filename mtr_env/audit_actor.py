"""The audit of a ToolActor: how good is a simulator that is a language model?

The oracle plays every question against the game's own ToolActor (the evidence), and each of its calls, at the point of
the episode where it was made, is asked of the audited actor too. Nothing here depends on how well a policy plays.

- *Agreement*: a field of the response (all but status, message and candidates) agrees when it equals the evidence's,
  but for case, punctuation and the order of lists. Responses that broke their schema are counted elsewhere.
- *Self-consistency*: the same call is asked once more, in other words (names in lower case, a query's words in reverse)
  and with the episode so far in reverse order: how many fields are the same as the first time.
- *Leaks*: of the responses to calls that did not ask for the final answer, how many state it
  (:mod:`mtr_env.toolactors.guard`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from mtr_env.audited import Audited, audited
from mtr_env.contract import Contract
from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.evaluate import Interval, wilson
from mtr_env.llm.client import Spent
from mtr_env.policies.oracle import Oracle
from mtr_env.rollout import play
from mtr_env.tool import Toolset
from mtr_env.toolactors.base import CallKey, History, ToolActor, ToolRequest, exchanges
from mtr_env.toolactors.border import respond_many
from mtr_env.toolactors.guard import leaks, secrets
from mtr_env.toolactors.llm import remarks
from mtr_env.toolactors.noise import NoisyToolActor
from mtr_env.toolactors.stated import plain
from mtr_env.toolmakers.specs import ENVELOPE
from mtr_env.trace import Call, Response, canonical

_BATCH = 512  # calls that are asked at once
_KEPT = 50  # disagreements that are listed


class Share(Struct, frozen=True):
    """``count`` of ``of``, the share with its 95% Wilson interval; ``None`` where there is nothing to count."""

    share: float | None
    count: int
    of: int
    interval: Interval | None

    @classmethod
    def make(cls, count: int, of: int) -> Share:
        """The share of two counts."""
        return cls(count / of if of else None, count, of, wilson(count, of))


class Disagreement(Struct, frozen=True):
    """A field in which the actor said something else than the evidence."""

    question_id: str
    call: str
    field: str
    evidence: Any
    found: Any


class ActorReport(Audited, frozen=True):
    """What :func:`audit_actor` found."""

    questions: int
    calls: int
    """Calls of the oracle that the actor was asked to answer; each is asked twice."""
    outages: int
    """Of all calls asked, those that the actor could not answer."""
    outage_reasons: dict[str, int]
    fields: Share
    """Fields that agree with the evidence."""
    status: Share
    """Responses whose status is the evidence's."""
    kinds: dict[str, Share]
    """Agreement of fields by what the tool does: search, open_page, relation, ..."""
    first_try: Share
    """The model's responses that satisfied the tool's schema at the first try."""
    invalid: Share
    """All responses: those that broke the schema in the end."""
    leaks: Share
    """Of the responses to calls that did not ask for the final answer, those that state it."""
    consistency: Share
    """Fields that were the same when the call was asked again."""
    origins: dict[str, int]
    input_tokens: int
    """Of the responses, also of replayed ones."""
    output_tokens: int
    spent: Spent | None
    """What the endpoint was asked in this audit; ``None`` where the actor has no client."""
    disagreements: list[Disagreement]
    """The first 50."""
    evidence: str
    """The ToolActor that ``tool_actor`` is compared with."""


def audit_actor(
    game: Game,
    actor: ToolActor,
    *,
    seed: int = 0,
    spent: Callable[[], Spent] | None = None,
    on_question: Callable[[int, int], None] | None = None,
) -> ActorReport:
    """Compares ``actor`` with the evidence (``game``'s own ToolActor) on the oracle's calls of every question.

    ``spent`` says what the actor's client has used so far (``lambda: client.spent``). After each batch
    ``on_question(done, questions)`` is called. Raises ``ValueError`` for a game with noise, which would be in the
    comparison, and what a ToolMaker raises.
    """
    if isinstance(game.tool_actor, NoisyToolActor):
        raise ValueError("An actor is compared with the evidence itself: give a game without noise.")
    started, before = time.perf_counter(), spent() if spent is not None else None
    tally, ids = _Tally(), game.world.ids
    waiting: list[tuple[ToolRequest, Response]] = []
    for done, pairs in enumerate(_oracle_calls(game, seed), 1):
        waiting += pairs
        if len(waiting) >= _BATCH or done == len(ids):
            tally.ask(actor, waiting)
            waiting = []
            if on_question is not None:
                on_question(done, len(ids))
    return ActorReport(
        questions=len(ids),
        **tally.found(),
        spent=_since(before, spent()) if spent is not None and before is not None else None,
        evidence=game.tool_actor.name,
        **audited(replace(game.setup, tool_actor=actor.name), seed, started),
    )


def _oracle_calls(game: Game, seed: int) -> Iterator[list[tuple[ToolRequest, Response]]]:
    """For each question, the oracle's calls with what the evidence answers."""
    env, oracle = MTREnv(game), Oracle(game.grammar, game.tool_actor)
    for number, question_id in enumerate(game.world.ids):
        trace = play(env, oracle, question_id=question_id, seed=seed + number)
        yield list(exchanges(trace, game.begin(question_id, trace.seed)[0].view))


def _since(before: Spent, now: Spent) -> Spent:
    cost = None if now.cost is None else now.cost - (before.cost or 0.0)
    return Spent(
        now.requests - before.requests,
        now.retries - before.retries,
        now.input_tokens - before.input_tokens,
        now.output_tokens - before.output_tokens,
        cost,
    )


class _Tally:
    """What was counted so far."""

    def __init__(self) -> None:
        self.calls = self.status = self.answered = 0
        self.fields: Counter[str] = Counter()  # by kind of tool
        self.agreed: Counter[str] = Counter()
        self.by_model = self.first_try = self.responses = self.invalid = 0
        self.could_leak = self.leaked = 0
        self.compared = self.same = 0
        self.origins: Counter[str] = Counter()
        self.outages: Counter[str] = Counter()
        self.tokens = [0, 0]
        self.disagreements: list[Disagreement] = []

    def ask(self, actor: ToolActor, pairs: Sequence[tuple[ToolRequest, Response]]) -> None:
        """Asks the actor for every call twice."""
        requests = [request for request, _ in pairs]
        first = [self._take(r, found) for r, found in zip(requests, respond_many(actor, requests), strict=True)]
        others = [reworded(request) for request in requests]
        again = [self._take(r, found) for r, found in zip(others, respond_many(actor, others), strict=True)]
        self.calls += len(pairs)
        for (request, reference), value, second in zip(pairs, first, again, strict=True):
            if isinstance(value, dict):
                self._agreement(request, reference.value, value)
                if isinstance(second, dict):
                    same = compare(value, second)
                    self.compared += len(same)
                    self.same += sum(same.values())

    def _take(self, request: ToolRequest, found: Response | Exception) -> Any:
        """Counts a response; its value, or ``None`` where there is no valid one."""
        if isinstance(found, Exception):
            self.outages[f"{type(found).__name__}: {found}"[:200]] += 1
            return None
        self.responses += 1
        self.origins[found.origin] += 1
        if found.usage is not None:
            self.tokens[0] += found.usage.input_tokens
            self.tokens[1] += found.usage.output_tokens
        broken = Contract(Toolset((request.spec,))).check_response(found.value, request.spec) is not None
        if found.origin == "llm":
            self.by_model += 1
            self.first_try += not broken and remarks(found).attempts == 1
        self.invalid += broken
        if broken:
            return None
        self.could_leak += bool(secrets(request))
        self.leaked += leaks(request, found.value)
        return found.value

    def _agreement(self, request: ToolRequest, reference: Any, value: dict[str, Any]) -> None:
        self.answered += 1
        self.status += reference.get("status") == value.get("status")
        kind = request.spec.binding.partition(":")[0]
        for name, agrees in compare(reference, value).items():
            self.fields[kind] += 1
            self.agreed[kind] += agrees
            if not agrees and len(self.disagreements) < _KEPT:
                there, here = reference.get(name), value.get(name)
                self.disagreements.append(
                    Disagreement(request.key.question_id, canonical(request.call), name, there, here)
                )

    def found(self) -> dict[str, Any]:
        """The counts as the fields of a report."""
        return {
            "calls": self.calls,
            "outages": self.outages.total(),
            "outage_reasons": dict(self.outages.most_common(20)),
            "fields": Share.make(self.agreed.total(), self.fields.total()),
            "status": Share.make(self.status, self.answered),
            "kinds": {kind: Share.make(self.agreed[kind], of) for kind, of in sorted(self.fields.items())},
            "first_try": Share.make(self.first_try, self.by_model),
            "invalid": Share.make(self.invalid, self.responses),
            "leaks": Share.make(self.leaked, self.could_leak),
            "consistency": Share.make(self.same, self.compared),
            "origins": dict(sorted(self.origins.items())),
            "input_tokens": self.tokens[0],
            "output_tokens": self.tokens[1],
            "disagreements": self.disagreements,
        }


def compare(first: dict[str, Any], second: dict[str, Any]) -> dict[str, bool]:
    """Whether two responses agree, for each field of either but those that every response has.

    >>> compare({"status": "ok", "film": ["Kolya", "Elves"]}, {"status": "ok", "film": ["elves", "KOLYA."]})
    {'film': True}
    """
    names = [name for name in {**first, **second} if name not in ENVELOPE]
    return {name: name in first and name in second and _normal(first[name]) == _normal(second[name]) for name in names}


def _normal(value: Any) -> Any:
    """A JSON value in which what need not agree is left out."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return sorted([_normal(item) for item in value], key=repr)
    if isinstance(value, dict):
        return {name: _normal(item) for name, item in sorted(value.items())}
    return value


def reworded(request: ToolRequest) -> ToolRequest:
    """The same question to a tool in other words, later calls first, and with another seed."""
    spec, trace = request.spec, request.history.trace
    call = Call(
        request.call.name, {name: _other_words(text, spec.binding) for name, text in request.call.arguments.items()}
    )
    before = replace(trace, steps=trace.steps[::-1], seed=trace.seed + 1)
    key = CallKey(request.key.seed + 1, request.key.question_id, call, before.steps)
    return ToolRequest(call, spec, request.view, History(before, request.history.pending[::-1]), key)


def _other_words(argument: Any, binding: str) -> Any:
    if not isinstance(argument, str) or binding.startswith("compute:"):
        return argument
    return " ".join(reversed(argument.lower().split())) if binding == "search" else argument.lower()
