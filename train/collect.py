"""Collects traces for supervised fine-tuning: a teacher plays, good episodes are kept, duplicates are not.

    python -m train.collect --recipe tiny
    python -m train.collect --env-id MTR-HotpotQA-v0 --source FILE --teacher oracle --out runs/traces

The folder holds ``traces.jsonl`` (as ``mtr-env run`` writes it, so an interrupted collection goes on where it stopped)
and ``sft.jsonl`` (chat messages with tools, one conversation a line).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agents.neutral import NeutralTeacher
from mtr_env.episode import Game
from mtr_env.evaluate import read_traces, run
from mtr_env.policies.base import EpisodicPolicy
from mtr_env.reward import score
from mtr_env.trace import Trace
from mtr_env.transcript import messages
from train.options import WorldOptions, option, parse


@dataclass
class Args(WorldOptions):
    """What is collected."""

    teacher: str = option("neutral", "neutral (the oracle's plan with detours) or oracle")
    p_gold: float = option(0.5, "how often the neutral teacher makes the plan's next call")
    thoughts: bool = option(False, "write the question that a call asks before each call of the plan")
    episodes: int = option(1000, "episodes to play")
    least_reward: float = option(0.0, "keep an episode when its reward is above this")
    seed: int = option(0, "the first episode's seed")
    out: Path = option(Path("runs/traces"), "the folder")


def make_teacher(args: Args, game: Game) -> EpisodicPolicy:
    """The policy that plays; raises ``SystemExit`` for an unknown name."""
    if args.teacher in ("neutral", "oracle"):
        p_gold = args.p_gold if args.teacher == "neutral" else 1.0  # the oracle makes no detour
        return NeutralTeacher(game.grammar, p_gold, args.seed, game.tool_actor, args.thoughts)
    raise SystemExit(f"Unknown teacher {args.teacher!r}; expected 'neutral' or 'oracle'.")


def policy_name(args: Args) -> str:
    """What stands in the record: the teacher with everything that its actions depend on."""
    settings = [f"{args.p_gold:g}"] if args.teacher == "neutral" else []
    settings += ["thoughts"] if args.thoughts else []
    return f"{args.teacher}({', '.join(settings)})" if settings else args.teacher


def kept(traces: Iterator[Trace], least_reward: float) -> Iterator[Trace]:
    """The traces whose reward is above ``least_reward``, each sequence of actions on a question once."""
    seen: set[tuple[str, ...]] = set()
    for trace in traces:
        total = score(trace).total
        key = (trace.question.id, *[step.action for step in trace.steps])
        if total is not None and total > least_reward and key not in seen:
            seen.add(key)
            yield trace


def main(argv: list[str] | None = None) -> None:
    """Runs the collection."""
    args = parse(Args, "collect", __doc__.split("\n", 1)[0], argv)
    game = args.game(args.episodes)

    def progress(done: int, episodes: int, trace: Trace) -> None:
        if done % 200 == 0 or done == episodes:
            print(f"{done} of {episodes} episodes", flush=True)

    run(
        game,
        make_teacher(args, game),
        args.out,
        policy_name=policy_name(args),
        episodes=args.episodes,
        seed=args.seed,
        on_episode=progress,
    )
    rows = 0
    with (args.out / "sft.jsonl").open("w", encoding="utf-8") as file:
        for trace in kept(read_traces(args.out / "traces.jsonl"), args.least_reward):
            prompt = game.grammar.render_prompt(trace.question.text, trace.toolset)
            row = {
                "question_id": trace.question.id,
                "tools": trace.toolset.openai(),
                "messages": messages(trace, prompt),
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            rows += 1
    print(f"{rows} of {args.episodes} episodes kept: {args.out / 'sft.jsonl'}")


if __name__ == "__main__":
    main()
