"""A ToolActor that is a language model: each response is checked, and asked for again where it is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from mtr_env import draw
from mtr_env.contract import Contract
from mtr_env.errors import InfrastructureError, ToolsetError
from mtr_env.llm.answers import Chat, again, read_json
from mtr_env.llm.client import Completion
from mtr_env.llm.loop import run
from mtr_env.question import View
from mtr_env.text import as_unicode
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.toolactors import border, guard, prompt
from mtr_env.toolactors.base import CallKey, History, ToolRequest
from mtr_env.toolactors.prompt import KNOWLEDGE, PROMPT_VERSION, Knowledge
from mtr_env.toolactors.stated import grounded_response, stated_sources
from mtr_env.trace import Call, Response, Usage

LeakGuard = Literal["measure", "refuse", "off"]
LEAK_GUARDS: tuple[LeakGuard, ...] = ("measure", "refuse", "off")
_LEAK = "it says more than this call asks for"
_INVALID_LEAK = f"it is not what the schema asks for, and {_LEAK}"
_SHOWN = 1000  # characters of an answer that is no value


class LLMToolActor:
    """A model plays the tools. ``client`` is a :class:`~mtr_env.llm.ChatClient`.

    ``knowledge`` says what it may know: ``"evidence"``, the question's paragraphs (at most ``evidence_chars``
    characters of them, those that the call needs most); ``"closed_book"``, what it has learnt, for worlds without
    paragraphs; ``"gold_hint"``, the question and its gold answer, to compare with ZeroSearch and not to train on. Only
    with ``"gold_hint"`` does a prompt hold the question or its gold.

    A response that breaks the tool's schema (or is cut off, empty or refused) is asked for again with what is wrong, at
    most ``attempts`` times; one that stays wrong is returned as it is, an ``invalid_response`` of the simulator. A
    response has ``origin="llm"``, the tokens of all its attempts as ``usage``, and the evidence that it states as
    ``sources`` (:mod:`mtr_env.toolactors.stated`); an invalid one has those of what it was asked for, so that no part
    of the reward charges it to the policy. ``note`` says what it took: :func:`remarks`.

    ``leak_guard`` (:mod:`mtr_env.toolactors.guard`): ``"measure"`` marks a response that states the final answer to a
    call that did not ask for it, ``"refuse"`` treats it like a broken schema, ``"off"`` does not look. Where an
    answer that has to be written anew holds the final answer, the model is not shown it.

    Raises :class:`~mtr_env.llm.ModelError` when the endpoint cannot answer: the episode ends unscored; and
    :class:`~mtr_env.errors.ToolsetError` for a question without paragraphs where they are what it may know.
    """

    remote = True
    uses_history = True

    def __init__(
        self,
        client: Chat,
        knowledge: Knowledge = "evidence",
        attempts: int = 2,
        leak_guard: LeakGuard = "measure",
        evidence_chars: int = 24_000,
    ) -> None:
        for what, value, known in (("knowledge", knowledge, KNOWLEDGE), ("leak_guard", leak_guard, LEAK_GUARDS)):
            if value not in known:
                raise ValueError(f"{what} is one of {', '.join(map(repr, known))}, found {value!r}.")
        if attempts < 0 or evidence_chars < 1:
            raise ValueError(f"attempts is at least 0 and evidence_chars 1, found {attempts} and {evidence_chars}.")
        self.client = client
        self.knowledge = knowledge
        self.attempts = attempts
        self.leak_guard = leak_guard
        self.evidence_chars = evidence_chars
        budget = f", evidence_chars={evidence_chars}" if knowledge == "evidence" else ""
        self.name = (
            f"llm({client.name}, knowledge={knowledge}, prompt={PROMPT_VERSION}, attempts={attempts}, "
            f"leak_guard={leak_guard}{budget})"
        )

    def __deepcopy__(self, memo: object) -> LLMToolActor:
        return self

    def respond(self, call: Call, spec: ToolSpec, view: View, history: History, key: CallKey) -> Response:
        """See :class:`~mtr_env.toolactors.base.ToolActor`."""
        return run(self.arespond(ToolRequest(call, spec, view, history, key)))

    def respond_many(self, requests: Sequence[ToolRequest]) -> list[Response | Exception]:
        """See :class:`~mtr_env.toolactors.base.BatchToolActor`; at most ``client.concurrency`` at once."""
        return run(self._respond_all(requests))

    async def _respond_all(self, requests: Sequence[ToolRequest]) -> list[Response | Exception]:
        return await asyncio.gather(*[border.arespond(self, request) for request in requests])

    async def arespond(self, request: ToolRequest) -> Response:
        """The response to one call; see :class:`~mtr_env.toolactors.base.ToolActor`."""
        asked = self._messages(request)
        messages, usage, refused = asked, Usage(), False
        for number in range(self.attempts + 1):
            completion = await self.client.complete(
                messages, schema=request.spec.response, seed=_seed(request.key, number)
            )
            usage = _sum(usage, completion.usage)
            verdict = self._judge(request, completion)
            refused |= verdict.refused
            if not verdict.problem:
                break
            # A leaking answer is not shown again: where the model has no evidence, that would tell it the gold.
            messages = again(asked, "" if verdict.leak else completion.text, verdict.problem)
        note = [f"attempts={number + 1}"] * (number > 0)
        note += ["leak refused"] * refused
        if not verdict.problem:
            note += ["leak"] * verdict.leak
            value = verdict.value
            return Response(value, stated_sources(request, value), "llm", usage, ", ".join(note))
        reference = grounded_response(request)
        sources = reference.sources if reference is not None else ()
        return Response(_invalid(request.spec, verdict), sources, "llm", usage, ", ".join([*note, "invalid"]))

    def _messages(self, request: ToolRequest) -> list[dict[str, Any]]:
        if self.knowledge == "evidence" and not request.view.paragraphs:
            raise ToolsetError(
                f"Question {request.view.id!r} has no paragraphs, so with knowledge 'evidence' the model has nothing "
                "to answer from: give knowledge='closed_book' (--knowledge closed_book)."
            )
        if self.knowledge == "evidence":
            known = prompt.evidence_block(request.view, request.call, self.evidence_chars)
        elif self.knowledge == "gold_hint":
            known = prompt.gold_block(request.view.text, guard.golds(request.history))
        else:
            known = ""
        user = prompt.user_prompt(request.spec, request.call, known, request.history)
        return [
            {"role": "system", "content": prompt.system_prompt(self.knowledge)},
            {"role": "user", "content": user},
        ]

    def _judge(self, request: ToolRequest, completion: Completion) -> _Verdict:
        value, problem = read_json(completion)
        leak = self.leak_guard != "off" and guard.leaks(request, value)
        refused = leak and self.leak_guard == "refuse"
        if problem:
            return _Verdict(value, problem, leak, refused, is_json=False)
        fault = Contract(Toolset((request.spec,))).check_response(value, request.spec)
        if fault is not None:  # whose message may quote the value
            return _Verdict(value, _INVALID_LEAK if leak else as_unicode(fault.message), leak, refused)
        return _Verdict(value, _LEAK if refused else "", leak, refused)


class _Verdict(NamedTuple):
    """An answer's value and what is wrong with it, if anything is."""

    value: Any
    problem: str
    leak: bool
    refused: bool
    is_json: bool = True


