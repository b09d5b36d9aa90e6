"""Connections and the bound of concurrency, for each event loop that a client is used from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from mtr_env.extras import needed
from mtr_env.llm.endpoint import Endpoint

PER_POOL = 8  # connections
MAX_BODY = 16 * 2**20  # bytes of one response; a server that sends more is broken


class Lane:
    """What a client has on one event loop: as many places as its concurrency, each an ``AsyncOpenAI`` to send with.

    A place is taken from the top of the pile, so that few connections are open when few are needed. Several places
    share an ``AsyncOpenAI``, but not all: its pool looks at each of its connections for each request.
    """

    def __init__(self, clients: list[Any], concurrency: int) -> None:
        self.clients = clients
        self.closer: AsyncGenerator[None, None] | None = None
        self.closing: asyncio.Task[None] | None = None
        self._places: asyncio.LifoQueue[Any] = asyncio.LifoQueue()
        for i in reversed(range(concurrency)):
            self._places.put_nowait(clients[i // PER_POOL])

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Any]:
        """One of the places, waited for."""
        client = await self._places.get()
        try:
            yield client
        finally:
            self._places.put_nowait(client)


class Lanes:
    """The lanes of one client: closed with their loop (by ``shutdown_asyncgens``, as in ``asyncio.run``) or by us."""

    def __init__(self) -> None:
        self._lanes: dict[asyncio.AbstractEventLoop, Lane] = {}

    async def current(self, make: Callable[[], list[Any]], concurrency: int) -> Lane:
        """The lane of the running loop; ``make`` makes its ``AsyncOpenAI`` the first time."""
        loop = asyncio.get_running_loop()
        if loop not in self._lanes:
            for closed in [other for other in list(self._lanes) if other.is_closed()]:
                _OPEN.discard(self._lanes.pop(closed))
            lane = self._lanes[loop] = Lane(make(), concurrency)
            lane.closer = self._close_with(loop, lane)
            _OPEN.add(lane)
            await anext(lane.closer)  # a generator that was begun is one that the loop closes; nothing is waited for
        return self._lanes[loop]

    def close(self) -> None:
        """Closes the connections on every loop that still runs. From any thread, at any time."""
        for loop, lane in list(self._lanes.items()):
            with suppress(RuntimeError):  # the loop is closed, and the connections with it
                # Not at once: ``asyncio.run`` cancels what is under way when it ends, and so often the client with it.
                loop.call_soon_threadsafe(loop.call_later, 0.5, _start_closing, loop, lane)

    async def _close_with(self, loop: asyncio.AbstractEventLoop, lane: Lane) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._lanes.pop(loop, None)
            for client in lane.clients:
                await client.close()
            _OPEN.discard(lane)


def _start_closing(loop: asyncio.AbstractEventLoop, lane: Lane) -> None:
    if lane.closer is not None:
        lane.closing = loop.create_task(lane.closer.aclose())


# A lane lives until its loop has closed it, also when the client is gone; in a child after a fork for ever, where its
# sockets are the parent's.
_OPEN: set[Lane] = set()


def import_openai() -> tuple[Any, Any]:
    """The packages ``openai`` and ``httpx2``. Raises ``ImportError`` that says how to install them."""
    with needed("llm", "A chat endpoint"):
        import httpx2
        import openai
    return openai, httpx2


def make_clients(endpoint: Endpoint, key: str, timeout: float, concurrency: int) -> list[Any]:
    """``AsyncOpenAI`` clients for so many requests at once, without retries of their own and with bounded bodies."""
    openai, _ = import_openai()
    import httpx2

    class Bounded(httpx2.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in self.inner:
                size += len(chunk)
                if size > MAX_BODY:
                    raise httpx2.ReadError(f"a body of more than {MAX_BODY} bytes")
                yield chunk

        async def aclose(self) -> None:
            await self.inner.aclose()

    async def bound(response: Any) -> None:
        response.stream = Bounded(response.stream)

    trust = httpx2.create_ssl_context()  # once: it reads the certificates

    def one() -> Any:
        http = openai.DefaultAsyncHttpxClient(
            verify=trust,
            limits=httpx2.Limits(max_connections=PER_POOL, max_keepalive_connections=PER_POOL),
            timeout=timeout,
            event_hooks={"response": [bound]},
        )
        return openai.AsyncOpenAI(
            api_key=key,
            base_url=endpoint.url,
            max_retries=0,
            timeout=timeout,
            default_headers=endpoint.headers(key),
            http_client=http,
        )

    return [one() for _ in range(-(-concurrency // PER_POOL))]
