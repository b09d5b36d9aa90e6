"""Are the worlds any good? One table of all five: provable share, leaks, short cuts, tools, validity, throughput.

    python -m benchmarks.worlds               # every question there is
    python -m benchmarks.worlds --limit 50

The questions are the public development ones of `../shared/data` where that folder exists, else the bundled samples;
the table says which. `mtr_env.audit` plays the oracle and the short cuts on each. *Throughput* is the oracle's
episodes played again from a record, tool steps and answers with their scoring, in steps a second of CPU time on one
core: *first* in a world that nobody has played yet, *again* the median of three more passes. The table, the figures
and a plot go to `benchmarks/results/worlds.{md,json,svg}`; no text of a question does.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any

import msgspec

from benchmarks.plots import Mark, draw
from benchmarks.questions import DATA, Questions, every
from benchmarks.report import RESULTS, machine
from mtr_env.audit import ShortCut, audit
from mtr_env.cli.progress import Progress
from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.evaluate import Interval, wilson, write_json
from mtr_env.policies import make_policy
from mtr_env.rollout import play

PASSES = 3
PLAYED = 200  # questions of a world whose episodes are timed


class Row(msgspec.Struct):
    """One world: counts, means in [0, 1], steps a second."""

    questions_from: str
    fingerprint: str
    questions: int
    provable: int
    provable_interval: Interval | None
    leaks: int
    toolset_problems: int
    oracle_reward: float | None
    short_cuts: dict[str, ShortCut]
    tools_per_question: float | None
    responses: int
    invalid_responses: int
    steps_per_second_first: float
    steps_per_second_again: float
    warnings: int
    """Of the audit, each of which `mtr-env audit` prints."""
    oracle_reward_interval: Interval | None = None


class Report(msgspec.Struct):
    """One run."""

    command: str
    date: str
    seed: int
    machine: dict[str, Any]
    worlds: dict[str, Row]


def row(questions: Questions, seed: int) -> Row:
    """One world's audit and throughput."""
    with Progress("questions") as progress:
        found = audit(
            questions.game(),
            seed=seed,
            on_question=lambda done, total, provable: progress(done, total, questions.env_id),
        )
    first, again = throughput(questions.game, seed)
    return Row(
        questions_from=questions.label,
        fingerprint=found.fingerprint,
        questions=found.questions,
        provable=found.provable,
        provable_interval=wilson(found.provable, found.questions),
        leaks=found.leaks,
        toolset_problems=len(found.toolset_problems),
        oracle_reward=found.oracle_reward,
        short_cuts=found.short_cuts,
        tools_per_question=found.tools_per_question,
        responses=found.responses,
        invalid_responses=found.invalid_responses,
        steps_per_second_first=first,
        steps_per_second_again=again,
        warnings=len(found.warnings),
        oracle_reward_interval=found.oracle_reward_interval,
    )


def throughput(make: Callable[[], Game], seed: int) -> tuple[float, float]:
    """Steps a second of CPU time, in a world that nobody has played yet and in one that was played."""
    game = make()
    env, oracle = MTREnv(game), make_policy("oracle", game.grammar, actor=game.tool_actor)
    ids = game.world.ids[:PLAYED]
    traces = [play(env, oracle, question_id=question_id, seed=seed) for question_id in ids]
    episodes = [(trace.question.id, [step.action for step in trace.steps]) for trace in traces]
    steps = sum(len(actions) for _, actions in episodes)
    env = MTREnv(make())
    rates = [steps / _seconds(env, episodes, seed) for _ in range(1 + PASSES)]
    return rates[0], median(rates[1:])


def _seconds(env: MTREnv, episodes: Sequence[tuple[str, Sequence[str]]], seed: int) -> float:
    start = thread_time()
    for question_id, actions in episodes:
        env.reset(seed=seed, options={"question_id": question_id})
        for action in actions:
            env.step(action)
    return thread_time() - start


