"""What does a served step cost, beside OpenEnv's own echo environment?

    python -m benchmarks.serve --out

Each server is a process of its own on loopback, each client a WebSocket of OpenEnv's client in this one. A repetition
plays one episode on every server in turn, beginning with another one each time: `reset`, then 5 steps. A figure is the
median over the steps of all repetitions, in microseconds; a ratio the median over the repetitions of the ratio of the
median steps within one.

- *ours*: a search call against the server of `mtr-env serve` (grounded tools, the guard with a token).
- *echo*: an environment that returns the message it is sent with its length, as OpenEnv's example does, served as
  OpenEnv's documentation says (`uvicorn.run(create_app(...))`): its `step` runs in a thread.
- *echo, asynchronous*: the same with `step_async`, behind our own server: the least that a step can cost here.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

import uvicorn
from openenv.core.env_server import Action, Environment, Observation, State, create_fastapi_app
from openenv.core.generic_client import GenericEnvClient

from benchmarks.report import machine
from mtr_env.adapters.openenv import MTRClient, call_action, make_app
from mtr_env.registration import SYNTHETIC, make_game
from mtr_env.serving import make_server

RESULT = Path(__file__).parent / "results" / "serve.md"
CASES = ("ours", "echo", "echo, asynchronous")
TARGET = 1.5
STEPS = 5
QUERY = "who founded the company that employed her"
TOKEN = "benchmark"


class EchoAction(Action):
    message: str


class EchoObservation(Observation):
    echoed_message: str
    message_length: int


class Echo(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._state = State()

    def reset(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> EchoObservation:
        self._state = State(episode_id=episode_id)
        return EchoObservation(echoed_message="ready", message_length=0, reward=0.0)

    def step(self, action: EchoAction, timeout_s: float | None = None, **_: Any) -> EchoObservation:
        self._state.step_count += 1
        length = len(action.message)
        return EchoObservation(
            echoed_message=action.message,
            message_length=length,
            reward=0.1 * length,
            metadata={"original_message": action.message, "step": self._state.step_count},
        )

    @property
    def state(self) -> State:
        return self._state


class AsyncEcho(Echo):
    async def step_async(self, action: EchoAction, timeout_s: float | None = None, **_: Any) -> EchoObservation:
        return self.step(action)

    async def reset_async(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> EchoObservation:
        return self.reset(seed, episode_id)


def serve(case: str) -> None:
    """Serves until the process is ended; prints the URL first."""

    def tell(url: str) -> None:
        print(url, flush=True)

    if case == "ours":
        make_server(make_app(make_game(SYNTHETIC)), token=TOKEN, started=tell).run()
    elif case == "echo, asynchronous":
        make_server(create_fastapi_app(AsyncEcho, EchoAction, EchoObservation), started=tell).run()
    else:

        class Server(uvicorn.Server):
            async def startup(self, sockets: Any = None) -> None:
                await super().startup(sockets=sockets)
                tell(f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}")

        app = create_fastapi_app(Echo, EchoAction, EchoObservation)
        Server(uvicorn.Config(app, port=0, log_level="warning")).run()


async def measure(urls: dict[str, str], repetitions: int) -> dict[str, list[list[float]]]:
    """Case to the microseconds of each step of each repetition."""
    samples: dict[str, list[list[float]]] = {case: [] for case in CASES}
    async with AsyncExitStack() as stack:
        clients: dict[str, Any] = {}
        for case in CASES:
            client = MTRClient(urls[case], token=TOKEN) if case == "ours" else GenericEnvClient(urls[case])
            clients[case] = await stack.enter_async_context(client)
        search = call_action("search", {"query": QUERY})
        actions = {case: search if case == "ours" else {"message": QUERY} for case in CASES}
        for number in range(-20, repetitions):  # the first ones warm up
            shift = number % len(CASES)
            for case in CASES[shift:] + CASES[:shift]:
                client = clients[case]
                await client.reset(seed=number + 20)
                taken = [await _timed(client.step, actions[case]) for _ in range(STEPS)]
                if number >= 0:
                    samples[case].append(taken)
    return samples


async def _timed(step: Callable[[Any], Awaitable[Any]], action: Any) -> float:
    begun = perf_counter_ns()
    result = await step(action)
    taken = (perf_counter_ns() - begun) / 1000
    assert not result.done
    return taken


def report(samples: dict[str, list[list[float]]], repetitions: int) -> tuple[str, float]:
    """The page, and the ratio that the target speaks of."""
    about = machine("openenv", "fastapi", "uvicorn", "websockets")
    kind = ", ".join(f"{name} {value}" for name, value in about.items())
    each = {case: [median(steps) for steps in rounds] for case, rounds in samples.items()}

    def ratio(other: str) -> float:
        return median([a / b for a, b in zip(each["ours"], each[other], strict=True)])

    rows = [f"| {case} | {median([us for steps in samples[case] for us in steps]):.0f} |" for case in CASES]
    rows += ["", "| ratio | x |", "|---|---|"]
    rows += [f"| ours / {other} | {ratio(other):.2f} |" for other in CASES[1:]]
    met = "yes" if ratio("echo") <= TARGET else "no"
    assert __doc__ is not None
    page = [
        "# A served step",
        "",
        f"`python -m benchmarks.serve {shlex.join(sys.argv[1:])}`, {datetime.now(UTC).date()}, "
        f"{repetitions} repetitions; {kind}.",
        __doc__.split("\n\n", 2)[2].strip(),
        "",
        f"Target: at most {TARGET} x OpenEnv's echo environment. Measured {ratio('echo'):.2f}; met: {met}.",
        "",
        "| step | us |",
        "|---|---|",
        *rows,
    ]
    return "\n".join(page) + "\n", ratio("echo")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=300)
    parser.add_argument("--out", action="store_true", help=f"write {RESULT.name} in benchmarks/results")
    parser.add_argument("--serve", choices=CASES, help=argparse.SUPPRESS)  # what a server's process is told
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return 0
    servers = {
        case: subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serve", "--serve", case], stdout=subprocess.PIPE, text=True
        )
        for case in CASES
    }
    try:
        urls = {case: server.stdout.readline().strip() for case, server in servers.items() if server.stdout}
        samples = asyncio.run(measure(urls, args.repetitions))
    finally:
        for server in servers.values():
            server.terminate()
            server.wait(30)
    page, ratio = report(samples, args.repetitions)
    print(page)
    if args.out:
        RESULT.write_text(page)
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
