"""A chat model whose messages are written down, for adapters whose framework asks an endpoint by native tool calls.

with ChatServer(content=Played({"Question: Who?": oracle_messages})) as server: ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.grammar import to_json
from mtr_env.policies.oracle import Oracle
from mtr_env.rollout import play
from mtr_env.testing.parity import Said


class Played:
    """The content of a :class:`ChatServer`: its n-th message is the n-th that ``said`` has for the question.

    ``said`` is by the text of the user's message. Remembers the tools that each request offered.
    """

    def __init__(self, said: Mapping[str, Sequence[Said]]) -> None:
        self.said = said
        self.tools: list[list[dict[str, Any]]] = []

    def __call__(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.tools.append(body.get("tools") or [])
        question = next(message["content"] for message in body["messages"] if message["role"] == "user")
        number = sum(message["role"] == "assistant" for message in body["messages"])
        return native_message(self.said[question][number], number)


def native_message(said: Said, number: int) -> dict[str, Any]:
    """A message in OpenAI's form; ``number`` makes the ids of its calls unique in the conversation."""
    if said.answer is not None:
        return {"content": said.answer}
    calls = [
        {"id": f"call_{number}_{i}", "type": "function", "function": {"name": name, "arguments": text(arguments)}}
        for i, (name, arguments) in enumerate(said.calls)
    ]
    return {"content": None, "tool_calls": calls}


def text(arguments: Any) -> str:
    """Arguments as a model writes them."""
    return arguments if isinstance(arguments, str) else to_json(arguments)


def oracle_says(game: Game, question_id: str, seed: int = 0) -> tuple[Said, ...]:
    """The oracle's messages: one call each, then the answer."""
    trace = play(MTREnv(game), Oracle(game.grammar, game.tool_actor), question_id=question_id, seed=seed)
    said: list[Said] = []
    for step in trace.steps:
        said += [Said(step.action, ((call.name, call.arguments),)) for call in step.calls]
    return (*said, Said(trace.steps[-1].action, answer=trace.answer))
