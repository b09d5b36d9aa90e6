"""The MCP server against the official client: the parity scenarios, what an agent sees, both transports."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="mcp is not installed (pip install -e '.[mcp]')")

import httpx
from mcp.client.session import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import McpError
from mcp.types import CallToolResult
from msgspec.structs import replace
from test_readme import blocks

from benchmarks.parity_drivers import mcp as driver
from benchmarks.served import served
from mtr_env.adapters.mcp import PATH, MCPServer
from mtr_env.episode import Game
from mtr_env.errors import InfrastructureError
from mtr_env.evaluate import read_traces
from mtr_env.registration import make_game
from mtr_env.serving import Limits
from mtr_env.testing.parity import FaultyToolActor, Said, Scenario, differences, expected, scenarios
from mtr_env.tool import Toolset
from mtr_env.toolactors.base import ToolRequest
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.trace import Response, Trace

pytestmark = pytest.mark.adapters
SYNTHETIC = "MTR-Synthetic-v0"
OPENING = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def game() -> Game:
    return make_game(SYNTHETIC, limit=20)


def with_client(url: str, use: Callable[[ClientSession], Awaitable[Any]]) -> Any:
    """What `use` returns of one session over HTTP."""

    async def session() -> Any:
        async with streamable_http_client(url + PATH) as (read, write, _), ClientSession(read, write) as client:
            await client.initialize()
            return await use(client)

    return asyncio.run(session())


def text(result: CallToolResult) -> Any:
    [content] = result.content
    assert content.type == "text"
    return json.loads(content.text)


def sendable(scenario: Scenario) -> Scenario:
    """Without the calls that MCP cannot send, as the adapter's page says."""
    said: list[Said] = []
    for message in scenario.said:
        calls = tuple(call for call in message.calls if isinstance(call[1], dict))
        if calls or message.answer is not None:
            said.append(replace(message, calls=calls))
    return replace(scenario, said=tuple(said))


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_every_scenario_ends_as_in_plain_gymnasium_but_for_calls_that_mcp_cannot_send(scenario: Scenario) -> None:
    played = sendable(scenario)
    assert (played != scenario) == (scenario.name in driver.MAPPED)
    assert differences(expected(played, one_call_a_step=True), driver.play(scenario)) == ()


def test_an_agent_finds_the_question_in_the_instructions_the_prompt_and_the_resource(game: Game) -> None:
    question = game.world.question(game.question_for(7))

    async def read(client: ClientSession) -> list[str | None]:
        prompt = await client.get_prompt("question")
        resource = await client.read_resource((await client.list_resources()).resources[0].uri)
        assert [p.name for p in (await client.list_prompts()).prompts] == ["question"]
        return [prompt.messages[0].content.text, resource.contents[0].text]  # type: ignore[union-attr]

    async def instructions(url: str) -> str | None:
        async with streamable_http_client(url + PATH) as (read, write, _), ClientSession(read, write) as client:
            return (await client.initialize()).instructions

    with served(MCPServer(game, seed=7).http()) as url:
        told = asyncio.run(instructions(url))
    with served(MCPServer(game, seed=7).http()) as url:
        assert with_client(url, read) == [told, told]
    assert told is not None and question.text in told and "submit_answer" in told
    assert "last message" not in told, "over MCP there is none"


def test_the_tools_are_the_questions_with_their_whole_schemas(game: Game) -> None:
    stage, _ = game.begin(game.world.ids[2], 0)

    async def tools(client: ClientSession) -> dict[str, Any]:
        return {tool.name: tool.inputSchema for tool in (await client.list_tools()).tools}

    with served(MCPServer(game, question_id=game.world.ids[2]).http()) as url:
        found = with_client(url, tools)
    assert [*found] == [*stage.toolset.names, "submit_answer"]
    assert all(found[tool.name] == tool.parameters for tool in stage.toolset.tools)


def test_mistakes_are_results_and_the_last_one_says_what_the_episode_is_worth(game: Game) -> None:
    async def use(client: ClientSession) -> list[CallToolResult]:
        calls: list[tuple[str, dict[str, Any]]] = [
            ("search", {"query": "x"}),
            ("search", {"query": 5}),
            ("nothing", {}),
            ("submit_answer", {"answer": 5}),
            ("submit_answer", {"answer": "x"}),
            ("search", {"query": "x"}),
        ]
        return [await client.call_tool(name, arguments) for name, arguments in calls]

    with served(MCPServer(game).http()) as url:
        found, wrong, unknown, bad, last, late = with_client(url, use)
    assert not found.isError and found.meta is None
    codes = [text(result)["error"]["code"] for result in (wrong, unknown, bad, late)]
    assert codes == ["invalid_arguments", "unknown_tool", "invalid_arguments", "episode_over"]
    assert all(result.isError for result in (wrong, unknown, bad, late)) and wrong.meta is None
    about = last.meta["mtr_env"]
    assert not last.isError and text(last)["status"] == "ok"
    assert about["reward"] == about["log"]["reward"] == 0.0 and about["log"]["policy_faults"] == 3.0
    assert (about["terminated"], about["truncated"], about["stop_reason"]) == (True, False, "answer")


def test_an_outage_is_unscored_and_never_0() -> None:
    game = make_game(SYNTHETIC, tool_actor=FaultyToolActor(0, "outage"))
    with served(MCPServer(game).http()) as url:
        result = with_client(url, lambda client: client.call_tool("search", {"query": "x"}))
    about = result.meta["mtr_env"]
    assert about["reward"] is None and about["log"]["unscored"] == 1.0 and "an outage" in about["unscored"]
    assert result.isError and text(result)["error"]["code"] == "infrastructure"


