"""Many episodes at once whose tools take 50 ms: in process beside an event loop that only sleeps, over HTTP beside the
same client's bare requests. A part of `benchmarks.models`; the stress tests measure with it too."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from mtr_env.episode import Game
from mtr_env.llm import ChatClient
from mtr_env.registration import SYNTHETIC, make_game
from mtr_env.rollout import aplay_many
from mtr_env.toolactors.base import ToolRequest
from mtr_env.trace import Response
from tests.chat_server import ChatServer

SECONDS = 0.05  # a response
WORDS = ("a", "b", "c", "d")  # that an episode searches for, one call a step
IDEAL = len(WORDS) * SECONDS  # the wall time of any number of episodes that cost nothing themselves
ACTIONS = [
    *[f'<tool_call>{{"name": "search", "arguments": {{"query": "{word}"}}}}</tool_call>' for word in WORDS],
    "<answer>x</answer>",
]


def _page(snippet: str) -> Response:
    return Response({"status": "ok", "results": [{"title": "A page", "snippet": snippet}]}, ("p0",))


class Slow:
    """Answers after a time, the same to everybody."""

    name = "slow"
    response = _page("One sentence.")

    def respond(self, *request: Any) -> Response:
        raise AssertionError("asked in the synchronous form")

    async def arespond(self, request: ToolRequest) -> Response:
        await asyncio.sleep(SECONDS)
        return self.response


class Asks:
    """One request to a chat endpoint for each call."""

    name = "asks"

    def __init__(self, client: ChatClient) -> None:
        self.client = client

    def respond(self, *request: Any) -> Response:
        raise AssertionError("asked in the synchronous form")

    async def arespond(self, request: ToolRequest) -> Response:
        completion = await self.client.complete([{"role": "user", "content": request.key.call}])
        return _page(completion.text)


def scripted(messages: Any, tools: Any) -> str:
    """The policy: all calls, then an answer, whatever it sees."""
    return ACTIONS[len(messages) // 2 - 1]


def game_of(actor: Any) -> Game:
    """A small game whose tools the actor plays."""
    return make_game(SYNTHETIC, limit=64, tool_actor=actor)


def warm_game() -> Game:
    """A game with slow tools that has been played before."""
    game = game_of(Slow())
    seconds(game, 128, 128)
    return game


def seconds(game: Game, episodes: int, concurrency: int | None = None) -> float:
    """How long so many episodes take, all of them at once unless ``concurrency`` says how many."""

    async def main() -> None:
        ids = game.world.ids
        starts = ((ids[i % len(ids)], i) for i in range(episodes))
        played = 0
        async for trace in aplay_many(game, scripted, starts, concurrency=concurrency or episodes):
            assert len(trace.steps) == len(ACTIONS)
            played += 1
        assert played == episodes

    return _timed(main)


def bare_seconds(episodes: int) -> float:
    """The same waiting with nothing between: what asyncio itself takes on this machine, now."""

    async def wait() -> None:
        for _ in WORDS:
            await asyncio.sleep(SECONDS)

    return _gathered(wait() for _ in range(episodes))


def bare_requests(client: ChatClient, episodes: int) -> float:
    """The same requests that the episodes of :class:`Asks` make, by the same client."""

    async def ask() -> None:
        for word in WORDS:
            await client.complete([{"role": "user", "content": f'["search",{{"query":"{word}"}}]'}])

    return _gathered(ask() for _ in range(episodes))


def _gathered(tasks: Iterable[Awaitable[None]]) -> float:
    async def main() -> None:
        await asyncio.gather(*tasks)

    return _timed(main)


def _timed(main: Callable[[], Any]) -> float:
    began = time.perf_counter()
    asyncio.run(main())
    return time.perf_counter() - began


def resident() -> float:
    """MiB of memory that this process has (Linux)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def growth(episodes: int, rounds: int = 4, warm_up: int = 4000, concurrency: int = 1000) -> list[float]:
    """MiB more than after ``warm_up`` episodes, after each round of ``episodes``."""
    game = warm_game()
    seconds(game, warm_up, concurrency)
    before = resident()
    sizes = []
    for _ in range(rounds):
        seconds(game, episodes, concurrency)
        sizes.append(resident() - before)
    return sizes


@contextmanager
def server_process() -> Iterator[str]:
    """The URL of a chat server in a process of its own, which answers after a time like :class:`Slow`."""
    command = [sys.executable, "-m", "benchmarks.waiting"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.communicate()  # closes its standard input, at which it ends


if __name__ == "__main__":  # the server's process
    with ChatServer(latency=SECONDS) as server:
        print(server.url, flush=True)
        sys.stdin.read()
