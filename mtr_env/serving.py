"""What stands between a network and an application that plays episodes: who may come in, how much, and how slowly.

:class:`Guard` is an ASGI application around another one; :func:`make_server` puts both into uvicorn. Whatever a client
does, it is answered with a clear error or cut off, and no other client notices:

- without the token, where one is set: 401. From a page in a browser (an ``Origin`` of another machine) to a server that
  has no token: 403.
- a body above ``max_body``: 413; one that is no JSON, or nested deeper than 128: 400; one that does not arrive within
  ``slow_s``: 408. A client that does not even send its headers in that time is cut off.
- a WebSocket that says nothing for ``idle_s`` is closed with code 1008; a message above ``max_body`` with code 1009.
- more connections than the sessions need: 503.

Needs uvicorn, which the extras ``openenv`` and ``mcp`` bring.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from mtr_env.errors import MTRError
from mtr_env.extras import needed

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_DEPTH = 128


class Limits(Struct, frozen=True):
    """What one client, and all of them together, may use."""

    max_sessions: int = 256
    """Sessions at a time; one more is refused."""
    idle_s: float = 600.0
    """Seconds without a message after which a session ends."""
    max_body: int = 2**20
    """Bytes of a request's body, or of a WebSocket message."""
    slow_s: float = 10.0
    """Seconds that a client may take to send a request's headers, and again for its body."""


class Refusal(NamedTuple):
    """An answer in the application's place."""

    status: int
    detail: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Guard:
    """``application`` behind the checks of this module. ``token``: what a client has to send as
    ``Authorization: Bearer TOKEN``; compared in constant time, written nowhere."""

    def __init__(self, application: Application, limits: Limits, token: str | None = None) -> None:
        self._application = application
        self._limits = limits
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        refusal = self._refusal(dict(scope["headers"]))
        if scope["type"] == "websocket":
            if refusal is not None:
                await receive()  # its opening
                await _answer(send, refusal, "websocket.http.response")
            else:
                await self._application(scope, self._until_idle(receive, send), send)
            return
        body = refusal or await self._body(dict(scope["headers"]), receive)
        if isinstance(body, Refusal):
            await _answer(send, body, "http.response")
        elif body is not None:
            await self._application(scope, _again(body, receive), send)

    def _refusal(self, headers: dict[bytes, bytes]) -> Refusal | None:
        if self._token is not None:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token):
                return None
            challenge = ((b"www-authenticate", b"Bearer"),)
            return Refusal(401, "Send this server's token as 'Authorization: Bearer TOKEN'.", challenge)
        origin = headers.get(b"origin")
        if origin is not None and not _is_of_this_machine(origin.decode("latin-1")):
            return Refusal(403, "Pages of other sites may not use this server; give it a token to let them in.")
        return None

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | Refusal | None:
        """The whole body of a request; ``None`` when the client has left."""
        most = self._limits.max_body
        too_long = Refusal(413, f"The body is longer than {most} bytes.", _CLOSE)
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > most:
            return too_long
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.slow_s):
                more = True
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        return None
                    body += message.get("body", b"")
                    if len(body) > most:
                        return too_long
                    more = message.get("more_body", False)
        except TimeoutError:
            return Refusal(408, f"The body did not arrive within {self._limits.slow_s:g} s.", _CLOSE)
        problem = json_problem(bytes(body)) if body else None
        return bytes(body) if problem is None else Refusal(400, problem)

    def _until_idle(self, receive: Receive, send: Send) -> Receive:
        async def next_message() -> Message:
            try:
                async with asyncio.timeout(self._limits.idle_s):
                    return await receive()
            except TimeoutError:
                reason = f"nothing was said for {self._limits.idle_s:g} s"
                await send({"type": "websocket.close", "code": 1008, "reason": reason})
                return {"type": "websocket.disconnect", "code": 1008, "reason": reason}

        return next_message


_CLOSE = ((b"connection", b"close"),)


def json_problem(body: bytes) -> str | None:
    """What keeps a body from being JSON that any program can read and write again: ``None``, or a sentence."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"The body is not JSON: {error}"
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _within(outer)]
        if not level:
            return None
    return f"The body is nested deeper than {MAX_DEPTH}."


def _within(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.values()]
    return value if isinstance(value, list) else []


def _again(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body that was read, and then what comes after it."""
    pending = [body]

    async def next_message() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return next_message


