"""The two action grammars: how tools, calls, answers and observations are written as text, and read back.

Both are invertible (``parse(render(x)) == x``) and linear in the length of the text: tags are found with ``str.find``,
never with a regular expression over the whole text, so a policy cannot stall training with a long action. Where a
``<`` or a line break inside a value could close or forge a tag or a line, it is written as ``&lt;`` or ``&#10;`` in
plain text and as ``\\u003c`` in JSON.
"""

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
    """A well-formed action: one or more calls, or one answer. The thought is kept and never scored."""

    calls: tuple[Call, ...] = ()
    answer: str | None = None
    thought: str = ""


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

    def parse_observation(self, text: str) -> tuple[Result, ...]:
        """The inverse of the joined :meth:`render_result` texts; raises ``ValueError`` on any other text."""


_decode_call = msgspec.json.Decoder(Call).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_result = msgspec.json.Decoder(Result).decode
_encode = msgspec.json.Encoder().encode

# What a JSON text can do wrong: not JSON (DecodeError), not the shape (ValidationError), too deep (RecursionError),
# or a lone surrogate, which has no UTF-8 form (UnicodeEncodeError).
_BAD_JSON = (msgspec.DecodeError, RecursionError, UnicodeEncodeError)


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


def _decode(text: str, decode: Callable[[str], Decoded]) -> Decoded:
    """Decoded JSON; raises what :data:`_BAD_JSON` lists."""
    value = decode(text)
    if text.count("{") + text.count("[") > MAX_JSON_DEPTH:
        level: list[Any] = [value.arguments if isinstance(value, Call) else value]
        for _ in range(MAX_JSON_DEPTH):
            level = [item for part in level for item in (part.values() if isinstance(part, dict) else part)]
            level = [part for part in level if isinstance(part, (dict, list))]
            if not level:
                return value
        raise RecursionError
    return value


def _json_fault(error: Exception) -> Fault:
    if isinstance(error, RecursionError):
        return malformed(f"The call's JSON is nested too deeply (more than {MAX_JSON_DEPTH} levels).")
    if isinstance(error, UnicodeEncodeError):
        return malformed("The call holds a character that is not valid Unicode.")
    return malformed(f"The call is not valid JSON of the expected form: {str(error)[:200]}.")


_TOO_LONG = malformed(f"The action is longer than {MAX_ACTION_CHARS} characters.")
_TOO_MANY = malformed(f"An action holds at most {MAX_CALLS_PER_STEP} calls.")


def _tool_lines(toolset: Toolset, style: ToolStyle) -> str:
    if style == "compact":
        return "\n".join(escape(tool.signature(), one_line=True) for tool in toolset.tools)
    return "\n".join(to_json(tool) for tool in toolset.openai())


