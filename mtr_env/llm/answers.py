"""A model's answer read as JSON: the value, or what is wrong with it. Untrusted: reading never raises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from mtr_env.grammar.base import BAD_JSON, MAX_JSON_DEPTH, decode_json
from mtr_env.llm.client import Completion
from mtr_env.text import as_unicode
from mtr_env.tool import Schema

MAX_ANSWER_CHARS = 200_000
"""A longer answer is not read."""
_CUT = 4000  # of an answer that is shown to its writer again
_decode = msgspec.json.Decoder().decode


class Chat(Protocol):
    """What a tool maker or actor needs of a model: :class:`~mtr_env.llm.ChatClient`, or a stand-in for it."""

    name: str

    async def complete(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        schema: Schema | None = None,
        tools: list[dict[str, Any]] | None = None,
        seed: int | None = None,
        max_output_tokens: int | None = None,
    ) -> Completion:
        """See :meth:`mtr_env.llm.ChatClient.complete`."""


class Reading(NamedTuple):
    """``value`` is the JSON value, or the answer's text where it is none; ``problem`` then says why, else ``""``."""

    value: Any
    problem: str


def read_json(completion: Completion) -> Reading:
    """The JSON value of an answer; a code fence or reasoning around it is left out.

    >>> read_json(Completion('```json\\n{"a": 1}\\n```')).value
    {'a': 1}
    """
    text = as_unicode(completion.text)
    if completion.finish_reason in ("refusal", "content_filter"):
        return Reading(text[:_CUT], "it was refused")
    if not text.strip():
        return Reading("", "it was empty")
    if len(text) > MAX_ANSWER_CHARS:
        return Reading(text[:_CUT], f"it is longer than {MAX_ANSWER_CHARS} characters")
    try:
        return Reading(decode_json(bare_json(text), _decode), "")
    except BAD_JSON as error:
        if completion.finish_reason == "length":
            problem = "it was cut off before its end; write less"
        elif isinstance(error, RecursionError):
            problem = f"it is nested too deeply (more than {MAX_JSON_DEPTH} levels)"
        else:
            problem = f"it is not JSON: {as_unicode(str(error))[:200]}"
        return Reading(text[:_CUT], problem)


def bare_json(text: str) -> str:
    """A model's JSON without the reasoning before it and the code fence around it.

    >>> bare_json('<think>a list?</think>```json\\n{"a": 1}\\n```')
    '{"a": 1}'
    """
    text = text.strip()
    if text.startswith("<think>") and "</think>" in text:
        text = text.partition("</think>")[2].strip()
    if text.startswith("```") and text.endswith("```") and len(text) > 6:
        head, newline, rest = text[3:-3].partition("\n")
        text = rest.strip() if newline and head.strip().isalpha() | (not head.strip()) else text[3:-3].strip()
    return text


def again(messages: Sequence[dict[str, Any]], text: str, problem: str) -> list[dict[str, Any]]:
    """The conversation with the model's answer (left out where ``text`` is empty) and what is wrong with it."""
    said = [{"role": "assistant", "content": as_unicode(text)[:_CUT]}] if text else []
    return [*messages, *said, {"role": "user", "content": f"Your answer cannot be used: {problem}. Answer again."}]
