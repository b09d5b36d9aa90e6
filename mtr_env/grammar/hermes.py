"""The ``hermes`` grammar: tags."""

from __future__ import annotations

from mtr_env.grammar.base import (
    BAD_JSON,
    MAX_ACTION_CHARS,
    MAX_CALLS_PER_STEP,
    TASK,
    TOO_LONG,
    TOO_MANY,
    Action,
    Prompt,
    Result,
    Styled,
    decode_call,
    decode_json,
    decode_result,
    escape,
    json_fault,
    malformed,
    to_json,
    tool_lines,
    unescape,
)
from mtr_env.tool import Toolset
from mtr_env.trace import Call, Fault


class HermesGrammar(Styled):
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

    kind = "hermes"

    def render_prompt(self, question: str, toolset: Toolset) -> Prompt:
        """See :class:`Grammar`."""
        system = (
            f"{TASK}\n\n# Tools\n\n<tools>\n"
            f"{tool_lines(toolset, self.tools)}\n</tools>\n\n"
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
            return TOO_LONG
        start = text.find("</think>")
        if start >= 0:
            start += 8
        elif text.lstrip().startswith("<think>"):
            return malformed("The think tag is not closed.")
        else:
            start = 0
        call_at = text.find("<tool_call>", start)
        answer_at = text.find("<answer>", start, call_at) if call_at >= 0 else text.find("<answer>", start)
        if answer_at >= 0:
            return self._parse_answer(text, answer_at + 8)
        if call_at >= 0:
            return self._parse_calls(text, call_at)
        return malformed("The action holds neither a tool_call block nor an answer block.")

    def thought(self, text: str) -> str:
        """See :class:`Grammar`."""
        inside, closed, rest = text.partition("</think>")
        if not closed:
            inside, rest = "", text
        begins = [at for tag in ("<tool_call>", "<answer>") if (at := rest.find(tag)) >= 0]
        parts = inside.strip().removeprefix("<think>").strip(), rest[: min(begins, default=0)].strip()
        return unescape("\n".join([part for part in parts if part]))

    @staticmethod
    def _parse_answer(text: str, start: int) -> Action | Fault:
        end = text.find("</answer>", start)
        if end < 0:
            return malformed("The answer tag is not closed.")
        if text[end + 9 :].strip():
            return malformed("An action holds calls or one answer, and nothing after the closing tag.")
        return Action((), unescape(text[start:end].strip()))

    @staticmethod
    def _parse_calls(text: str, at: int) -> Action | Fault:
        calls: tuple[Call, ...] = ()
        while True:
            end = text.find("</tool_call>", at)
            if end < 0:
                return malformed("The tool_call tag is not closed.")
            if len(calls) == MAX_CALLS_PER_STEP:
                return TOO_MANY
            try:
                calls += (decode_json(text[at + 11 : end], decode_call),)
            except BAD_JSON as error:
                return json_fault(error)
            at = end + 12
            if at == len(text) or not (rest := text[at:].lstrip()):
                return Action(calls)
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
            results.append(decode_result(part[len(opening) :]))
        return tuple(results)
