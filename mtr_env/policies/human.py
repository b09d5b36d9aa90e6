"""A person at a terminal as a policy."""

from __future__ import annotations

import builtins
import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

from mtr_env.contract import Contract
from mtr_env.errors import MTRError
from mtr_env.grammar import Grammar, Result, get_grammar
from mtr_env.policies import reading
from mtr_env.policies.base import Messages, Tools
from mtr_env.tool import Schema, Toolset, ToolSpec
from mtr_env.trace import Call
from mtr_env.transcript import printable

HELP = """\
  TOOL words to the end of the line      calls a tool that takes one argument
  TOOL name=value name=value ...         calls a tool with several arguments
  TOOL {"name": "value", ...}            the same, as a JSON object
  answer TEXT                            answers, which ends the episode
  help, quit
  A line that begins with '<' is sent as it is."""


class Quit(MTRError):
    """The person has left (``quit``, or the end of the input)."""


class Human:
    """Shows the question and the tools once and every observation, and reads one command a step.

    A mistake that can be seen before the call is made (an unknown tool, an argument that breaks the schema) is
    explained and costs no step. Raises :class:`Quit` when the person leaves. ``input`` and ``print`` are those of
    Python unless told; control characters are never printed as such. ``max_steps`` is the environment's, to count down;
    with ``show_prompt`` the prompt and the observations are shown as a model reads them.
    """

    def __init__(
        self,
        grammar: str | Grammar = "hermes",
        input: Callable[[str], str] = builtins.input,
        print: Callable[[str], Any] = builtins.print,
        *,
        max_steps: int | None = None,
        show_prompt: bool = False,
    ) -> None:
        self.grammar = get_grammar(grammar)
        self._input = input
        self._print = print
        self._max_steps = max_steps
        self._show_prompt = show_prompt

    def __call__(self, messages: Messages, tools: Tools) -> str:
        """See :class:`~mtr_env.policies.base.Policy`."""
        toolset = Toolset(reading.specs_of(tools))
        step = reading.turn(messages) + 1
        if step > 1:
            self._show_observation(messages[-1]["content"])
        elif self._show_prompt:
            for message in messages:
                self._say(f"--- {message['role']}\n{message['content']}")
            self._say(f"---\n{HELP}")
        else:
            self._show_start(reading.question_of(messages), toolset)
        prompt = f"[{step}] > " if self._max_steps is None else f"[{step}/{self._max_steps}] > "
        contract = Contract(toolset)
        while True:
            action = self._read(prompt, contract)
            if action is not None:
                return action

    def _say(self, text: str) -> None:
        self._print(printable(text))

    def _show_start(self, question: str, toolset: Toolset) -> None:
        self._say(f"Question: {question}\n\nTools:")
        for tool in toolset.tools:
            self._say(f"  {tool.signature()}")
        self._say(f"\n{HELP}")

    def _show_observation(self, text: str) -> None:
        if self._show_prompt:
            self._say(f"--- user\n{text}\n---")
            return
        try:
            results = self.grammar.parse_observation(text)
        except (ValueError, RecursionError):
            self._say(text)
            return
        for result in results:
            self._say(pretty(result))

    def _read(self, prompt: str, contract: Contract) -> str | None:
        """The action that the next line says, or ``None`` when there is none in it."""
        try:
            line = self._input(prompt).strip()
        except EOFError:
            raise Quit("The input has ended.") from None
        if line.startswith("<"):
            return line
        word, *others = line.split(maxsplit=1)[:2] or [""]
        rest = others[0] if others else ""
        if word == "quit" and not rest:
            raise Quit("Quit.")
        if word == "answer" and rest:
            return self.grammar.render_answer(rest)
        if word == "answer":
            self._say("Say what to answer: answer TEXT.")
        elif word == "help":
            self._say("\n".join([HELP, "Tools:", *[f"  {tool.signature()}" for tool in contract.toolset.tools]]))
        elif word:
            return self._call(word, rest, contract)
        return None

    def _call(self, name: str, rest: str, contract: Contract) -> str | None:
        spec = contract.specs.get(name)
        try:
            call = Call(name, {} if spec is None else arguments_of(rest, spec))
        except ValueError as error:
            self._say(str(error))
            return None
        fault = contract.check_call(call)
        if fault is not None:
            self._say(fault.message if spec is None else f"{fault.message}\n  {spec.signature()}")
            return None
        return self.grammar.render_call(call)


def arguments_of(text: str, spec: ToolSpec) -> dict[str, Any]:
    """The arguments that a command names: a JSON object, ``name=value`` pairs (a value goes on to the next name), or
    the whole text for a tool with one argument. Raises ``ValueError`` with a sentence for the person.

    >>> tool = ToolSpec("f", "", {"properties": {"a": {"type": "string"}, "n": {"type": "integer"}}}, {})
    >>> arguments_of("a=two words n=3", tool)
    {'a': 'two words', 'n': 3}
    """
    text = text.strip()
    properties: Schema = spec.parameters.get("properties", {})
    if not text:
        return {}
    if text.startswith("{"):
        try:
            arguments: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            example = json.dumps(dict.fromkeys(properties, "..."))
            raise ValueError(f"This is not a JSON object such as {example}: {str(error)[:200]}.") from None
        return arguments
    names = "|".join(sorted(map(re.escape, properties), key=len, reverse=True))
    pairs = list(re.finditer(rf"(?:^|\s)({names})=", text)) if names else []
    if pairs and pairs[0].start() == 0:
        ends = [pair.start() for pair in pairs[1:]] + [len(text)]
        values = [text[pair.end() : end].strip() for pair, end in zip(pairs, ends, strict=True)]
        return {pair[1]: _value(value, properties[pair[1]]) for pair, value in zip(pairs, values, strict=True)}
    if len(properties) == 1:
        ((name, schema),) = properties.items()
        return {name: _value(text, schema)}
    takes = " ".join(f"{name}=..." for name in properties)
    raise ValueError(f"{spec.name} takes {takes}." if takes else f"{spec.name} takes no arguments.")


def _value(text: str, schema: Any) -> Any:
    """The value that a text stands for: as it is for a string, without quotes around it; JSON for any other type."""
    if isinstance(schema, dict) and schema.get("type", "string") == "string":
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1] else text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text


def pretty(result: Result) -> str:
    """A result for the eye: one line a field, lists item by item; nothing else is rewritten."""
    content = result.content
    if isinstance(content, dict) and isinstance(error := content.get("error"), dict) and "message" in error:
        name = f"{result.name}: " if result.name else ""
        hint = " Type help for the commands." if error.get("code") == "malformed_action" else ""
        return f"{name}{_flat(error['message'])} ({error.get('code', 'error')}; it cost a step){hint}"
    if not isinstance(content, dict):
        return f"{result.name}: {_flat(content)}"
    lines = [f"{result.name}:"] if result.name else []
    for name, value in content.items():
        if isinstance(value, list) and value:
            lines += [f"  {name}:", *[f"    - {_flat(item)}" for item in value]]
        else:
            lines.append(f"  {name}: {_flat(value)}")
    return "\n".join(lines)


def _flat(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_flat(item)}" for name, item in value.items())
    return msgspec.json.encode(value).decode()
