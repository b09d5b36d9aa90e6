"""What a ToolMaker is: it writes a question's tools."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from msgspec.structs import replace

from mtr_env.question import Question
from mtr_env.tool import Toolset


@runtime_checkable
class ToolMaker(Protocol):
    """Writes a toolset for a question. Deep-copyable; ``name`` describes it, with its settings, in every trace.

    It is given the whole question, gold included, because good tools follow the relations of the evidence; what it
    returns is checked for leaks of the answer (:func:`mtr_env.contract.check_toolset`). It raises
    :class:`~mtr_env.errors.InfrastructureError` when it cannot write them now: the episode then ends unscored.
    """

    name: str

    def make(self, question: Question, key: str = "") -> Toolset:
        """The tools of one question; the same question and key give the same toolset."""


@runtime_checkable
class AsyncToolMaker(ToolMaker, Protocol):
    """A ToolMaker that asynchronous episodes await, so that many questions' tools are written at once."""

    async def amake(self, question: Question, key: str = "") -> Toolset:
        """As ``make``."""


_IN_PLACE = "in place of "


def fallen_back(toolset: Toolset, maker: str, reason: str) -> Toolset:
    """A toolset that takes the place of the one that ``maker`` (a name) should have written, with the reason."""
    text = " ".join(reason.split())[:300]
    return replace(toolset, notes=(*toolset.notes, f"{_IN_PLACE}{maker}: {text}"))


def is_fallback(toolset: Toolset) -> bool:
    """Whether it takes the place of the one that its maker should have written; its last note says why."""
    return any(note.startswith(_IN_PLACE) for note in toolset.notes)
