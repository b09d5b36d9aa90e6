"""Native tool calls: an episode as a chat with ``tool_calls``, and a model's reply as an action of the game's grammar.

A model that was trained on OpenAI's tool calls plays in that form; what is recorded is the action in the game's
grammar, so that its traces are like any other's. The chat is a function of the recorded actions and observations: what
the agent saw is what :func:`chat` makes of its trace, for fine-tuning too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, get_args

from mtr_env.grammar import Action, Grammar, to_json
from mtr_env.grammar.base import BAD_JSON, TASK, decode_json, decode_object
from mtr_env.llm.client import Completion
from mtr_env.text import as_unicode
from mtr_env.trace import Call, Trace

Mode = Literal["native", "text"]
"""How a chat model plays: by tool calls, or by text in the environment's grammar."""
MODES: tuple[Mode, ...] = get_args(Mode)
PROMPT_VERSION = "auto-v1"

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")
_NO_ANSWER = ("length", "content_filter", "refusal")


def system_prompt(max_steps: int) -> str:
    """What the model is told; the tools are given beside it. :data:`PROMPT_VERSION` names its text."""
    return (
        f"{TASK}\n\nThink before you act: before each call, write in one sentence what you need to find out. Call one "
        "tool, or several at once that do not need each other's results. Take names and numbers from the question or "
        "from what the tools returned, never from memory. When you know the answer, write it without a tool call, as "
        "<answer>the answer</answer>, which ends the episode. You may write at most "
        f"{max_steps} messages, the answer included."
    )


def chat(grammar: Grammar, question: str, max_steps: int, turns: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """A conversation in OpenAI's form: ``turns`` are the actions so far, each with its observation (``""`` at the end).

    Calls that were understood are ``tool_calls`` with ids of our own, each answered by a ``tool`` message; any other
    action stands as it was written, and the error as a user message. Names are made such that a server takes them.
    """
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": system_prompt(max_steps)},
        {"role": "user", "content": as_unicode(question)},
    ]
    for number, (action, observation) in enumerate(turns):
        messages += _turn(grammar, number, as_unicode(action), as_unicode(observation))
    return messages


def trace_chat(trace: Trace, grammar: Grammar) -> list[dict[str, Any]]:
    """The episode as :func:`chat`."""
    turns = [(step.action, step.observation) for step in trace.steps]
    return chat(grammar, trace.question.text, trace.setup.max_steps, turns)


def _turn(grammar: Grammar, number: int, action: str, observation: str) -> list[dict[str, Any]]:
    parsed = grammar.parse(action)
    if not isinstance(parsed, Action):
        said = [{"role": "assistant", "content": action}]
        return [*said, {"role": "user", "content": observation}] if observation else said
    thought = as_unicode(grammar.thought(action))
    if parsed.answer is not None:
        answer = f"<answer>{parsed.answer}</answer>"
        return [{"role": "assistant", "content": f"{thought}\n{answer}" if thought else answer}]
    ids = [f"call_{number}_{i}" for i in range(len(parsed.calls))]
    calls = [
        {"id": id_, "type": "function", "function": {"name": _name(call.name), "arguments": to_json(call.arguments)}}
        for id_, call in zip(ids, parsed.calls, strict=True)
    ]
    contents = _contents(grammar, observation, len(calls))
    answers = [{"role": "tool", "tool_call_id": i, "content": text} for i, text in zip(ids, contents, strict=True)]
    return [{"role": "assistant", "content": thought, "tool_calls": calls}, *answers]


def _name(name: str) -> str:
    """A name that an endpoint takes; one that a model made up may be anything."""
    return _NOT_IN_A_NAME.sub("_", name)[:64] or "_"


def _contents(grammar: Grammar, observation: str, calls: int) -> list[str]:
    """What each call returned, as JSON."""
    try:
        results = [to_json(result.content) for result in grammar.parse_observation(observation)]
    except (ValueError, RecursionError):
        results = []
    return results if len(results) == calls else [observation] * calls


def action_of(reply: Completion, grammar: Grammar) -> str:
    """A model's reply as an action; whatever it holds, the grammar and the contract judge it. Never raises.

    Tool calls become calls, the text beside them their thought; arguments that are no JSON object stay a malformed
    action. Without a call: an action of the grammar written as text, the text of its one ``<answer>``, or the whole
    text as the answer; a reply that was cut off, filtered or refused is taken as it is written.
    """
    text = as_unicode(reply.text)
    if reply.tool_calls:
        calls = [Call(as_unicode(name), arguments_of(arguments)) for _, name, arguments in reply.tool_calls]
        return grammar.render_call(*calls, thought=_thought(text))
    if isinstance(grammar.parse(text), Action):
        return text
    before, closed, after = text.partition("</think>")
    said, thought = (after, _thought(before)) if closed else (text, "")
    answers = _ANSWER.findall(said)
    if len(answers) == 1:
        beside = _thought(said[: said.index("<answer>")])
        return grammar.render_answer(answers[0].strip(), "\n".join(filter(None, (thought, beside))))
    unfinished = reply.finish_reason in _NO_ANSWER or not said.strip() or "<answer>" in said or "<tool_call>" in said
    return text if unfinished else grammar.render_answer(said.strip(), thought)


def arguments_of(text: str) -> Any:
    """The arguments of a native call: a JSON object (empty text stands for an empty one), or any other text as it is,
    which no grammar takes for arguments."""
    if not text.strip():
        return {}
    try:
        return decode_json(text, decode_object)
    except BAD_JSON:
        return as_unicode(text)


def _thought(text: str) -> str:
    return text.replace("<think>", "").replace("</think>", "").strip()
