"""What a ToolActor is: the one place where an episode touches anything outside its own rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from mtr_env.question import View
from mtr_env.tool import ToolSpec
from mtr_env.trace import Call, Response, Step, Trace, canonical


class CallKey(Struct, frozen=True, gc=False):
    """What randomness in a response may depend on: ``seed``, ``question_id``, :attr:`call` and :attr:`attempt`, and
    nothing else. The last two are worked out when looked at; an actor without randomness never does.

    ``made`` is the call, ``steps`` are those of the episode before this one, ``beside`` the calls of its own action
    before it. Not hashable (a call holds a dict): a cache takes the four as its key.
    """

    seed: int
    question_id: str
    made: Call
    steps: tuple[Step, ...] = ()
    beside: tuple[Call, ...] = ()

    @property
    def call(self) -> str:
        """The call in canonical form."""
        return canonical(self.made)

    @property
    def attempt(self) -> int:
        """How often the same call was made before in this episode."""
        return sum(step.calls.count(self.made) for step in self.steps) + self.beside.count(self.made)


class History(Struct, frozen=True, gc=False):
    """The calls of an episode whose responses the policy saw, each with its response, in order; made when looked at.

    ``trace`` is the whole record, the gold answer included: an actor that tells it to a model or a policy leaks it. Of
    ours only :func:`mtr_env.toolactors.guard.golds` looks at it.
    """

    trace: Trace
    pending: tuple[tuple[Call, Response], ...] = ()

    def __iter__(self) -> Iterator[tuple[Call, Response]]:
        yield from self.trace.exchanges()
        yield from self.pending

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, index: int) -> tuple[Call, Response]:
        pairs = list(self)
        return pairs[index]


class ToolRequest(Struct, frozen=True, gc=False):
    """One call to respond to, with everything an actor may know about it."""

    call: Call
    spec: ToolSpec
    view: View
    history: History
    key: CallKey


@runtime_checkable
class ToolActor(Protocol):
    """Simulates tools. Deep-copyable; ``name`` describes it, with its settings, in every trace. What it is given is
    shared with the record, so it must not change any of it.

    ``respond`` raises :class:`~mtr_env.errors.InfrastructureError` when it cannot answer for a reason that is not the
    call's: the episode then ends unscored. An unknown entity is a normal response. An actor may also have
    ``respond_many(requests) -> list[Response | Exception]``, which a vector env prefers. One that waits for a network
    says so with a class attribute ``remote = True``: what makes one call after the other then refuses it. One whose
    response depends on earlier exchanges of the episode says ``uses_history = True``: a cassette then keys by them.
    """

    name: str

    def respond(self, call: Call, spec: ToolSpec, view: View, history: History, key: CallKey) -> Response:
        """The response to one call; its value must satisfy ``spec.response``."""


@runtime_checkable
class AsyncToolActor(ToolActor, Protocol):
    """A ToolActor that asynchronous episodes (:func:`~mtr_env.rollout.aplay_many`) await, each as soon as its turn
    ends; one without ``arespond`` is asked for ``respond``, during which every episode stands still."""

    async def arespond(self, request: ToolRequest) -> Response:
        """As ``respond``; the same request has the same response in either form."""


@runtime_checkable
class BatchToolActor(ToolActor, Protocol):
    """A ToolActor that answers many calls of different episodes at once."""

    def respond_many(self, requests: Sequence[ToolRequest]) -> Sequence[Response | Exception]:
        """The responses in the order of the requests; a failed one is the exception, the others are not affected."""


def exchanges(trace: Trace, view: View) -> Iterator[tuple[ToolRequest, Response]]:
    """The calls of a trace whose responses the policy saw, each as the request that its actor got, with the response.
    ``view`` is that of the trace's question."""
    specs = {tool.name: tool for tool in trace.toolset.tools}
    for number, step in enumerate(trace.steps):
        before = trace.upto(number)
        faulty = {fault.call for fault in step.faults}
        pending: tuple[tuple[Call, Response], ...] = ()
        for i, (call, response) in enumerate(zip(step.calls, step.responses, strict=True)):
            if response is None or i in faulty:
                continue
            key = CallKey(trace.seed, trace.question.id, call, before.steps, step.calls[:i])
            yield ToolRequest(call, specs[call.name], view, History(before, pending), key), response
            pending = (*pending, (call, response))