class HermesGrammar:
    """Tags as Qwen and Hermes models write them: ``<think>``, ``<tool_call>{json}</tool_call>``, ``<answer>``.

    Everything up to the first ``</think>`` is the thought, and so is text before the first tag. ``tools`` says how the
    prompt lists the tools: as ``"json"`` schemas or ``"compact"``, one signature line a tool.

    >>> grammar = HermesGrammar()
    >>> print(grammar.render_call(Call("search", {"query": "Kolya film"}), thought="Find the film."))
    <think>Find the film.</think>
    <tool_call>
    {"name":"search","arguments":{"query":"Kolya film"}}
    </tool_call>
    >>> grammar.parse("<answer> Jan Svěrák </answer>").answer
    'Jan Svěrák'
    """

    def __init__(self, tools: ToolStyle = "json") -> None:
        self.tools = tools
        self.name = "hermes" if tools == "json" else "hermes-compact"

    def render_prompt(self, question: str, toolset: Toolset) -> Prompt:
        """See :class:`Grammar`."""
        system = (
            "Answer the question with the help of the tools. Call tools to find every fact that you need; then give "
            "the shortest possible answer.\n\n# Tools\n\n<tools>\n"
            f"{_tool_lines(toolset, self.tools)}\n</tools>\n\n"
            "You may think inside <think> and </think> first. Then either call one or more tools, each as a JSON "
            "object with its name and arguments inside tags:\n<tool_call>\n"
            '{"name": <function-name>, "arguments": <arguments-object>}\n</tool_call>\n'
            "or answer, which ends the episode:\n<answer>the answer</answer>"
        )
        return Prompt(system, f"Question: {escape(question)}")

    def render_call(self, *calls: Call, thought: str = "") -> str:
        """See :class:`Grammar`."""
        tags = [
            f'<tool_call>\n{{"name":{to_json(c.name)},"arguments":{to_json(c.arguments)}}}\n</tool_call>' for c in calls
        ]
        return "\n".join([*self._thought(thought), *tags])

    def render_answer(self, answer: str, thought: str = "") -> str:
        """See :class:`Grammar`."""
        return "\n".join([*self._thought(thought), f"<answer>{escape(answer)}</answer>"])

    @staticmethod
    def _thought(thought: str) -> list[str]:
        return [f"<think>{escape(thought)}</think>"] if thought else []

    def render_result(self, result: Result) -> str:
        """See :class:`Grammar`."""
        return f"<tool_response>\n{to_json(result)}\n</tool_response>"

    def parse(self, text: str) -> Action | Fault:
        """See :class:`Grammar`."""
        if len(text) > MAX_ACTION_CHARS:
            return _TOO_LONG
        thought, start = "", text.find("</think>")
        if start >= 0:
            thought, start = text[:start].strip().removeprefix("<think>").lstrip(), start + 8
        elif text.lstrip().startswith("<think>"):
            return malformed("The <think> tag is not closed.")
        else:
            start = 0
        call_at, answer_at = text.find("<tool_call>", start), text.find("<answer>", start)
        if call_at < 0 and answer_at < 0:
            return malformed("The action holds neither a <tool_call> nor an <answer>.")
        is_answer = call_at < 0 or 0 <= answer_at < call_at
        before = text[start : answer_at if is_answer else call_at].strip()
        if before:
            thought = f"{thought}\n{before}" if thought else before
        if "&" in thought:
            thought = unescape(thought)
        if is_answer:
            return self._parse_answer(text, answer_at + 8, thought)
        return self._parse_calls(text, call_at, thought)

    @staticmethod
    def _parse_answer(text: str, start: int, thought: str) -> Action | Fault:
        end = text.find("</answer>", start)
        if end < 0:
            return malformed("The <answer> tag is not closed.")
        if text[end + 9 :].strip():
            return malformed("An action holds calls or one answer, and nothing after the closing tag.")
        return Action((), unescape(text[start:end].strip()), thought)

    @staticmethod
    def _parse_calls(text: str, at: int, thought: str) -> Action | Fault:
        calls: list[Call] = []
        while True:
            end = text.find("</tool_call>", at)
            if end < 0:
                return malformed("The <tool_call> tag is not closed.")
            if len(calls) == MAX_CALLS_PER_STEP:
                return _TOO_MANY
            try:
                calls.append(_decode(text[at + 11 : end], _decode_call))
            except _BAD_JSON as error:
                return _json_fault(error)
            at = end + 12
            if at == len(text) or not (rest := text[at:].lstrip()):
                return Action(tuple(calls), None, thought)
            if not rest.startswith("<tool_call>"):
                return malformed("An action holds calls or one answer, and nothing after the closing tag.")
            at = len(text) - len(rest)

    def parse_observation(self, text: str) -> tuple[Result, ...]:
        """See :class:`Grammar`."""
        parts = text.split("\n</tool_response>")
        if parts.pop() or not parts:
            raise ValueError("expected one or more <tool_response> blocks")
        results = []
        for i, part in enumerate(parts):
            opening = "<tool_response>\n" if i == 0 else "\n<tool_response>\n"
            if not part.startswith(opening):
                raise ValueError(f"expected {opening!r} before result {i}")
            results.append(_decode_result(part[len(opening) :]))
        return tuple(results)


