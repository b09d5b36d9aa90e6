"""What a ToolMaker is: it writes a question's tools."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from mtr_env.question import Question
from mtr_env.tool import Toolset


@runtime_checkable
class ToolMaker(Protocol):
    """Writes a toolset for a question. Deep-copyable; ``name`` describes it, with its settings, in every trace.

    It is given the whole question, gold included, because good tools follow the relations of the evidence; what it
    returns is checked for leaks of the answer (:func:`mtr_env.contract.check_toolset`).
    """

    name: str

    def make(self, question: Question, key: str = "") -> Toolset:
        """The tools of one question; the same question and key give the same toolset."""


@runtime_checkable
class AsyncToolMaker(ToolMaker, Protocol):
    """A ToolMaker that asynchronous episodes await, so that many questions' tools are written at once."""

    async def amake(self, question: Question, key: str = "") -> Toolset:
        """As ``make``."""
