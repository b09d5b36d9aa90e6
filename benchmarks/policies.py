"""Which policy is how good? A leaderboard for each world: built-in policies, one of yours, a model behind an endpoint.

    python -m benchmarks.policies                     # the built-in ones in all five worlds
    python -m benchmarks.policies --policies chat --policy-model MODEL --policy-base-url URL --policy-temperature 0
    python -m benchmarks.policies --policies my_module:searcher --env-ids MTR-HotpotQA-v0 --limit 100

The questions are those of `benchmarks.worlds`. Each policy plays each question once, with the rules' defaults; traces
go to `--out`, where an interrupted run goes on. The rows go to `benchmarks/results/policies.{md,json}`, with a plot;
those of other policies on the same questions stay, each with its own command, date and machine: those of the run's last
start that played an episode. Published numbers of
others (`benchmarks/published.py`) stand in a block of their own.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.plots import Mark, draw
from benchmarks.published import COLUMNS, PROTOCOLS, READ, SYSTEMS, block
from benchmarks.questions import DATA, Questions, choose
from benchmarks.report import RESULTS
from mtr_env.cli.progress import Progress
from mtr_env.errors import MTRError
from mtr_env.evaluate import Interval, RunInfo, Summary, read_info, run, write_json
from mtr_env.llm.endpoint import without_credentials
from mtr_env.plugs import PlayerOptions, option, player
from mtr_env.policies import POLICY_NAMES
from mtr_env.registration import ENV_IDS
from train.options import parse


@dataclass
class Args(PlayerOptions):
    """Who plays which questions."""

    policies: str = option(",".join(POLICY_NAMES), "names as `mtr-env run --policy` takes them, with commas between")
    env_ids: str = option(",".join(ENV_IDS), "the worlds, with commas between")
    limit: int | None = option(None, "the first so many questions of each world (all; synthetic: 500)")
    seed: int = option(0, "of the first episode")
    concurrency: int = option(64, "episodes at a time, where a policy waits for an endpoint")
    data: Path = option(DATA, "a folder of data sets")
    out: Path = option(Path("runs/policies"), "a folder for the traces")
    results: Path = option(RESULTS, "a folder for the tables")


class Row(msgspec.Struct):
    """One policy in one world: means in [0, 1] over scored episodes with 95% intervals, ``None`` without any."""

    env_id: str
    questions_from: str
    fingerprint: str
    policy: str
    episodes: int
    unscored: int
    em: float | None
    em_interval: Interval | None
    f1: float | None
    reward: float | None
    reward_interval: Interval | None
    parts: dict[str, float | None]
    calls: float | None
    faults: dict[str, int]
    rules: str
    """Grammar, steps, rubric, ToolMaker and ToolActor."""
    seed: int
    command: str
    date: str
    machine: dict[str, Any]


class Table(msgspec.Struct):
    """The file: our rows; the numbers of others are beside them under another name."""

    rows: list[Row] = []


def play(questions: Questions, policy: str, args: Args, command: str) -> Row:
    """One policy in one world. Raises ``SystemExit`` with the reason when it cannot be played."""
    try:
        game = questions.game()
        plays, name = player(policy, args, game, args.concurrency)
        folder = args.out / questions.env_id / "".join([c if c.isalnum() or c in "-." else "_" for c in name])
        with Progress("episodes") as progress:
            summary = run(
                game,
                plays,
                folder,
                policy_name=name,
                command=shlex.split(command),
                seed=args.seed,
                concurrency=args.concurrency,
                on_episode=lambda done, total, trace: progress(done, total, f"{questions.env_id} {name}"),
            )
        info = read_info(folder / "run.json")
    except (ValueError, ImportError, MTRError) as error:
        raise SystemExit(str(error)) from error
    return row(summary, questions, name, args.seed, command, info)


def row(summary: Summary, questions: Questions, policy: str, seed: int, command: str, info: RunInfo | None) -> Row:
    """What a table says of a run; ``info`` says when and where it was played."""
    s = summary
    command, date, machine = _played(info, command)
    return Row(
        env_id=questions.env_id,
        questions_from=questions.label,
        fingerprint=s.fingerprint or "",
        policy=policy,
        episodes=s.episodes,
        unscored=s.unscored,
        em=s.metrics["em"],
        em_interval=s.intervals["em"],
        f1=s.metrics["f1"],
        reward=s.reward,
        reward_interval=s.intervals["reward"],
        parts=s.parts,
        calls=s.calls_per_episode,
        faults=s.faults,
        rules=f"grammar {s.grammar}, {s.max_steps} steps, rubric {s.rubric}, tools {s.tool_maker}, played by "
        f"{s.tool_actor}",
        seed=seed,
        command=command,
        date=date,
        machine=machine,
    )


def _played(info: RunInfo | None, command: str) -> tuple[str, str, dict[str, Any]]:
    """Command, day and machine of the last start of a run; a folder of an older version does not say, and ``command``
    stands for its own."""
    if info is None or not info.starts:
        return command, "date unknown", {}
    start = info.starts[-1]
    where = start.machine
    machine = {
        "cores": where.processors,
        "system": where.system.partition("-")[0],
        "python": where.python,
        "mtr-env": start.version,
    }
    return (
        shlex.join(start.command) or command,
        start.date[:10],
        machine | ({} if where.accelerator is None else {"accelerator": where.accelerator}),
    )


def read(path: Path) -> list[Row]:
    """The rows of the runs before."""
    return msgspec.json.decode(path.read_bytes(), type=Table).rows if path.exists() else []


def write(folder: Path, rows: Sequence[Row]) -> None:
    """The tables and the plot."""
    folder.mkdir(parents=True, exist_ok=True)
    others = {"systems": SYSTEMS, "columns": COLUMNS, "protocols": PROTOCOLS, "read": READ}
    write_json(folder / "policies.json", {"rows": rows, "published_by_others": others})
    (folder / "policies.md").write_text(markdown(rows), encoding="utf-8")
    marks: dict[str, dict[str, Mark]] = {}
    for one in rows:
        if one.em is not None:
            marks.setdefault(one.env_id, {})[one.policy] = Mark(one.em, one.em_interval)
    draw(folder / "policies.svg", "Exact match, with 95% intervals", "exact match", marks)


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """New rows, and the old ones of other policies or other worlds. Where a world was played by other questions or
    rules than now, its old rows go: numbers of different questions never stand in one table."""
    now = {row.env_id: (row.fingerprint, row.rules, row.seed) for row in new}
    played = {(row.env_id, row.policy) for row in new}
    kept = [
        row
        for row in old
        if (row.env_id, row.policy) not in played
        and now.get(row.env_id) in (None, (row.fingerprint, row.rules, row.seed))
    ]
    order = {env_id: place for place, env_id in enumerate(ENV_IDS)}
    return sorted([*kept, *new], key=lambda row: (order[row.env_id], -(row.em or 0.0), row.policy))


def markdown(rows: Sequence[Row]) -> str:
    """A table for each world, how each row was made, and the published block."""
    lines = [
        "# Policies",
        "",
        "Means over scored episodes, with 95% intervals. *oracle* plans from the gold evidence: it says what can be "
        "reached, and competes with nobody.",
        "",
        "![Exact match of each policy in each world](policies.svg)",
        "",
    ]
    for env_id in dict.fromkeys(row.env_id for row in rows):
        here = [row for row in rows if row.env_id == env_id]
        one = here[0]
        lines += [
            f"## {env_id}",
            "",
            f"{one.questions_from}, {one.episodes} questions, fingerprint "
            f"{one.fingerprint}, seeds {one.seed} to {one.seed + one.episodes - 1}; {one.rules}.",
            "",
            "| policy | exact match | F1 | reward | calls | policy faults | unscored | run |",
            "|---|---|---|---|---|---|---|---|",
            *[_line(row, rows) for row in here],
            "",
        ]
    runs = _runs(rows)
    lines += ["## How these were made", ""]
    lines += [f"{number}. {about}" for about, number in runs.items()]
    return "\n".join([*lines, "", *block()]) + "\n"


def _line(row: Row, rows: Sequence[Row]) -> str:
    faults = sum(row.faults.get(kind, 0) for kind in ("malformed_action", "unknown_tool", "invalid_arguments"))
    cells = [
        row.policy,
        _cell(row.em, row.em_interval),
        _cell(row.f1),
        _cell(row.reward, row.reward_interval),
        _cell(row.calls),
        str(faults),
        str(row.unscored),
        f"({_runs(rows)[_run(row)]})",
    ]
    return f"| {' | '.join(cells)} |"


def _runs(rows: Sequence[Row]) -> dict[str, int]:
    return {about: number for number, about in enumerate(dict.fromkeys(map(_run, rows)), 1)}


def _run(row: Row) -> str:
    about = ", ".join(f"{key} {value}" for key, value in row.machine.items() if key != "load")
    return f"`{row.command}`, {row.date}; {about or 'machine unknown'}"


def _cell(value: float | None, interval: Interval | None = None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if interval is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def main(argv: list[str] | None = None) -> list[Row]:
    """Plays, and writes the tables; see the module's docstring."""
    args = parse(Args, "policies", (__doc__ or "").partition("\n")[0], argv, "benchmarks")
    given = shlex.join(["python", "-m", "benchmarks.policies", *(sys.argv[1:] if argv is None else argv)])
    command = without_credentials(given)
    unknown = sorted(set(args.env_ids.split(",")) - set(ENV_IDS))
    if unknown:
        raise SystemExit(f"Unknown id {unknown[0]!r}; expected some of {', '.join(ENV_IDS)}.")
    worlds = [choose(env_id, args.limit, args.data) for env_id in args.env_ids.split(",")]
    new = [play(questions, name, args, command) for questions in worlds for name in args.policies.split(",")]
    rows = merged(read(args.results / "policies.json"), new)
    write(args.results, rows)
    print(markdown(rows))
    return new


if __name__ == "__main__":
    main()
