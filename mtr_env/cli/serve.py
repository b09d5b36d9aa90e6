"""`mtr-env serve`: a game behind an OpenEnv or an MCP server, and the file of the episodes that were played."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

from mtr_env.cli.arguments import UsageError
from mtr_env.episode import Game
from mtr_env.serving import Limits, is_loopback, make_server, read_token
from mtr_env.trace import Trace, encode

Say = Callable[[str], None]
_SHARED = ("host", "port", "max_sessions", "idle_seconds", "token_variable", "token_file")


class Kept:
    """``traces.jsonl`` in a new folder, or nowhere: each finished episode is a line as soon as it is over. Without any
    there is no file in the end."""

    def __init__(self, folder: str | None) -> None:
        self._file: IO[bytes] | None = None
        self._one_at_a_time = threading.Lock()  # sessions end in another thread than steps are made in
        self.finished = self.left = 0
        if folder is not None:
            path = Path(folder) / "traces.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._file = path.open("xb", buffering=0)
            except FileExistsError:
                raise UsageError(f"--out {folder} has a traces.jsonl already; name another folder.") from None

    def __call__(self, trace: Trace) -> None:
        """An episode is over, or was left; one in which nothing was said does not count."""
        with self._one_at_a_time:
            if trace.stop_reason is None:
                self.left += bool(trace.steps)
                return
            self.finished += 1
            if self._file is not None:
                self._file.write(encode(trace) + b"\n")

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()
            if not self.finished:  # the same command may be given again
                Path(self._file.name).unlink()

    def __str__(self) -> str:
        return f"episodes finished: {self.finished}; left before their end, and not kept: {self.left}"


def serve(args: argparse.Namespace, game: Game, say: Say) -> None:
    """Serves until it is stopped. ``say`` is told the address, and in the end how much was played."""
    if args.stdio and not args.mcp:
        raise UsageError("--stdio is for --mcp: OpenEnv has no such form.")
    if args.stdio:
        _refuse(args, _SHARED, "is for a server that listens; --stdio has one client, which started it.")
    if not args.mcp:
        _refuse(args, ("question_id", "seed"), "is for --mcp; an OpenEnv client names its question when it resets.")
    if args.question_id is not None:
        game.world.question(args.question_id)
    with Kept(args.out) as kept:
        try:
            _over_stdio(args, game, kept) if args.stdio else _over_http(args, game, kept, say)
        finally:
            if kept.finished or kept.left:
                say(str(kept))


def _refuse(args: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if getattr(args, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} {why}")


def _over_stdio(args: argparse.Namespace, game: Game, kept: Kept) -> None:
    from mtr_env.adapters.mcp import MCPServer

    server = MCPServer(game, question_id=args.question_id, seed=args.seed or 0, keep=kept)

    async def play() -> None:
        playing = asyncio.current_task()
        assert playing is not None
        with contextlib.suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
        await server.run_stdio()

    with contextlib.suppress(asyncio.CancelledError):  # by SIGTERM; Ctrl-C is a KeyboardInterrupt
        asyncio.run(play())


def _over_http(args: argparse.Namespace, game: Game, kept: Kept, say: Say) -> None:
    limits = Limits()
    limits = Limits(
        max_sessions=args.max_sessions or limits.max_sessions, idle_s=float(args.idle_seconds or limits.idle_s)
    )
    token = read_token(args.token_variable, args.token_file)
    host = args.host or "127.0.0.1"
    if args.mcp:
        from mtr_env.adapters.mcp import PATH, MCPServer

        server = MCPServer(game, question_id=args.question_id, seed=args.seed or 0, keep=kept)
        application, path, what = server.http(limits), PATH, "MCP"
    else:
        from mtr_env.adapters.openenv import make_app

        application, path, what = make_app(game, limits=limits, keep=kept), "", "OpenEnv"
    if token is None and not is_loopback(host):
        say(f"--host {host} without a token: whoever reaches this machine can play. Set --token-variable.")
    port = 8000 if args.port is None else args.port
    server = make_server(
        application,
        host=host,
        port=port,
        limits=limits,
        token=token,
        started=lambda url: say(
            f"{game.setup.env_id}, {len(game.world.ids)} questions, {what}: {url}{path} (Ctrl-C stops it)"
        ),
    )
    # uvicorn stops in good order at SIGTERM, and then sends it again to whoever listened before.
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with contextlib.suppress(_Stopped):
            server.run()
    finally:
        signal.signal(signal.SIGTERM, before)


class _Stopped(BaseException):
    """SIGTERM came: the process ends as it does when all went well."""


def _stop(*_: object) -> None:
    raise _Stopped
