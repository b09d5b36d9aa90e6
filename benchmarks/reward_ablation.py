"""Which reward teaches what? GRPO from one warm start with four rubrics, the same budget, several seeds.

    python -m benchmarks.reward_ablation --model runs/training/seed0/sft --seeds 0 1 2

The rubrics are ``em`` (the answer alone), ``mtr-v0`` (the answer times the consistency parts), ``additive`` (their sum)
and ``f1`` (as ``mtr-v0``, with F1 for EM). Every model is measured in the same way, whatever it was trained on: EM, F1,
the reward ``mtr-v0`` and its parts, on held-out questions, sampled at T = 1. The result goes to
``benchmarks/results/reward_ablation.{json,md}``, whatever it shows.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.report import machine
from benchmarks.training import RESULTS, STUDENT, interval
from mtr_env.evaluate import write_json
from train import measure
from train.options import parse

RUBRICS = ("em", "mtr-v0", "additive", "f1")
PARTS = ("contract", "provenance", "support", "economy")


def train(model: str, rubric: str, seed: int, steps: int, recipe: str, out: Path) -> None:
    """Runs GRPO unless this very result is there; its output goes to ``<out>.log``. Raises ``SystemExit`` when GRPO
    fails, and when the folder holds the result of other settings."""
    made_with = {"model": model, "rubric": rubric, "seed": seed, "steps": steps, "recipe": recipe}
    settings = out.with_suffix(".json")
    if (out / "log.json").exists():
        if json.loads(settings.read_text()) != made_with:
            raise SystemExit(f"{out} was made with other settings ({settings}); remove it or choose another --out.")
        return
    shutil.rmtree(out, ignore_errors=True)  # what an interrupted training has left
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(settings, made_with)
    command = [sys.executable, "-m", "train.grpo", "--recipe", recipe, "--model", model, "--rubric", rubric]
    command += ["--seed", str(seed), "--steps", str(steps), "--eval-every", "0", "--out", str(out)]
    with out.with_suffix(".log").open("wb") as log:
        environment = os.environ | {"TRL_EXPERIMENTAL_SILENCE": "1"}
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False)
    if done.returncode:
        end = out.with_suffix(".log").read_text(errors="replace").splitlines()[-5:]
        raise SystemExit("\n".join([f"GRPO with the rubric {rubric} failed:", *end]))


def play(model: str, seed: int, episodes: int, recipe: str) -> dict[str, Any]:
    """The model on held-out questions at T = 1."""
    options = ["--recipe", recipe, "--model", model, "--seed", str(seed), "--temperature", "1"]
    return measure.run(parse(measure.Args, "measure", "", [*options, "--episodes", str(episodes)]))


def main(argv: list[str] | None = None) -> None:
    """Runs the ablation."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reward_ablation", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", required=True, help="the warm start")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    args = parser.parse_args(argv)
    if len(args.seeds) > max(STUDENT):
        parser.error(f"at most {max(STUDENT)} seeds")
    played: dict[str, list[dict[str, Any]]] = {
        "warm start": [play(args.model, seed, args.episodes, args.recipe) for seed in args.seeds]
    }
    for rubric in RUBRICS:
        played[rubric] = []
        for seed in args.seeds:
            folder = args.out / f"{rubric}-{seed}"
            train(args.model, rubric, seed, args.steps, args.recipe, folder)
            played[rubric].append(play(str(folder), seed, args.episodes, args.recipe))
            print(f"{rubric}, seed {seed}: EM {played[rubric][-1]['em']:.1%}", flush=True)
    command = shlex.join(["python", "-m", "benchmarks.reward_ablation", *(sys.argv[1:] if argv is None else argv)])
    about = ", ".join(f"{key} {value}" for key, value in machine("torch", "trl").items())
    names = ("em", "f1", "reward", "well_formed")
    lines = [
        "# Reward ablation",
        "",
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, recipe `{args.recipe}`; {about}.",
        f"{args.steps} GRPO steps each from one warm start; {args.episodes} held-out questions at T = 1; means with "
        f"95% t-intervals over the seeds {', '.join(map(str, args.seeds))}. The reward is `mtr-v0` in every row.",
        "",
        f"| trained on | {' | '.join([*names, *PARTS, 'calls'])} |",
        "|---" * (len(names) + len(PARTS) + 2) + "|",
    ]
    for name, results in played.items():
        columns = [[result[key] for result in results] for key in names]
        columns += [[result["parts"].get(part) for result in results] for part in PARTS]
        columns.append([result["calls_per_episode"] for result in results])
        cells = ["{:.3f} ± {:.3f}".format(*interval(known)) if (known := _known(values)) else "-" for values in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    (RESULTS / "reward_ablation.md").write_text("\n".join(lines) + "\n")
    write_json(RESULTS / "reward_ablation.json", {"command": command, "rows": played})
    print("\n".join(lines))


def _known(values: list[float | None]) -> list[float]:
    """Without those of a part that did not apply in any episode."""
    return [value for value in values if value is not None]


if __name__ == "__main__":
    main()
