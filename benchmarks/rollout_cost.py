"""What do environment and adapter cost a GRPO step? The trainer beside the same trainer with a recorded world.

    python -m benchmarks.rollout_cost --model runs/demo/sft --steps 8 --out

Two trainings of the same length from one checkpoint with the same seeds: in the first the episodes are played; in the
second the tokens of every observation and every reward come from the record of the first, so no action is parsed, no
tool is called, nothing is validated or scored. Both therefore sample, see and learn the same tokens (this is checked).
The trainer is the one of `train.grpo`; the world's share counts everything that is not the policy's sampling: parsing,
tools, validation, encoding and scoring.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

import torch

from benchmarks.report import machine
from benchmarks.training import RESULTS
from mtr_env.adapters.trl import Prompt, Rollouts, Sampled, Sampler
from mtr_env.encoding import TokenEpisode
from mtr_env.evaluate import write_json
from train import grpo
from train.models import load
from train.options import parse
from train.sampler import CachedSampler
from train.trainer import TrimmedGRPOTrainer

Record = list[list[list[int]]]
"""Of each episode, the tokens that the world added after each action (none after the last)."""


class Recorded(Rollouts):
    """Plays, and keeps what the world said."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.records: list[tuple[Record, dict[str, Any]]] = []
        self.world_seconds: list[float] = []
        self._record: dict[int, list[list[int]]] = {}

    def __call__(self, prompts: Sequence[Prompt], trainer: Any) -> dict[str, Any]:
        """See :class:`Rollouts`."""
        self._record = {}
        output = super().__call__(prompts, trainer)
        self.records.append(([*self._record.values()], output))
        self.world_seconds.append(self.seconds["world"])
        return output

    def _advance(self, episodes: Sequence[TokenEpisode], samples: Sequence[Sampled]) -> None:
        before = [len(episode.context) + len(sampled.ids) for episode, sampled in zip(episodes, samples, strict=True)]
        super()._advance(episodes, samples)
        for episode, start in zip(episodes, before, strict=True):
            self._record.setdefault(id(episode), []).append(episode.context[start:])


class Replayed:
    """A ``rollout_func`` that samples, and takes everything else from the record."""

    def __init__(self, record: Recorded, sample: Sampler) -> None:
        self.record = record
        self.sample = sample
        self.reward = record.reward

    def __call__(self, prompts: Sequence[Prompt], trainer: Any) -> dict[str, Any]:
        """See :class:`Rollouts`."""
        said, output = self.record.records[trainer.state.global_step]
        contexts = [[*ids] for ids in output["prompt_ids"]]
        turn, going = 0, [*range(len(contexts))]
        while going:
            samples = self.sample([contexts[i] for i in going], self.record.max_turn_tokens)
            for i, sampled in zip(going, samples, strict=True):
                contexts[i] += [*sampled.ids, *said[i][turn]]
            turn += 1
            going = [i for i in going if turn < len(said[i])]
        expected = [p + c for p, c in zip(output["prompt_ids"], output["completion_ids"], strict=True)]
        assert contexts == expected, "the two trainings have come apart"
        return output


def train(args: grpo.Args, record: Recorded | None) -> tuple[Recorded, list[float]]:
    """Trains ``args.steps`` steps, with a record given from it; the record, and the seconds of each step."""
    torch.manual_seed(args.seed)
    model, tokenizer = load(args.model, args.max_tokens, args.grammar)
    sample = CachedSampler(model, tokenizer, args.temperature)
    played = record or Recorded(args.game(args.questions), tokenizer, **args.limits(), sampler=lambda _: sample)
    trainer = TrimmedGRPOTrainer(
        model=model,
        reward_funcs=played.reward,
        rollout_func=played if record is None else Replayed(record, sample),
        args=grpo.configuration(args),
        train_dataset=played.dataset(args.questions),
        processing_class=tokenizer,
    )
    torch.manual_seed(args.seed)
    trainer.train()
    return played, [entry["step_time"] for entry in trainer.state.log_history if "step_time" in entry]


def main(argv: list[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollout_cost", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="runs/demo/sft")
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", action="store_true", help=f"write {RESULTS}/rollout_cost.{{json,md}}")
    args = parser.parse_args(argv)
    if args.steps < 2:
        parser.error("--steps is at least 2: the first is a warm-up")
    with tempfile.TemporaryDirectory() as folder:
        options = ["--recipe", args.recipe, "--model", args.model, "--seed", str(args.seed), "--out", folder]
        settings = parse(grpo.Args, "grpo", "", [*options, "--steps", str(args.steps), "--eval-every", "0"])
        settings.save_every = args.steps + 1
        ratios, shares, steps = [], [], []
        for _ in range(args.pairs):
            played, seconds = train(settings, None)
            _, without = train(settings, played)
            ratios.append(median([b / a for a, b in zip(seconds[1:], without[1:], strict=True)]))
            shares += [world / step for world, step in zip(played.world_seconds[1:], seconds[1:], strict=True)]
            steps += seconds[1:]
    command = shlex.join(["python", "-m", "benchmarks.rollout_cost", *(sys.argv[1:] if argv is None else argv)])
    result = {"steps_per_minute_over_recorded": median(ratios), "world_share": median(shares), "step": median(steps)}
    lines = [
        "# The cost of environment and adapter in a GRPO step",
        "",
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, recipe `{args.recipe}`; "
        + ", ".join(f"{key} {value}" for key, value in machine("torch", "trl").items())
        + ".",
        f"{args.pairs} pairs of {args.steps} steps (the first of each is a warm-up); medians.",
        "",
        "| | measured | target |",
        "|---|---|---|",
        f"| GRPO steps a minute, played / recorded world | {median(ratios):.3f} | at least 0.9 |",
        f"| environment, adapter and scoring, share of a step's wall time | {median(shares):.1%} | at most 5% |",
        f"| a step, seconds | {median(steps):.2f} | |",
    ]
    print("\n".join(lines))
    if args.out:
        (RESULTS / "rollout_cost.md").write_text("\n".join(lines) + "\n")
        write_json(RESULTS / "rollout_cost.json", {"command": command, **result})


if __name__ == "__main__":
    main()