async def _answer(send: Send, refusal: Refusal, kind: str) -> None:
    body = msgspec.json.encode({"detail": refusal.detail})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *refusal.headers]
    await send({"type": f"{kind}.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body, "more_body": False})


def is_loopback(host: str | None) -> bool:
    """Whether a host's name or address is this machine itself."""
    if host == "localhost":
        return True
    try:
        return host is not None and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_of_this_machine(origin: str) -> bool:
    try:
        return is_loopback(urlsplit(origin).hostname)
    except ValueError:
        return False


def read_token(variable: str | None, file: str | os.PathLike[str] | None) -> str | None:
    """The token in an environment variable or a file (white space around it is no part of it); ``None`` for neither.

    Raises ``ValueError`` for both, for one that is not set or empty, and for one that no HTTP header can hold;
    ``OSError`` for a file that cannot be read."""
    if variable is not None and file is not None:
        raise ValueError("The token is in an environment variable or in a file: name one of them, not both.")
    if variable is not None:
        token, where = os.environ.get(variable, ""), f"The environment variable {variable}"
    elif file is not None:
        token, where = Path(file).read_text(encoding="utf-8", errors="replace"), f"The file {os.fspath(file)}"
    else:
        return None
    token = token.strip()
    if not token:
        raise ValueError(f"{where} holds no token.")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"{where} holds something else than a token: printable ASCII without spaces.")
    return token


def make_server(
    application: Application,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    limits: Limits | None = None,
    token: str | None = None,
    started: Callable[[str], None] = lambda url: None,
) -> Any:
    """A ``uvicorn.Server`` for the application behind a :class:`Guard`: its ``run()`` serves until a signal comes or
    its ``should_exit`` is set, then lets what is under way end for 5 s. ``port`` 0 takes a free one; ``started`` is
    told the URL. Raises ``ImportError`` when there is no uvicorn, and ``ValueError`` for a port that cannot be."""
    if not 0 <= port < 2**16:
        raise ValueError(f"A port is a number from 0 to 65535, found {port}.")
    with needed("openenv", "A server"):  # the extra mcp has it too
        import uvicorn

    class Server(uvicorn.Server):  # type: ignore[misc]
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                name = f"[{host}]" if ":" in host else host
                started(f"http://{name}:{self.servers[0].sockets[0].getsockname()[1]}")

        def run(self, sockets: Any = None) -> None:
            try:
                super().run(sockets=sockets)
            except SystemExit as error:
                why = error.__context__
                reason = f": {why.strerror}" if isinstance(why, OSError) else "; the line above says why"
                raise MTRError(f"Cannot listen on {host} port {port}{reason}.") from error

    limits = limits or Limits()
    config = uvicorn.Config(
        Guard(application, limits, token),
        host=host,
        port=port,
        http=_impatient(limits.slow_s),
        ws_max_size=limits.max_body,
        ws_per_message_deflate=False,  # on loopback it only costs; and what is sent is bounded, not what it unpacks to
        limit_concurrency=2 * limits.max_sessions + 64,  # an MCP client may hold two connections
        timeout_graceful_shutdown=5,
        log_level="warning",
        access_log=False,
    )
    # uvicorn 0.54 says this of every WebSocket that is refused with an answer, as ASGI allows.
    _hush("uvicorn.error", "ASGI callable returned without completing handshake")
    _hush("uvicorn.error", "[Errno ")  # what it ends with is raised
    return Server(config)


def _hush(logger: str, sentence: str) -> None:
    """Keeps a library from logging as an error what is none: the records that hold this sentence."""
    logging.getLogger(logger).addFilter(lambda record: sentence not in record.getMessage())


def _impatient(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, which waits for ever for a request's headers, with a limit on that."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):  # type: ignore[misc]
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._deadline = self.loop.call_later(seconds, transport.abort)

        def connection_lost(self, error: Exception | None) -> None:
            self._in_time()
            super().connection_lost(error)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            under_way = self.cycle is not None and not self.cycle.response_complete
            if under_way or self._upgraded():
                self._in_time()
            elif self._deadline is None:  # a further request on this connection has begun
                self._deadline = self.loop.call_later(seconds, self.transport.abort)

        def _upgraded(self) -> bool:
            return self.transport.get_protocol() is not self

        def _in_time(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Protocol
