"""Does training work, beyond one lucky seed? The whole demonstration for several seeds, with intervals.

    python -m benchmarks.training --seeds 0 1 2 --out runs/training

Each seed is a run of ``python -m train.demo`` in a folder of its own (a rerun reuses what is there). The result, means
with 95% t-intervals over the seeds, goes to ``benchmarks/results/training.{json,md}``; the first seed's learning curves
beside it.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.report import machine
from mtr_env.evaluate import write_json
from train import demo, measure
from train.options import parse

RESULTS = Path("benchmarks/results")
STUDENT = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""The 97.5% quantile of Student's t for so many samples."""


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95% interval over seeds (0 for one value)."""
    if len(values) == 1:
        return values[0], 0.0
    return mean(values), STUDENT[len(values)] * stdev(values) / len(values) ** 0.5


def cell(values: Sequence[float]) -> str:
    """A mean with its interval, in percent."""
    middle, half = interval([100 * value for value in values])
    return f"{middle:.1f} ± {half:.1f}" if half else f"{middle:.1f}"


def table(results: Sequence[dict[str, Any]]) -> list[str]:
    """A row for each model and scripted policy."""
    lines = ["| | EM, greedy | well formed, greedy | EM, T = 1 | well formed, T = 1 |", "|---|---|---|---|---|"]
    for row in demo.IN_SUMMARY:
        cells = []
        for decoding in ("greedy", "sampled"):
            rows = [result if decoding == "greedy" else result["sampled"] for result in results]
            for key in ("em", "well_formed"):
                cells.append(cell([r[row][key] for r in rows]) if row in rows[0] else "")
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return lines


def gains(results: Sequence[dict[str, Any]]) -> list[str]:
    """What GRPO adds, paired by seed."""
    lines = []
    for decoding in ("greedy", "sampled"):
        rows = [result if decoding == "greedy" else result["sampled"] for result in results]
        for other in ("sft", "sft_control"):
            points = cell([r["grpo"]["em"] - r[other]["em"] for r in rows])
            lines.append(f"- GRPO over {other}, {decoding}: {points} points of EM")
    return lines


def minutes(result: dict[str, Any]) -> str:
    """How long a demonstration took, its set-up left out."""
    return f"{result['minutes'] - (result.get('set_up_minutes') or 0.0):.2f}"


def main(argv: list[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/training"))
    parser.add_argument("--recipe", default="tiny", help="of all stages: a name, or a .toml file")
    args = parser.parse_args(argv)
    if len(args.seeds) > max(STUDENT):
        parser.error(f"at most {max(STUDENT)} seeds")
    results = []
    for seed in args.seeds:
        folder = args.out / f"seed{seed}"
        results.append(demo.main(["--recipe", args.recipe, "--seed", str(seed), "--out", str(folder)]))
    command = shlex.join(["python", "-m", "benchmarks.training", *(sys.argv[1:] if argv is None else argv)])
    held_out = parse(measure.Args, "measure", "", ["--recipe", args.recipe])
    about = ", ".join(f"{key} {value}" for key, value in machine("torch", "transformers", "trl").items())
    text = [
        "# Training",
        "",
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, recipe `{args.recipe}`; {about}.",
        f"{results[0]['grpo']['episodes']} held-out questions (split `{held_out.split}` with `world_seed` "
        f"{held_out.world_seed}: no entity name occurs in training); means and 95% t-intervals over {len(results)} "
        f"seeds, in percent. Minutes a seed, without set-up: {', '.join(map(minutes, results))}.",
        "",
        *table(results),
        "",
        *gains(results),
        "",
        "![learning curves of the first seed](training.png)",
    ]
    (RESULTS / "training.md").write_text("\n".join(text) + "\n")
    seeds = dict(zip(map(str, args.seeds), results, strict=True))
    write_json(RESULTS / "training.json", {"command": command, "seeds": seeds})
    shutil.copy(args.out / f"seed{args.seeds[0]}" / "curves.png", RESULTS / "training.png")
    print("\n".join(text))


if __name__ == "__main__":
    demo.stop_when_told()
    main()
