"""A scenario through `mtr_env.adapters.endpoint`, by native tool calls, against a chat server on loopback."""

from __future__ import annotations

import json
from typing import Any

from mtr_env.adapters import endpoint
from mtr_env.policies.native import Mode
from mtr_env.registration import make_game
from mtr_env.reward import score
from mtr_env.testing.parity import Outcome, Said, Scenario, outcome_of
from tests.chat_server import ChatServer

PACKAGE = "openai"
ONE_CALL_A_STEP = False
MAPPED: dict[str, str] = {}


def play(scenario: Scenario, mode: Mode = "native") -> Outcome:
    game = make_game(scenario.env_id, **scenario.options)

    def content(body: dict[str, Any]) -> Any:
        said = scenario.said[sum(message["role"] == "assistant" for message in body["messages"])]
        return native(said) if mode == "native" else said.text

    with ChatServer(content) as server:
        trace = endpoint.play(
            game, scenario.question_id, model="scripted", base_url=server.url, mode=mode, seed=scenario.seed
        )
    return outcome_of(trace, score(trace, game.rubric))


def native(said: Said) -> dict[str, Any]:
    """The message as an endpoint sends it."""
    if said.answer is not None:
        return {"content": f"<answer>{said.answer}</answer>"}
    calls = [
        {"name": name, "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments)}
        for name, arguments in said.calls
    ]
    numbered = [{"id": f"call_{i}", "type": "function", "function": call} for i, call in enumerate(calls)]
    return {"content": None, "tool_calls": numbered}
