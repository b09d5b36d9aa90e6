"""The ``react`` grammar: lines."""

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
    decode_json,
    decode_object,
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


class ReactGrammar(Styled):
    """Lines as ReAct prompts write them: Thought, Action, Action Input, Observation, Final Answer.

    A value stands on one line (JSON input may span several); text before the first ``Action:`` or ``Final Answer:``
    line is the thought.

    >>> print(ReactGrammar().render_call(Call("search", {"query": "Kolya"}), thought="Find it."))
    Thought: Find it.
    Action: search
    Action Input: {"query":"Kolya"}
    """

    kind = "react"

    def render_prompt(self, question: str, toolset: Toolset) -> Prompt:
        """See :class:`Grammar`."""
        system = (
            f"{TASK} You have these tools:\n\n"
            f"{tool_lines(toolset, self.tools)}\n\n"
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
            return TOO_LONG
        text = "\n" + text
        call_at, answer_at = text.find("\nAction:"), text.find("\nFinal Answer:")
        if call_at < 0 and answer_at < 0:
            return malformed("The action holds neither an 'Action:' line nor a 'Final Answer:' line.")
        is_answer = call_at < 0 or 0 <= answer_at < call_at
        if not is_answer:
            return self._parse_calls(text, call_at)
        answer, _, rest = text[answer_at + 14 :].lstrip().partition("\n")
        if rest.strip():
            return malformed("An action holds calls or one answer, and nothing after the answer's line.")
        return Action((), unescape(answer.strip()))

    def thought(self, text: str) -> str:
        """See :class:`Grammar`."""
        text = "\n" + text
        before = text[
            : min((at for line in ("\nAction:", "\nFinal Answer:") if (at := text.find(line)) >= 0), default=0)
        ]
        return unescape(before.strip().removeprefix("Thought:").strip())

    @staticmethod
    def _parse_calls(text: str, at: int) -> Action | Fault:
        calls: list[Call] = []
        while True:
            next_at = text.find("\nAction:", at + 8)
            block = text[at + 8 : next_at] if next_at >= 0 else text[at + 8 :]
            name, found, arguments = block.partition("\nAction Input:")
            if "\nObservation:" in arguments:
                return malformed("The action goes on after its Action Input; stop there and wait for the Observation.")
            if not found:
                return malformed("An 'Action:' line is not followed by an 'Action Input:' line.")
            if len(calls) == MAX_CALLS_PER_STEP:
                return TOO_MANY
            try:
                calls.append(Call(unescape(name.strip()), decode_json(arguments, decode_object)))
            except BAD_JSON as error:
                return json_fault(error)
            if next_at < 0:
                return Action(tuple(calls))
            at = next_at

    def parse_observation(self, text: str) -> tuple[Result, ...]:
        """See :class:`Grammar`."""
        results = []
        for line in text.split("\n"):
            if not line.startswith("Observation: "):
                raise ValueError("expected every line to begin with 'Observation: '")
            results.append(decode_result(line[13:]))
        return tuple(results)
