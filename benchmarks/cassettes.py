"""What a cassette costs, and what it loses: hits, opening a large one, two processes that write. A part of
`benchmarks.models`; the stress tests measure with it too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from msgspec.structs import replace

from mtr_env.registration import make_game
from mtr_env.store import Store
from mtr_env.toolactors.base import CallKey, History, ToolRequest
from mtr_env.toolactors.cassette import CassetteToolActor
from mtr_env.trace import Call, Response, Step, Usage

ROOT = Path(__file__).resolve().parents[1]
WRITER = """
import sys
from mtr_env.store import Store
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = Store(path)
for i in range(count):
    store.put(f"{name}:{i:06}", f"{name} {i}".encode() * 20)
    sys.stdout.write(f"{i}\\n")  # acknowledged
    sys.stdout.flush()
"""


class Model:
    """Stands for an expensive actor: what it answers is large, and depends on what the episode has seen."""

    name = "model"
    uses_history = True

    def respond(self, call: Call, *request: Any) -> Response:
        results = [{"title": f"Page {i} of {call.arguments['query']}", "snippet": "A sentence. " * 8} for i in range(3)]
        return Response({"status": "ok", "results": results}, ("p0s0", "p1s0"), "llm", Usage(900, 120))


def requests(count: int) -> list[ToolRequest]:
    """As many different searches, each after four exchanges of its episode."""
    game = make_game("MTR-HotpotQA-v0")
    stage, trace = game.begin(game.world.ids[0], 0)
    past = tuple(
        Step("", (Call("open_page", {"title": f"page {i}"}),), (Response({"status": "ok", "text": "seen " * 60}),))
        for i in range(4)
    )
    history, spec = History(replace(trace, steps=past)), stage.contract.specs["search"]
    calls = [Call("search", {"query": f"query {i}"}) for i in range(count)]
    return [
        ToolRequest(call, spec, stage.view, history, CallKey(i % 7, stage.question.id, call, past))
        for i, call in enumerate(calls)
    ]


def ask(actor: CassetteToolActor, request: ToolRequest) -> Response:
    """One call."""
    return actor.respond(request.call, request.spec, request.view, request.history, request.key)


def hit_seconds(actor: CassetteToolActor, asked: Sequence[ToolRequest], rounds: int) -> list[float]:
    """Of each call that the cassette holds (asked once before), how long it takes to be answered."""
    for request in asked:
        ask(actor, request)
    times = []
    for _ in range(rounds):
        for request in asked:
            started = time.perf_counter()
            ask(actor, request)
            times.append(time.perf_counter() - started)
    return times


def fill(path: Path, asked: Sequence[ToolRequest]) -> None:
    """Records an answer to every request."""
    with Store(path) as store:
        found = CassetteToolActor(Model(), store).respond_many(asked)
        assert not [error for error in found if isinstance(error, Exception)]
        assert len(store.keys("response:")) == len(asked)


def open_seconds(path: Path, asked: ToolRequest) -> float:
    """From nothing to the answer of one recorded call, in a replay that has no actor."""
    started = time.perf_counter()
    with Store(path, readonly=True) as store:
        response = ask(CassetteToolActor(None, store, "replay"), asked)
        taken = time.perf_counter() - started
    assert response == Model().respond(asked.call)
    return taken


class Written(NamedTuple):
    """What two processes wrote at the same time: entries acknowledged, and those of them that are not there, or not as
    they were written."""

    acknowledged: dict[str, int]
    lost: int


def two_writers(path: Path, count: int, kill: bool) -> Written:
    """Two processes write ``count`` entries each to one store. With ``kill`` the first goes on until it gets SIGKILL,
    when it has acknowledged half as many. They acknowledge to files, for nobody to wait for a reader."""
    Store(path).close()
    told = {name: path.with_name(f"{name}.txt") for name in ("first", "second")}
    with told["first"].open("w") as one, told["second"].open("w") as other:
        first = start_writer(path, "first", 1000 * count if kill else count, one)
        second = start_writer(path, "second", count, other)
    while kill and told["first"].read_bytes().count(b"\n") < count // 2:
        assert first.poll() is None, first.communicate()
        time.sleep(0.001)
    if kill:
        first.send_signal(signal.SIGKILL)
    ended = [(writer.communicate(timeout=300), writer.returncode) for writer in (first, second)]
    assert [code for _, code in ended] == [-signal.SIGKILL if kill else 0, 0], ended
    acknowledged = {name: file.read_bytes().count(b"\n") for name, file in told.items()}
    with Store(path) as store:
        lost = [
            (name, i)
            for name, number in acknowledged.items()
            for i in range(number)
            if store.get(f"{name}:{i:06}") != f"{name} {i}".encode() * 20
        ]
    return Written(acknowledged, len(lost))


def start_writer(path: Path, name: str, count: int, out: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
    """A process that writes ``count`` entries and says so after each, in lines to ``out``."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count)],
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
