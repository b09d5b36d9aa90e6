"""The runs of a comparison: what each is, and whether they can be compared at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from mtr_env.errors import DatasetError
from mtr_env.evaluate.folder import Say, read_each_once, read_info, setup_identity, traces_file, why_worlds_differ
from mtr_env.evaluate.spending import UsageLine, read_usage
from mtr_env.evaluate.summary import Row, row_of
from mtr_env.question import WorldInfo
from mtr_env.reward import Rubric, get_rubric

FREE = ("grammar", "version")
"""What may differ between runs that are compared, and is said."""


class Side(Struct, frozen=True):
    """One of the runs. ``policy`` is ``None`` where no ``run.json`` says it, ``seed`` the smallest episode seed."""

    path: str
    policy: str | None
    episodes: int
    unscored: int
    seed: int
    grammar: str
    version: str


class Played(Struct, frozen=True):
    """A run's episodes, and what they have in common."""

    side: Side
    rows: list[Row]
    identity: dict[str, Any]
    world: WorldInfo
    questions: int | None
    """Of the world; ``None`` where no ``run.json`` says it."""
    used: dict[tuple[str, int], UsageLine]
    """By question and seed: the last time that the episode was played."""

    def by_question(self) -> dict[str, dict[int, Row]]:
        """By id, and by seed in order."""
        found: dict[str, dict[int, Row]] = {}
        for row in sorted(self.rows, key=lambda row: row.seed):
            found.setdefault(row.question_id, {})[row.seed] = row
        return found


def read_run(path: str | os.PathLike[str], rubric: str | Rubric | None, say: Say) -> Played:
    """A run's folder or file of traces. Raises :class:`DatasetError` where it holds none, episodes of several set-ups,
    or two different ones of the same question and seed."""
    file = traces_file(path)
    info = read_info(file.with_name("run.json"))
    rows: list[Row] = []
    found: dict[str, set[Any]] = {}
    world = WorldInfo("", "", "", "")
    for trace in read_each_once(file, say):
        rows.append(row_of(trace, rubric))
        world = trace.setup.world
        for name, value in setup_identity(trace.setup).items():
            found.setdefault(name, set()).add(value)
    if not rows:
        raise DatasetError(f"{file} holds no finished episode.")
    if rubric is not None:
        found["rubric"] = {get_rubric(rubric).name}
    for name, values in found.items():
        if len(values) > 1:
            raise DatasetError(f"{file} holds episodes of more than one {_said(name)}: {', '.join(map(repr, values))}.")
    _refuse_twice(rows, os.fspath(file), ", played differently: nobody can say which of them is half of a pair")
    identity = {name: values.pop() for name, values in found.items()}
    free = {name: identity.pop(name) for name in FREE}
    side = Side(
        os.fspath(path),
        info.policy if info else None,
        len(rows),
        sum(row.reward is None for row in rows),
        min(row.seed for row in rows),
        **free,
    )
    usage = read_usage(file.with_name("usage.jsonl")) if file.name == "traces.jsonl" else ()
    questions = info.questions if info else None
    return Played(side, rows, identity, world, questions, {(line.question_id, line.seed): line for line in usage})


def _said(name: str) -> str:
    return {"world": "world fingerprint"}.get(name, name)


def _refuse_twice(rows: Iterable[Row], where: str, why: str) -> None:
    seen: set[tuple[str, int]] = set()
    for row in rows:
        if (row.question_id, row.seed) in seen:
            raise DatasetError(f"{where}: question {row.question_id!r} with seed {row.seed} stands there twice{why}.")
        seen.add((row.question_id, row.seed))


def refuse_other(first: Played, other: Played) -> None:
    """Raises :class:`DatasetError` that says what differs where the second cannot be compared with the first."""
    differences = [
        f"{_said(name)} is {value!r} in {first.side.path} and {other.identity[name]!r} in {other.side.path}"
        f"{why_worlds_differ(first.world, other.world, (first.questions, other.questions)) * (name == 'world')}"
        for name, value in first.identity.items()
        if other.identity[name] != value
    ]
    if differences:
        hint = " --rubric NAME scores both by one." if first.identity["rubric"] != other.identity["rubric"] else ""
        raise DatasetError(f"These runs cannot be compared: {'; '.join(differences)}.{hint}")


def noise_of_runs(runs: Sequence[Played], first: Played) -> Played:
    """The runs that show the noise, as one."""
    for run in runs:
        refuse_other(first, run)
    policies = {run.side.policy for run in runs}
    if len(policies) > 1:
        raise DatasetError(f"The noise is that of one policy; these are of {', '.join(sorted(map(str, policies)))}.")
    rows = [row for run in runs for row in run.rows]
    _refuse_twice(rows, "the runs that show the noise", "; the same episode again says nothing new")
    merged = replace(runs[0], rows=rows)
    if max(map(len, merged.by_question().values())) < 2:
        raise DatasetError("The noise shows where a question was played more than once: give runs with other seeds.")
    return merged
