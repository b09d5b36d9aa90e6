"""One connection pool and one semaphore for each event loop that a client is used from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, NamedTuple

from mtr_env.llm.endpoint import Endpoint

MAX_BODY = 16 * 2**20  # bytes of one response; a server that sends more is broken


class Lane(NamedTuple):
    """What a client has on one event loop. ``closer`` keeps the pool's closing registered with the loop."""

    client: Any  # openai.AsyncOpenAI
    slots: asyncio.Semaphore
    closer: AsyncGenerator[None, None]


class Lanes:
    """The lanes of one client. Closed with their loop by ``loop.shutdown_asyncgens()``, as ``asyncio.run`` does."""

    def __init__(self) -> None:
        self._lanes: dict[asyncio.AbstractEventLoop, Lane] = {}

    async def current(self, make: Callable[[], Any], concurrency: int) -> Lane:
        """The lane of the running loop; ``make`` makes its ``AsyncOpenAI`` the first time."""
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(loop)
        if lane is None:
            for closed in [other for other in list(self._lanes) if other.is_closed()]:
                self._lanes.pop(closed, None)
            client = make()
            lane = Lane(client, asyncio.Semaphore(concurrency), self._close_with(loop, client))
            self._lanes[loop] = lane
            await anext(lane.closer)  # a started generator is one that the loop closes; it does not wait for anything
        return lane

    async def _close_with(self, loop: asyncio.AbstractEventLoop, client: Any) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._lanes.pop(loop, None)
            await client.close()


def import_openai() -> tuple[Any, Any]:
    """The packages ``openai`` and ``httpx2``. Raises ``ImportError`` that says how to install them."""
    try:
        import httpx2
        import openai
    except ImportError as error:
        raise ImportError("A chat endpoint needs the openai package: pip install 'mtr-env[llm]'.") from error
    return openai, httpx2


def make_client(endpoint: Endpoint, key: str, timeout: float, concurrency: int) -> Any:
    """An ``AsyncOpenAI`` without retries of its own, whose pool fits the concurrency and whose bodies are bounded."""
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

    http = openai.DefaultAsyncHttpxClient(
        limits=httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
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
