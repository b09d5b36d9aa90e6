"""A ToolMaker that is a language model: its tools are checked, repaired with the reason, or replaced by templates."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from mtr_env import draw
from mtr_env.llm.answers import Chat, again, read_json
from mtr_env.llm.loop import run
from mtr_env.question import Question
from mtr_env.tool import Toolset
from mtr_env.toolmakers import draft
from mtr_env.toolmakers.base import ToolMaker, fallen_back
from mtr_env.toolmakers.draft import PROMPT_VERSION, Draft
from mtr_env.toolmakers.template import TemplateToolMaker


class LLMToolMaker:
    """A model writes each question's tools, as in the paper: it classifies the task, generates the interface (from
    predefined utilities, and at most ``max_tools`` tools made for the task), and what it wrote is validated
    (:mod:`mtr_env.toolmakers.draft`; :mod:`mtr_env.contract`: schemas, portable names, size, leaks of the gold answer).

    What breaks a rule is written anew with the validator's message, at most ``attempts`` times; then the question gets
    the toolset of ``fallback``, whose ``notes`` say why. The gold answer is in no prompt: relations whose name states
    it are left out, and a reply that states it is not shown again. ``max_output_tokens`` takes the place of the
    client's.

    Raises :class:`~mtr_env.llm.ModelError` when the endpoint cannot answer: the episode ends unscored, and the question
    gets its tools another time.

    Tools without a binding need a ToolActor that can make up a response: ``LLMToolActor`` or ``LadderToolActor``, not
    the grounded one.
    """

    def __init__(
        self,
        client: Chat,
        attempts: int = 2,
        fallback: ToolMaker | None = None,
        max_tools: int = 8,
        max_output_tokens: int = 4096,
    ) -> None:
        if attempts < 0 or not 0 <= max_tools <= 16:
            raise ValueError(f"attempts is at least 0 and max_tools at most 16, found {attempts} and {max_tools}.")
        if max_output_tokens < 1:
            raise ValueError(f"max_output_tokens is positive, found {max_output_tokens}.")
        self.client = client
        self.attempts = attempts
        self.fallback: ToolMaker = fallback or TemplateToolMaker()
        self.max_tools = max_tools
        self.max_output_tokens = max_output_tokens
        self.name = (
            f"llm({client.name}, prompt={PROMPT_VERSION}, attempts={attempts}, max_tools={max_tools}, "
            f"max_output_tokens={max_output_tokens}, fallback={self.fallback.name})"
        )

    def __deepcopy__(self, memo: object) -> LLMToolMaker:
        return self

    def make(self, question: Question, key: str = "") -> Toolset:
        """See :class:`~mtr_env.toolmakers.base.ToolMaker`."""
        return run(self.amake(question, key))

    async def amake(self, question: Question, key: str = "") -> Toolset:
        """As :meth:`make`, for asynchronous code."""
        asked = messages = draft.prompt(question, self.max_tools)
        reason = ""
        for number in range(self.attempts + 1):
            completion = await self.client.complete(
                messages,
                schema=draft.REPLY_SCHEMA,
                seed=draw.bits("llm-tools", key, question.id, number) >> 33,
                max_output_tokens=self.max_output_tokens,
            )
            value, problem = read_json(completion)
            made = Draft(None, problem) if problem else draft.read(value, question, key, self.max_tools)
            if made.toolset is not None:
                notes = made.toolset.notes + (f"attempts={number + 1}",) * (number > 0)
                return replace(made.toolset, maker=self.name, notes=notes)
            reason = draft.LEAK if draft.tells(made.problem, question) else made.problem
            shown = "" if made.problem == draft.LEAK or draft.tells(completion.text, question) else completion.text
            messages = again(asked, shown, reason)
        toolset = await self._fall_back(question, key)
        return fallen_back(toolset, self.name, f"after {self.attempts + 1} attempts: {reason}")

    async def _fall_back(self, question: Question, key: str) -> Toolset:
        amake: Any = getattr(self.fallback, "amake", None)
        if amake is None:
            return self.fallback.make(question, key)
        return await amake(question, key)  # type: ignore[no-any-return]
