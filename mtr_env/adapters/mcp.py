"""The Model Context Protocol: any agent that speaks MCP plays an episode (``mtr-env serve --mcp``).

Every MCP session is one episode: it begins as the session does and is over with ``submit_answer`` or at ``max_steps``;
for another one the agent connects again. The session's tools are the question's and ``submit_answer``. The question
stands in the server's ``instructions``, and for clients that show their model no instructions in the prompt and the
resource ``question`` (``mtr://question``). The ``n``-th session of a server has the seed ``seed + n``, which also picks
its question, unless all of them play one ``question_id``.

- A result is JSON text; a policy's mistake is a result with ``isError`` and an error object, and a step.
- Calls that are sent at once are made one after the other, in the order in which they arrive.
- The last result's ``_meta`` has, under ``mtr_env``, the reward and what
  :meth:`~mtr_env.session.ToolSession.outcome` says; clients do not show it to their model.
- Arguments that are no JSON object cannot be sent over MCP: the client or the protocol refuses them (error -32602), and
  the episode does not see them.

Needs the extra ``mcp``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from mtr_env.episode import Game
from mtr_env.extras import needed
from mtr_env.grammar.base import TASK
from mtr_env.serving import Application, Limits, Receive, Scope, Send
from mtr_env.session import ToolSession
from mtr_env.trace import Trace
from mtr_env.version import __version__

with needed("mcp", "The MCP adapter"):
    import anyio
    from mcp import types
    from mcp.server.lowlevel import Server
    from mcp.server.lowlevel.helper_types import ReadResourceContents
    from mcp.server.stdio import stdio_server
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

PATH = "/mcp"
URI = "mtr://question"
Keep = Callable[[Trace], None]


class MCPServer(Server):
    """A low-level MCP server whose every session is an episode of ``game``. ``keep`` is given each episode's trace when
    it is over, or left because the session ends."""

    def __init__(
        self, game: Game, *, question_id: str | None = None, seed: int = 0, keep: Keep = lambda trace: None
    ) -> None:
        super().__init__("mtr-env", __version__)
        self._game = game
        self._question_id = question_id
        self._seeds = itertools.count(seed)
        self._keep = keep

    async def run(
        self, read_stream: Any, write_stream: Any, initialization_options: Any, *args: Any, **kwargs: Any
    ) -> None:
        """One session, and so one episode. The options are made anew: the instructions are the question's."""
        seed = next(self._seeds)
        session = await ToolSession.abegin(self._game, self._question_id or self._game.question_for(seed), seed)
        if session.done:  # its tools could not be made
            self._keep(session.trace)
        server = session_server(session, self._keep)
        try:
            await server.run(read_stream, write_stream, server.create_initialization_options(), *args, **kwargs)
        finally:
            if not session.done:
                self._keep(session.trace)

    async def run_stdio(self) -> None:
        """One session over the process's standard input and output, which nothing else may write to."""
        # Files of our own: those that `stdio_server` would make close the process's when they go.
        said: Any = _lines(0)
        with open(1, "w", encoding="utf-8", closefd=False) as answered:
            async with stdio_server(said, anyio.wrap_file(answered)) as (read_stream, write_stream):
                await self.run(read_stream, write_stream, self.create_initialization_options())

    def http(self, limits: Limits | None = None) -> Application:
        """The ASGI application of the transport "streamable HTTP", at :data:`PATH`."""
        from starlette.applications import Starlette
        from starlette.routing import Route

        limits = limits or Limits()
        sessions = StreamableHTTPSessionManager(
            self,
            json_response=True,  # a call has one answer, so there is nothing to stream
            session_idle_timeout=limits.idle_s,
            max_request_body_size=limits.max_body,
            max_sessions=limits.max_sessions,
        )

        @contextlib.asynccontextmanager
        async def lifespan(_: Any) -> AsyncIterator[None]:
            async with sessions.run():
                yield

        # No GET, whose stream would carry what this server never says: while it is open, no session is idle.
        route = Route(PATH, _Endpoint(sessions), methods=["POST", "DELETE"])
        application: Application = Starlette(routes=[route], lifespan=lifespan)
        return application


async def _lines(descriptor: int) -> AsyncIterator[str]:
    """A file's lines. The thread that waits for them holds up nobody: whoever is told to stop need not wait for another
    line, as with threads of anyio's."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue()
    wanted = threading.Semaphore()

    def give(line: str) -> None:
        loop.call_soon_threadsafe(lines.put_nowait, line)

    def read() -> None:
        with contextlib.suppress(RuntimeError, OSError):  # the loop is closed; nothing can be read any more
            try:
                with open(descriptor, encoding="utf-8", errors="replace", closefd=False) as file:
                    while wanted.acquire() and (line := file.readline()):
                        give(line)
            finally:
                give("")

    threading.Thread(target=read, daemon=True).start()
    while line := await lines.get():
        yield line
        wanted.release()


class _Endpoint:
    """An ASGI application as a route has it: a function would get a request instead."""

    def __init__(self, sessions: StreamableHTTPSessionManager) -> None:
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._sessions.handle_request(scope, receive, send)


def session_server(session: ToolSession, keep: Keep = lambda trace: None) -> Server:
    """The server of one session: its tools, calls, instructions, prompt and resource. ``keep`` is given the trace as a
    call ends the episode."""
    text = f"{TASK} Give it with the tool submit_answer, which ends the episode.\n\n{session.stage.prompt.user}"
    server: Server = Server("mtr-env", __version__, instructions=text)
    one_at_a_time = asyncio.Lock()

    @server.list_tools()
    async def list_tools() -> list[types.Tool]:
        return [
            types.Tool(name=spec.name, description=spec.description, inputSchema=spec.parameters)
            for spec in session.specs
        ]

    async def call_tool(request: types.CallToolRequest) -> types.ServerResult:
        async with one_at_a_time:
            over = session.done
            result = await _call(session, request.params.name, request.params.arguments or {})
            if session.done and not over:
                keep(session.trace)
            return types.ServerResult(result)

    # Not `@server.call_tool()`: what a policy writes is checked, and recorded, by the episode.
    server.request_handlers[types.CallToolRequest] = call_tool

    @server.list_prompts()
    async def list_prompts() -> list[types.Prompt]:
        return [types.Prompt(name="question", description="The question, and how to answer it.")]

    @server.get_prompt()
    async def get_prompt(name: str, arguments: dict[str, str] | None) -> types.GetPromptResult:
        if name != "question":
            raise ValueError(f"No prompt {name!r}; there is 'question'.")
        content = types.TextContent(type="text", text=text)
        return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=content)])

    @server.list_resources()
    async def list_resources() -> list[types.Resource]:
        return [types.Resource(name="question", uri=URI, mimeType="text/plain")]

    @server.read_resource()
    async def read_resource(uri: Any) -> Iterable[ReadResourceContents]:
        if str(uri) != URI:
            raise ValueError(f"No resource {str(uri)!r}; there is {URI!r}.")
        return [ReadResourceContents(text, "text/plain")]

    return server


async def _call(session: ToolSession, name: str, arguments: dict[str, Any]) -> types.CallToolResult:
    late = session.done
    seen = await session.acall(name, arguments)
    mistaken = late or bool(session.trace.steps[-1].faults)
    about = {}
    if session.done:
        reward, how = session.outcome()
        about = {"_meta": {"mtr_env": {"reward": reward, **how}}}
    content = [types.TextContent(type="text", text=seen)]
    return types.CallToolResult(content=content, isError=mistaken, **about)
