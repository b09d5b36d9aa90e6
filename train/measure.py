"""Measures a checkpoint: it plays held-out questions, and the summary is that of any other policy.

    python -m train.measure --model runs/sft --split test --grammar hermes-compact --episodes 500

All episodes go on in lock step; ``--temperature 0`` is greedy. ``well_formed`` is the share of episodes in which every
action was valid, at least one call was made and an answer was given.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtr_env.adapters.trl import Rollouts, Sampler
from mtr_env.errors import PromptError
from mtr_env.evaluate import summarize, write_json
from mtr_env.trace import Trace, encode
from train.models import load
from train.options import PlayOptions, check_extra, option, parse, said_plainly


@dataclass
class Args(PlayOptions):
    """Which model plays what."""

    model: str = option("runs/sft", "a checkpoint folder, or a hub id")
    episodes: int = option(500, "questions to play, each once")
    temperature: float = option(0.0, "of sampling; 0 is greedy")
    batch: int = option(128, "episodes that go on together")
    out: Path | None = option(None, "a folder for summary.json and traces.jsonl")


def well_formed(trace: Trace) -> bool:
    """Every action valid, at least one call, an answer."""
    return not trace.faults and trace.call_count > 0 and trace.answer is not None


def play_all(rollouts: Rollouts, sample: Sampler, episodes: int, seed: int, batch: int) -> list[Trace]:
    """The traces of the first ``episodes`` questions, each played once. Raises ``SystemExit`` where prompts leave no
    room for an action."""
    ids = rollouts.game.world.ids[:episodes]
    traces: list[Trace] = []
    for start in range(0, len(ids), batch):
        starts = [(i, seed + n) for n, i in enumerate(ids[start : start + batch], start)]
        with said_plainly(PromptError):
            traces += [episode.trace for episode in rollouts.play(starts, sample)]
    return traces


def summary_of(traces: Sequence[Trace]) -> dict[str, Any]:
    """``em``, ``f1``, ``reward``, ``well_formed``, ``episodes`` and more; see ``mtr_env.evaluate.summarize``."""
    # An episode that the token budget ended is an episode without an answer, not one that is unfinished.
    summary = summarize([trace for trace in traces if trace.stop_reason is not None])
    cut = sum(trace.stop_reason is None for trace in traces)
    share = (len(traces) - cut) / len(traces)
    return {
        "em": (summary.metrics["em"] or 0.0) * share,
        "f1": (summary.metrics["f1"] or 0.0) * share,
        "reward": (summary.reward or 0.0) * share,
        "well_formed": sum(map(well_formed, traces)) / len(traces),
        "episodes": len(traces),
        "cut": cut,
        "unscored": summary.unscored,
        "em_by_hops": {name: group.em for name, group in summary.hops.items()},
        "em_by_family": {name: group.em for name, group in summary.families.items()},
        "parts": summary.parts,
        "calls_per_episode": sum(trace.call_count for trace in traces) / len(traces),
    }


def run(args: Args) -> dict[str, Any]:
    """Plays and summarizes; writes to ``args.out`` when it is given."""
    check_extra("measure")
    game = args.game(args.episodes)
    import torch

    from train.sampler import CachedSampler

    torch.manual_seed(args.seed)
    model, tokenizer = load(args.model, args.max_tokens, args.grammar)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    sample = CachedSampler(model, tokenizer, args.temperature)
    rollouts = Rollouts(game, tokenizer, **args.limits())
    began = time.perf_counter()
    traces = play_all(rollouts, sample, args.episodes, args.seed, args.batch)
    result = summary_of(traces) | {
        "model": args.model,
        "temperature": args.temperature,
        "seed": args.seed,
        "world": game.world.info.source,
        "fingerprint": game.world.info.fingerprint,
        "seconds": time.perf_counter() - began,
    }
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "traces.jsonl").write_bytes(b"".join([encode(trace) + b"\n" for trace in traces]))
        write_json(args.out / "summary.json", result)
    return result


def main(argv: list[str] | None = None) -> None:
    """Runs the measurement and prints its summary."""
    print(json.dumps(run(parse(Args, "measure", __doc__.split("\n", 1)[0], argv)), indent=2))


if __name__ == "__main__":
    main()
