"""How large is a report of 2,000 episodes, how long does it take to build, and how much memory?

    python -m benchmarks.report_size --source musique.jsonl --out

Each case is played into a temporary folder and built in a process of its own, whose peak memory is taken (Linux).
`--source` adds a file of MuSiQue questions (20 paragraphs each): where it has fewer than the episodes asked for, each
episode's question gets an id of its own, so that none is stored for another.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from benchmarks.report import machine
from benchmarks.training import RESULTS
from mtr_env.evaluate import read_traces, run, write_json
from mtr_env.registration import make_game
from mtr_env.report import build_report
from mtr_env.trace import Trace, encode

TARGETS = {"megabytes": 15.0, "seconds": 10.0, "memory_mb": 500.0}


class Measured(msgspec.Struct):
    """A case: what went in, and what came of it."""

    episodes: int
    traces_megabytes: float
    megabytes: float
    seconds: float
    wall_seconds: float
    memory_mb: float


def build(folders: list[str], out: str) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak memory in MB of building a report; runs in a fresh process. Building waits for
    nothing, so that the CPU's seconds, which are held against the target, are those of a machine with nothing else to
    do."""
    start, began = time.process_time(), time.perf_counter()
    build_report(folders, out)
    seconds, wall = time.process_time() - start, time.perf_counter() - began
    [peak] = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    return seconds, wall, int(peak) / 1024


def measure(folders: list[Path], out: Path) -> Measured:
    """Builds the report of some runs in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        seconds, wall, memory = pool.submit(build, [str(folder) for folder in folders], str(out)).result()
    files = [folder / "traces.jsonl" for folder in folders]
    return Measured(
        episodes=sum(file.read_bytes().count(b"\n") for file in files),
        traces_megabytes=sum(file.stat().st_size for file in files) / 1e6,
        megabytes=out.stat().st_size / 1e6,
        seconds=seconds,
        wall_seconds=wall,
        memory_mb=memory,
    )


def rewrite(folder: Path, change: Callable[[int, Trace], Trace]) -> None:
    """Changes every trace of a run."""
    file = folder / "traces.jsonl"
    beside = folder / "changed.jsonl"
    with beside.open("wb") as out:
        for i, trace in enumerate(read_traces(file)):
            out.write(encode(change(i, trace)) + b"\n")
    beside.replace(file)


def with_own_id(i: int, trace: Trace) -> Trace:
    """The trace with a question that no other has."""
    return replace(trace, question=replace(trace.question, id=f"{trace.question.id}-{i}"))


def cases(root: Path, episodes: int, source: str | None) -> dict[str, list[Path]]:
    """The runs of each case."""
    synthetic = make_game("MTR-Synthetic-v0", limit=episodes, noise=0.1)
    played = {policy: root / policy for policy in ("oracle", "chaser")}
    for policy, folder in played.items():
        run(synthetic, policy, folder, episodes=episodes)
    found = {f"synthetic, {policy}": [folder] for policy, folder in played.items()}
    found["synthetic, both in one report"] = [*played.values()]
    if source is not None:
        musique = make_game("MTR-MuSiQue-v0", source=source)
        for policy in played:
            folder = root / f"musique-{policy}"
            run(musique, policy, folder, episodes=episodes)
            if len(musique.world.ids) < episodes:
                rewrite(folder, with_own_id)
            found[f"MuSiQue, {policy}"] = [folder]
    return found


def main(argv: list[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report_size", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--source", help="a file of MuSiQue questions")
    parser.add_argument("--out", action="store_true", help=f"write {RESULTS}/report_size.{{json,md}}")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        found = {
            name: measure(folders, Path(folder, "report.html"))
            for name, folders in cases(Path(folder), args.episodes, args.source).items()
        }
    shown = ["--source", "musique.jsonl"] if args.source else []
    shown += ["--episodes", str(args.episodes)] if args.episodes != 2000 else []
    command = shlex.join(["python", "-m", "benchmarks.report_size", *shown, *(["--out"] if args.out else [])])
    about: dict[str, Any] = machine()
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    lines = [
        "# The size of a report",
        "",
        f"`{command}`, {today}; {', '.join(f'{key} {value}' for key, value in about.items())}.",
        "Targets for 2,000 traces: at most 15 MB, built in under 10 s and 500 MB of memory.",
        "",
        "| runs | episodes | traces, MB | report, MB | CPU seconds | wall seconds | peak memory, MB |",
        "|---|---|---|---|---|---|---|",
        *[
            f"| {name} | {m.episodes:,} | {m.traces_megabytes:.1f} | {m.megabytes:.1f} | {m.seconds:.1f} "
            f"| {m.wall_seconds:.1f} | {m.memory_mb:.0f} |"
            for name, m in found.items()
        ],
    ]
    print("\n".join(lines))
    if args.out:
        (RESULTS / "report_size.md").write_text("\n".join(lines) + "\n")
        write_json(
            RESULTS / "report_size.json",
            {"command": command, "date": today, "targets": TARGETS, "machine": about, **found},
        )
    over = [name for name, m in found.items() for key, limit in TARGETS.items() if getattr(m, key) > limit]
    if over:
        sys.exit(f"above a target: {', '.join(dict.fromkeys(over))}")


if __name__ == "__main__":
    main()