class ReactGrammar:
    """Lines as ReAct prompts write them: Thought, Action, Action Input, Observation, Final Answer.

    A value stands on one line (JSON input may span several); text before the first ``Action:`` or ``Final Answer:``
    line is the thought.

    >>> print(ReactGrammar().render_call(Call("search", {"query": "Kolya"}), thought="Find it."))
    Thought: Find it.
    Action: search
    Action Input: {"query":"Kolya"}
    """

    def __init__(self, tools: ToolStyle = "json") -> None:
        self.tools = tools
        self.name = "react" if tools == "json" else "react-compact"

    def render_prompt(self, question: str, toolset: Toolset) -> Prompt:
        """See :class:`Grammar`."""
        system = (
            "Answer the question with the help of the tools. Call tools to find every fact that you need; then give "
            "the shortest possible answer. You have these tools:\n\n"
            f"{_tool_lines(toolset, self.tools)}\n\n"
            "Write one or more calls:\n\nThought: what to do next\nAction: the tool's name\n"
            "Action Input: a JSON object with the tool's arguments\n\n"
            "You then see an Observation line for each call. When you know the answer, write:\n\n"
            "Thought: why this is the answer\nFinal Answer: the answer"
        )
        return Prompt(system, f"Question: {escape(question, one_line=True)}")

    def render_call(self, *calls: Call, thought: str = "") -> str:
        """See :class:`Grammar`."""
        lines = [f"Action: {escape(c.name, one_line=True)}\nAction Input: {to_json(c.arguments)}" for c in calls]
        return "\n".join([*self._thought(thought), *lines])

    def render_answer(self, answer: str, thought: str = "") -> str:
        """See :class:`Grammar`."""
        return "\n".join([*self._thought(thought), f"Final Answer: {escape(answer, one_line=True)}"])

    @staticmethod
    def _thought(thought: str) -> list[str]:
        return [f"Thought: {escape(thought, one_line=True)}"] if thought else []

    def render_result(self, result: Result) -> str:
        """See :class:`Grammar`."""
        return f"Observation: {to_json(result)}"

    def parse(self, text: str) -> Action | Fault:
        """See :class:`Grammar`."""
        if len(text) > MAX_ACTION_CHARS:
            return _TOO_LONG
        text = "\n" + text
        call_at, answer_at = text.find("\nAction:"), text.find("\nFinal Answer:")
        if call_at < 0 and answer_at < 0:
            return malformed("The action holds neither an 'Action:' line nor a 'Final Answer:' line.")
        is_answer = call_at < 0 or 0 <= answer_at < call_at
        thought = text[: answer_at if is_answer else call_at].strip().removeprefix("Thought:").strip()
        if "&" in thought:
            thought = unescape(thought)
        if not is_answer:
            return self._parse_calls(text, call_at, thought)
        answer, _, rest = text[answer_at + 14 :].lstrip().partition("\n")
        if rest.strip():
            return malformed("An action holds calls or one answer, and nothing after the answer's line.")
        return Action((), unescape(answer.strip()), thought)

    @staticmethod
    def _parse_calls(text: str, at: int, thought: str) -> Action | Fault:
        calls: list[Call] = []
        while True:
            next_at = text.find("\nAction:", at + 8)
            block = text[at + 8 : next_at] if next_at >= 0 else text[at + 8 :]
            name, found, arguments = block.partition("\nAction Input:")
            if not found:
                return malformed("An 'Action:' line is not followed by an 'Action Input:' line.")
            if len(calls) == MAX_CALLS_PER_STEP:
                return _TOO_MANY
            try:
                calls.append(Call(unescape(name.strip()), _decode(arguments, _decode_object)))
            except _BAD_JSON as error:
                return _json_fault(error)
            if next_at < 0:
                return Action(tuple(calls), None, thought)
            at = next_at

    def parse_observation(self, text: str) -> tuple[Result, ...]:
        """See :class:`Grammar`."""
        results = []
        for line in text.split("\n"):
            if not line.startswith("Observation: "):
                raise ValueError("expected every line to begin with 'Observation: '")
            results.append(_decode_result(line[13:]))
        return tuple(results)


GRAMMARS: dict[str, Grammar] = {
    g.name: g for g in (HermesGrammar(), HermesGrammar("compact"), ReactGrammar(), ReactGrammar("compact"))
}


def get_grammar(grammar: str | Grammar) -> Grammar:
    """The grammar called ``grammar``, or the object itself. Raises ``ValueError`` for an unknown name."""
    if not isinstance(grammar, str):
        return grammar
    if grammar not in GRAMMARS:
        raise ValueError(f"Unknown grammar {grammar!r}; expected one of {', '.join(map(repr, GRAMMARS))}.")
    return GRAMMARS[grammar]
