"""MCP: the official client plays over streamable HTTP what the server of `mtr-env serve --mcp` holds."""

from __future__ import annotations

import asyncio

from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client

from benchmarks.served import served
from mtr_env.adapters.mcp import PATH, MCPServer
from mtr_env.registration import make_game
from mtr_env.testing.parity import Outcome, Scenario, outcome_of_log
from mtr_env.trace import Trace

PACKAGE = "mcp"
ONE_CALL_A_STEP = True
MAPPED = {"malformed call": "as the oracle's: arguments that are no JSON object cannot be sent over MCP"}


def play(scenario: Scenario) -> Outcome:
    calls = [call for said in scenario.said for call in said.calls if isinstance(call[1], dict)]
    calls += [("submit_answer", {"answer": said.answer}) for said in scenario.said if said.answer is not None]
    kept: list[Trace] = []
    game = make_game(scenario.env_id, **scenario.options)
    server = MCPServer(game, question_id=scenario.question_id, seed=scenario.seed, keep=kept.append)
    with served(server.http()) as url:
        about = asyncio.run(_played(url + PATH, calls))
    [trace] = kept
    return outcome_of_log(trace, {**about["log"], "reward": about["reward"]})


async def _played(url: str, calls: list[tuple[str, dict[str, object]]]) -> dict[str, dict[str, float | None]]:
    """What the last call says of the episode."""
    async with streamable_http_client(url) as (read, write, _), ClientSession(read, write) as client:
        await client.initialize()
        for name, arguments in calls:
            result = await client.call_tool(name, arguments)
            if result.meta is not None:
                return result.meta["mtr_env"]
    raise ValueError("The messages do not end the episode.")