def markdown(report: Report) -> str:
    """The table."""
    cuts = list(dict.fromkeys(name for found in report.worlds.values() for name in found.short_cuts))
    about = ", ".join(f"{key} {value}" for key, value in report.machine.items())
    lines = [
        "# Worlds",
        "",
        f"`{report.command}`, {report.date}, seed {report.seed}; {about}.",
        "",
        "*Provable*: questions that the oracle, which copies every word from what it saw, answers rightly with reward "
        "1.0. *Leaks*: words of tools that give an answer away. Short cuts: mean reward over scored episodes, exact "
        "match in brackets; the oracle's reward beside them. *Valid*: responses that fit the tool's own schema. Steps "
        "a second of CPU time on one core, replayed: first in a world that nobody has played, then again.",
        "",
        f"| world | questions | provable | leaks | oracle | {' | '.join(cuts)} | tools a question | valid responses "
        "| steps/s, first | again |",
        f"|{'---|' * (9 + len(cuts))}",
    ]
    for env_id, one in report.worlds.items():
        cells = [
            env_id,
            f"{one.questions} ({one.questions_from})",
            f"{one.provable} ({one.provable / one.questions:.1%})",
            str(one.leaks),
            _number(one.oracle_reward),
            *[_short_cut(one.short_cuts.get(name)) for name in cuts],
            _number(one.tools_per_question, 1),
            f"{one.responses - one.invalid_responses:,} of {one.responses:,}",
            f"{one.steps_per_second_first:,.0f}",
            f"{one.steps_per_second_again:,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    prints = "; ".join(f"{env_id} {one.fingerprint}" for env_id, one in report.worlds.items())
    return "\n".join(
        [*lines, "", f"Fingerprints: {prints}.", "", "![What short cuts earn in each world](worlds.svg)", ""]
    )


def _short_cut(found: ShortCut | None) -> str:
    if found is None:
        return ""
    unscored = f", {found.unscored} unscored" if found.unscored else ""
    return f"{_number(found.reward)} ({_number(found.em)}{unscored})"


def _number(value: float | None, digits: int = 2) -> str:
    return "unscored" if value is None else f"{value:.{digits}f}"


def plot(report: Report, path: Path) -> None:
    """What the oracle and the short cuts earn in each world."""
    marks = {}
    for env_id, one in report.worlds.items():
        rewards = {"oracle": (one.oracle_reward, one.oracle_reward_interval)}
        rewards |= {name: (cut.reward, cut.reward_interval) for name, cut in one.short_cuts.items()}
        marks[env_id] = {name: Mark(value, found) for name, (value, found) in rewards.items() if value is not None}
    draw(path, "What short cuts earn, with 95% intervals", "mean reward", marks)


def main(argv: Sequence[str] | None = None) -> Report:
    """Prints the table; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worlds", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--limit", type=int, help="the first so many questions of each world (all; synthetic: 500)")
    parser.add_argument("--seed", type=int, default=0, help="of the first episode")
    parser.add_argument("--data", type=Path, default=DATA, help=f"a folder of data sets ({DATA})")
    parser.add_argument("--results", type=Path, default=RESULTS, help="a folder for the tables")
    args = parser.parse_args(argv)
    command = shlex.join(["python", "-m", "benchmarks.worlds", *(sys.argv[1:] if argv is None else argv)])
    worlds = {questions.env_id: row(questions, args.seed) for questions in every(args.limit, args.data)}
    report = Report(command, f"{datetime.now(UTC):%Y-%m-%d}", args.seed, machine(), worlds)
    print(markdown(report))
    args.results.mkdir(parents=True, exist_ok=True)
    write_json(args.results / "worlds.json", report)
    (args.results / "worlds.md").write_text(markdown(report), encoding="utf-8")
    plot(report, args.results / "worlds.svg")
    return report


if __name__ == "__main__":
    main()
