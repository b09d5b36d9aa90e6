"""The demonstration behind ``make demo``: a synthetic world, its audit, four policies that play it, and a table.

    python -m benchmarks.demo [--episodes 200] [--seed 0] [--out runs/demo]

It needs no model, no key and no network. A rerun goes on where it stopped and plays nothing twice.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from mtr_env.audit import audit
from mtr_env.env import MTREnv
from mtr_env.evaluate import Summary, run, write_json
from mtr_env.policies import make_policy
from mtr_env.registration import make_game
from mtr_env.rollout import play
from mtr_env.transcript import transcript

POLICIES = ("oracle", "random-valid", "first-search", "no-tool")


@dataclass
class Args:
    """What the demonstration plays."""

    episodes: int = 200
    """Questions, each played once by every policy."""
    seed: int = 0
    """The first episode's seed."""
    out: Path = Path("runs/demo")
    """Where traces, summaries and the audit go."""


def parse_args(argv: list[str] | None = None) -> Args:
    """The command line; every option is a field of :class:`Args`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--episodes", type=int, default=Args.episodes, help="questions to play (%(default)s)")
    parser.add_argument("--seed", type=int, default=Args.seed, help="the first episode's seed (%(default)s)")
    parser.add_argument("--out", type=Path, default=Args.out, help="output folder (%(default)s)")
    return Args(**vars(parser.parse_args(argv)))


def table(summaries: dict[str, Summary]) -> str:
    """Policy, EM with its 95% interval, reward and the mean of each reward part."""
    parts = [name for name in summaries["oracle"].parts if name != "answer"]
    lines = [f"{'policy':14}{'EM':>6}  {'95% interval':16}{'reward':>7}" + "".join(f"{name:>12}" for name in parts)]
    for name, summary in summaries.items():
        interval = summary.intervals["em"]
        shown = f"[{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
        cells = "".join(f"{_number(summary.parts.get(part)):>12}" for part in parts)
        lines.append(f"{name:14}{_number(summary.metrics['em']):>6}  {shown:16}{_number(summary.reward):>7}{cells}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def main(argv: list[str] | None = None) -> int:
    """Runs the demonstration."""
    args = parse_args(argv)
    started = time.perf_counter()
    game = make_game("MTR-Synthetic-v0", split="test", limit=args.episodes)
    print(
        f"World: {game.world.info.name}, split {game.world.info.split}, {len(game.world.ids)} questions, "
        f"fingerprint {game.world.info.fingerprint}\n"
    )

    print("One episode, played by the oracle:\n")
    print(transcript(play(MTREnv(game), make_policy("oracle"), seed=args.seed)), end="\n\n")

    report = audit(game)
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "audit.json", report)
    print(
        f"Audit: {report.provable} of {report.questions} questions proven solvable, {report.leaks} leaks, "
        f"{report.invalid_responses} invalid responses\n"
    )

    summaries = {name: run(game, name, args.out / name, episodes=args.episodes, seed=args.seed) for name in POLICIES}
    print(table(summaries))
    print(f"\nTraces and summaries: {args.out}/   ({time.perf_counter() - started:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
