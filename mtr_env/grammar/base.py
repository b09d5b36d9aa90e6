"""What the two grammars share: actions, results, prompts, JSON and plain text in which nothing can be forged."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeVar

import msgspec
from msgspec import Struct

from mtr_env.tool import Toolset
from mtr_env.trace import Call, Fault

MAX_ACTION_CHARS = 200_000
"""Longer actions are malformed; they are recorded in full."""
MAX_CALLS_PER_STEP = 8
MAX_JSON_DEPTH = 64
"""Arguments nested more deeply are malformed: a limit of our own, because Python's depends on who calls."""

ToolStyle = Literal["json", "compact"]
Decoded = TypeVar("Decoded")


class Action(Struct, frozen=True):
    """A well-formed action: one or more calls, or one answer. Its thought stays in the text (:meth:`Grammar.thought`)
    and is never scored."""

    calls: tuple[Call, ...] = ()
    answer: str | None = None


class Result(Struct, frozen=True):
    """What an observation says about one call: the tool's name (empty when no call was understood) and JSON content."""

    name: str
    content: Any


class Prompt(Struct, frozen=True):
    """The two parts of the first observation: what a system message holds, and what the user asks."""

    system: str
    user: str


class Grammar(Protocol):
    """How the policy and the world write to each other. ``name`` is recorded in the trace."""

    name: str

    def render_prompt(self, question: str, toolset: Toolset) -> Prompt:
        """The instructions with the tools, and the question."""

    def render_call(self, *calls: Call, thought: str = "") -> str:
        """An action of one or more calls."""

    def render_answer(self, answer: str, thought: str = "") -> str:
        """An action that answers."""

    def render_result(self, result: Result) -> str:
        """One call's part of an observation; parts are joined by newlines."""

    def parse(self, text: str) -> Action | Fault:
        """The action that a policy's text says, or a ``malformed_action`` fault. Never raises."""

    def thought(self, text: str) -> str:
        """What a well-formed action's text says before its first call or its answer; empty when it says nothing."""

    def parse_observation(self, text: str) -> tuple[Result, ...]:
        """The inverse of the joined :meth:`render_result` texts; raises ``ValueError`` on any other text."""


decode_call = msgspec.json.Decoder(Call).decode
decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_result = msgspec.json.Decoder(Result).decode
_encode = msgspec.json.Encoder().encode

# What a JSON text can do wrong: not JSON (DecodeError), not the shape (ValidationError), too deep (RecursionError),
# or a lone surrogate, which has no UTF-8 form (UnicodeEncodeError).
BAD_JSON = (msgspec.DecodeError, RecursionError, UnicodeEncodeError)


def decode_result(text: str) -> Result:
    """A result out of its JSON form; raises ``ValueError``, which msgspec's own errors are only from 0.20 on."""
    try:
        return _decode_result(text)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error


def to_json(value: Any) -> str:
    """A JSON value on one line in which no tag can be closed or forged."""
    text = _encode(value).decode()
    return text.replace("<", "\\u003c") if "<" in text else text


_AMPERSAND = re.compile(r"&(?=lt;|amp;|#\d{1,7};)")
_ENTITY = re.compile(r"&(lt|amp|#\d{1,7});")


def escape(text: str, *, one_line: bool = False) -> str:
    """Plain text in which no tag (with ``one_line``, no line either) can be forged and no outer white space is lost.

    >>> escape("a < b & c &lt; d"), unescape(escape(" a < b & c &lt; d ")) == " a < b & c &lt; d "
    ('a &lt; b & c &amp;lt; d', True)
    """
    text = _AMPERSAND.sub("&amp;", text).replace("<", "&lt;")
    if one_line:
        text = "".join(f"&#{ord(c)};" if c in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029" else c for c in text)
    bare = text.strip()
    if bare != text:
        start = text.find(bare) if bare else len(text)
        spaces = (f"&#{ord(c)};" for c in text[:start]), (f"&#{ord(c)};" for c in text[start + len(bare) :])
        text = "".join(spaces[0]) + bare + "".join(spaces[1])
    return text


def unescape(text: str) -> str:
    """The inverse of :func:`escape`; other uses of ``&`` are left alone."""
    return _ENTITY.sub(_entity, text) if "&" in text else text


def _entity(match: re.Match[str]) -> str:
    word = match[1]
    if word == "lt":
        return "<"
    if word == "amp":
        return "&"
    code = int(word[1:])
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else match[0]


def malformed(message: str) -> Fault:
    """A ``malformed_action`` fault."""
    return Fault("malformed_action", message)


def decode_json(text: str, decode: Callable[[str], Decoded]) -> Decoded:
    """Decoded JSON; raises what :data:`BAD_JSON` lists."""
    value = decode(text)
    if len(text) > 2 * MAX_JSON_DEPTH and text.count("{") + text.count("[") > MAX_JSON_DEPTH:
        level: list[Any] = [value.arguments if isinstance(value, Call) else value]
        for _ in range(MAX_JSON_DEPTH):
            level = [item for part in level for item in (part.values() if isinstance(part, dict) else part)]
            level = [part for part in level if isinstance(part, (dict, list))]
            if not level:
                return value
        raise RecursionError
    return value


def json_fault(error: Exception) -> Fault:
    """The fault of an action whose JSON raised one of :data:`BAD_JSON`."""
    if isinstance(error, RecursionError):
        return malformed(f"The call's JSON is nested too deeply (more than {MAX_JSON_DEPTH} levels).")
    if isinstance(error, UnicodeEncodeError):
        return malformed("The call holds a character that is not valid Unicode.")
    return malformed(f"The call is not valid JSON of the expected form: {str(error)[:200]}.")


TOO_LONG = malformed(f"The action is longer than {MAX_ACTION_CHARS} characters.")
TOO_MANY = malformed(f"An action holds at most {MAX_CALLS_PER_STEP} calls.")


TASK = (
    "Answer the question with the help of the tools. Call tools to find every fact that you need; then give the "
    "shortest possible answer."
)
"""How every prompt begins."""


class Styled:
    """What the grammars have in common: ``tools`` says how a prompt lists the tools, and the name says it too."""

    kind: str

    def __init__(self, tools: ToolStyle = "json") -> None:
        self.tools = tools
        self.name = self.kind if tools == "json" else f"{self.kind}-{tools}"


def tool_lines(toolset: Toolset, style: ToolStyle) -> str:
    """The tools as a prompt lists them, one a line."""
    if style == "compact":
        return "\n".join(escape(tool.signature(), one_line=True) for tool in toolset.tools)
    return "\n".join(to_json(tool) for tool in toolset.openai())