def test_each_session_is_an_episode_with_the_next_seed(game: Game) -> None:
    kept: list[Trace] = []

    async def use(client: ClientSession) -> None:
        await client.call_tool("submit_answer", {"answer": "x"})

    with served(MCPServer(game, seed=3, keep=kept.append).http()) as url:
        for _ in range(3):
            with_client(url, use)
    assert [(trace.seed, trace.question.id) for trace in kept] == [(s, game.question_for(s)) for s in (3, 4, 5)]


class SlowActor(GroundedToolActor):
    """Has to be awaited."""

    async def arespond(self, request: ToolRequest) -> Response:
        await asyncio.sleep(0.01)
        return self.respond(request.call, request.spec, request.view, request.history, request.key)


def test_calls_that_are_sent_at_once_are_made_one_after_the_other() -> None:
    kept: list[Trace] = []

    async def use(client: ClientSession) -> None:
        await asyncio.gather(*[client.call_tool("search", {"query": f"query {n}"}) for n in range(6)])

    with served(MCPServer(make_game(SYNTHETIC, tool_actor=SlowActor()), keep=kept.append).http()) as url:
        with_client(url, use)
    [trace] = kept
    assert sorted(step.calls[0].arguments["query"] for step in trace.steps) == [f"query {n}" for n in range(6)]


class NoMaker:
    """A ToolMaker that cannot be reached."""

    name = "none"

    def make(self, question: object, key: str = "") -> Toolset:
        raise InfrastructureError("no maker")


def test_an_episode_without_tools_is_over_as_it_begins_and_kept_once() -> None:
    kept: list[Trace] = []
    game = make_game(SYNTHETIC, tool_maker=NoMaker())
    with served(MCPServer(game, keep=kept.append).http()) as url:
        result = with_client(url, lambda client: client.call_tool("search", {"query": "x"}))
    assert text(result)["error"]["code"] == "episode_over" and result.meta["mtr_env"]["reward"] is None
    assert [trace.stop_reason for trace in kept] == ["infrastructure"]


def test_one_session_too_many_is_refused_and_the_others_go_on(game: Game) -> None:
    with served(MCPServer(game).http(Limits(max_sessions=1))) as url:

        async def use(client: ClientSession) -> CallToolResult:
            refused = httpx.post(url + PATH, json=OPENING, headers={"Accept": "application/json, text/event-stream"})
            assert (refused.status_code, refused.json()["error"]["message"]) == (503, "Too many open sessions")
            return await client.call_tool("search", {"query": "x"})

        assert not with_client(url, use).isError


def test_a_silent_agent_loses_its_session_though_it_stays_connected(game: Game) -> None:
    async def use(client: ClientSession) -> None:
        await client.call_tool("search", {"query": "x"})
        await asyncio.sleep(2)
        with pytest.raises(McpError, match="Session terminated"):
            await client.call_tool("search", {"query": "x"})

    limits = Limits(max_sessions=1, idle_s=0.5)
    with served(MCPServer(game).http(limits), limits=limits) as url:
        with_client(url, use)
        assert not with_client(url, lambda client: client.call_tool("search", {"query": "x"})).isError


def test_an_agent_that_starts_its_server_plays_over_stdio(tmp_path: Path) -> None:
    arguments = ["-m", "mtr_env", "serve", SYNTHETIC, "--limit", "20", "--mcp", "--stdio", "--seed", "5"]
    parameters = StdioServerParameters(
        command=sys.executable, args=[*arguments, "--out", str(tmp_path / "out")], cwd=ROOT
    )

    async def session() -> CallToolResult:
        async with stdio_client(parameters) as (read, write), ClientSession(read, write) as client:
            await client.initialize()
            assert "search" in [tool.name for tool in (await client.list_tools()).tools]
            await client.call_tool("search", {"query": "x"})
            return await client.call_tool("submit_answer", {"answer": "x"})

    result = asyncio.run(session())
    [trace] = read_traces(tmp_path / "out" / "traces.jsonl")
    assert (trace.seed, trace.answer, len(trace.steps)) == (5, "x", 2)
    assert result.meta is not None and result.meta["mtr_env"]["log"]["steps"] == 2.0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
@pytest.mark.parametrize("name", ["submit_answer", "search"])
def test_a_server_over_stdio_stops_when_told_though_its_client_keeps_the_pipe_open(
    tmp_path: Path, number: int, code: int, name: str
) -> None:
    command = [sys.executable, "-m", "mtr_env", "serve", SYNTHETIC, "--limit", "5", "--mcp", "--stdio", "--out"]
    pipe = subprocess.PIPE
    call = {"name": name, "arguments": {"answer" if name == "submit_answer" else "query": "x"}}
    requests = [
        OPENING,
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call},
    ]
    with subprocess.Popen(
        [*command, str(tmp_path / "out")], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write("".join([json.dumps(request) + "\n" for request in requests]))
        process.stdin.flush()
        assert [json.loads(process.stdout.readline())["id"] for _ in range(2)] == [1, 2]
        process.send_signal(number)
        try:
            assert process.wait(30) == code
        finally:
            process.kill()
        said = process.stderr.read()
    assert "Traceback" not in said and "Warning" not in said
    finished = name == "submit_answer"
    assert f"episodes finished: {finished:d}; left before their end, and not kept: {not finished:d}" in said
    assert (tmp_path / "out" / "traces.jsonl").exists() == finished, "the same command may be given again"


@pytest.mark.page
def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [example] = [block for block in blocks((ROOT / "docs/adapters/mcp.md").read_text()) if block.language == "python"]
    exec(compile(example.code, "docs/adapters/mcp.md", "exec"), {"__name__": "page"})
    *_, result, last = capsys.readouterr().out.splitlines()
    assert json.loads(result) and last.startswith("0.0 {'reward': 0.0, 'answer': 0.0,")