class Remarks(NamedTuple):
    """What a model's response took: how many attempts; whether the last one was still invalid; whether it leaks the
    answer, or an attempt did that the guard refused."""

    attempts: int
    invalid: bool
    leak: bool
    leak_refused: bool


def remarks(response: Response) -> Remarks:
    """What the ``note`` of an :class:`LLMToolActor`'s response says, also that of a saved or replayed one.

    >>> remarks(Response({}, origin="llm", note="attempts=2, leak"))
    Remarks(attempts=2, invalid=False, leak=True, leak_refused=False)
    """
    notes = response.note.split(", ") if response.origin == "llm" else []
    attempts = [int(note.removeprefix("attempts=")) for note in notes if note.startswith("attempts=")]
    return Remarks(attempts[0] if attempts else 1, "invalid" in notes, "leak" in notes, "leak refused" in notes)


def _invalid(spec: ToolSpec, verdict: _Verdict) -> Any:
    """What stands in the record for a response that cannot be used: the value itself where it breaks the schema.

    A leak would satisfy it, and so might the text of a refusal: then something that does not.
    """
    contract = Contract(Toolset((spec,)))
    text = str(verdict.value)[:_SHOWN]
    first = f"refused by the leak guard: {_LEAK}" if verdict.refused else verdict.value if verdict.is_json else text
    values: tuple[Any, ...] = (first, None, "", 0, [], {})
    for value in values:
        if contract.check_response(value, spec) is not None:
            return value
    raise InfrastructureError(f"the model's response is unusable ({verdict.problem}), and the schema allows anything")


def _seed(key: CallKey, number: int) -> int:
    """31 bits, the same for the same call of the same episode."""
    return draw.bits("llm", key.seed, key.question_id, key.call, key.attempt, number) >> 33


def _sum(a: Usage, b: Usage) -> Usage:
    return Usage(a.input_tokens + b.input_tokens, a.output_tokens + b.output_tokens)
