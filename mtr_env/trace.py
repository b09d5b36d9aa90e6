"""The trace: the one central record of an episode. Reward, metrics, messages and reports are computed from it.

Everything here is frozen. An episode's state *is* its trace: a trace cut after step k is the episode as it stood then.
What an episode has many of is ``gc=False``: nothing in a frozen record refers back to it, so reference counts suffice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct

from mtr_env.question import Question, WorldInfo
from mtr_env.tool import Toolset

FaultKind = Literal["malformed_action", "unknown_tool", "invalid_arguments", "invalid_response", "infrastructure"]
Blame = Literal["policy", "simulator", "infrastructure"]
Origin = Literal["grounded", "llm", "noise"]
StopReason = Literal["answer", "max_steps", "infrastructure"]

ORIGINS: tuple[Origin, ...] = get_args(Origin)
_ONLY_TEXT = frozenset({str})
BLAME: dict[FaultKind, Blame] = {
    "malformed_action": "policy",
    "unknown_tool": "policy",
    "invalid_arguments": "policy",
    "invalid_response": "simulator",
    "infrastructure": "infrastructure",
}


class Call(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A tool call: the tool's name and its arguments, a JSON object. Its JSON form is the one that policies write."""

    name: str
    arguments: dict[str, Any] = {}


class Usage(Struct, frozen=True):
    """What a model-made response cost, in tokens."""

    input_tokens: int = 0
    output_tokens: int = 0


class Response(Struct, frozen=True, gc=False):
    """A tool's response: a JSON value before rendering, and where it came from.

    ``sources`` are the references (see :mod:`mtr_env.question`) that ``value`` states; empty for an error, an echo or
    a value that nothing in the evidence supports. ``note`` names the kind of noise when ``origin`` is ``"noise"``, and
    what a model's response took when it is ``"llm"`` (:func:`mtr_env.toolactors.llm.remarks`).
    """

    value: Any
    sources: tuple[str, ...] = ()
    origin: Origin = "grounded"
    usage: Usage | None = None
    note: str = ""

    def __post_init__(self) -> None:
        # Whoever simulates tools learns of a slip here, and not when a saved trace cannot be read.
        if type(self.sources) is not tuple or not _ONLY_TEXT.issuperset(map(type, self.sources)):
            raise TypeError(f"Response.sources is a tuple of references such as ('p3s1',), found {self.sources!r}.")
        if self.origin not in ORIGINS:
            raise TypeError(f"Response.origin is one of {', '.join(ORIGINS)}, found {self.origin!r}.")


class Fault(Struct, frozen=True):
    """A recorded mistake. ``call`` is the index of the call within its step, ``None`` for the whole action."""

    kind: FaultKind
    message: str
    call: int | None = None

    @property
    def blame(self) -> Blame:
        """Who made the mistake: ``"policy"``, ``"simulator"`` or ``"infrastructure"``."""
        return BLAME[self.kind]


class TokenRecord(Struct, frozen=True):
    """The token ids that a trainer really sampled for an action, and their log-probabilities (same length)."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...] = ()


class Step(Struct, frozen=True, gc=False):
    """One action and all it caused.

    ``responses`` is parallel to ``calls``: ``None`` where the call did not run. A response that broke its schema is
    kept for the record; the fault with that call's index says that the policy did not see it. ``answer`` is set in
    the last step of an answered episode. ``observation`` is the text that the policy saw next.
    """

    action: str
    calls: tuple[Call, ...] = ()
    responses: tuple[Response | None, ...] = ()
    faults: tuple[Fault, ...] = ()
    observation: str = ""
    answer: str | None = None
    tokens: TokenRecord | None = None


class Setup(Struct, frozen=True):
    """How an episode was set up: everything but the question that another machine needs to play it again."""

    env_id: str
    world: WorldInfo
    grammar: str
    max_steps: int
    tool_maker: str
    tool_actor: str
    rubric: str
    version: str


class Trace(Struct, frozen=True, gc=False):
    """One episode: a question, its toolset, how it was set up, its seed and the steps so far."""

    question: Question
    toolset: Toolset
    setup: Setup
    seed: int
    steps: tuple[Step, ...] = ()

    @property
    def answer(self) -> str | None:
        """The policy's answer, or ``None``."""
        return self.steps[-1].answer if self.steps else None

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the episode ended, or ``None`` while it goes on."""
        if not self.steps:
            return None
        last = self.steps[-1]
        if last.answer is not None:
            return "answer"
        if last.faults and any(fault.kind == "infrastructure" for fault in last.faults):
            return "infrastructure"
        return "max_steps" if len(self.steps) >= self.setup.max_steps else None

    @property
    def faults(self) -> tuple[Fault, ...]:
        """All faults in order."""
        return tuple(fault for step in self.steps for fault in step.faults)

    @property
    def call_count(self) -> int:
        """How many well-formed calls the policy made, answered or not."""
        return sum(len(step.calls) for step in self.steps)

    def exchanges(self) -> Iterator[tuple[Call, Response]]:
        """The calls whose response the policy saw, each with its response, in order."""
        for step in self.steps:
            faulty = [fault.call for fault in step.faults] if step.faults else ()
            for i, (call, response) in enumerate(zip(step.calls, step.responses, strict=True)):
                if response is not None and i not in faulty:
                    yield call, response

    def upto(self, steps: int) -> Trace:
        """The trace as it stood after ``steps`` steps."""
        return msgspec.structs.replace(self, steps=self.steps[:steps])


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Trace)


def encode(trace: Trace) -> bytes:
    """A trace as one line of JSON, without the newline; the same episode gives the same bytes."""
    return _ENCODER.encode(trace)


def decode(line: bytes | str) -> Trace:
    """The inverse of :func:`encode`. Raises :class:`msgspec.DecodeError` when the line is not a whole trace."""
    return _DECODER.decode(line)


def canonical(call: Call) -> str:
    """A call as one string that does not depend on the order of its arguments.

    >>> canonical(Call("f", {"b": 1, "a": [2.0]}))
    '["f",{"a":[2.0],"b":1}]'
    """
    return _CANONICAL.encode((call.name, call.arguments)).decode()


_CANONICAL = msgspec.json.Encoder(order="sorted")
