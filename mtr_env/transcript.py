"""A trace as people and chat models read it: a printed transcript, and chat messages."""

from __future__ import annotations

from mtr_env.grammar import Prompt
from mtr_env.trace import Trace

Message = dict[str, str]
"""A chat message: ``{"role": ..., "content": ...}``."""


def messages(trace: Trace, prompt: Prompt) -> list[Message]:
    """The episode as chat messages: system, user, then assistant (action) and user (observation) in turn.

    Observations are user messages because their text already carries the grammar's tags. The observation after an
    answer is empty and left out, and so is a step in which nobody said anything (an outage before the action).
    """
    chat = [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}]
    for step in trace.steps:
        if step.action or step.observation:
            chat.append({"role": "assistant", "content": step.action})
        if step.observation:
            chat.append({"role": "user", "content": step.observation})
    return chat


def transcript(trace: Trace) -> str:
    """The episode for the eye: question, tool signatures, then each step's action, faults and observation."""
    lines = [f"Question {one_line(trace.question.id)}: {printable(trace.question.text)}", "Tools:"]
    lines += [f"  {printable(tool.signature())}" for tool in trace.toolset.tools]
    for number, step in enumerate(trace.steps, 1):
        lines.append(f"[{number}/{trace.setup.max_steps}] {printable(step.action)}")
        lines += [f"  ! {fault.kind} ({fault.blame}): {printable(fault.message)}" for fault in step.faults]
        if step.observation:
            lines.append(f"  -> {printable(step.observation)}")
    if trace.stop_reason is not None:
        lines.append(f"Ended: {trace.stop_reason}")
    return "\n".join(lines)


def printable(text: str) -> str:
    """Text from a model or a data set without control characters that a terminal would obey; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


def one_line(text: str) -> str:
    """As :func:`printable`, on one line: for table cells, ids and messages."""
    return printable(" ".join(text.splitlines()))
