"""What a report lists of each episode, in columns, and of each run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from msgspec import Struct

from mtr_env.evaluate import Group, Interval, RunInfo, Summary
from mtr_env.evaluate.start import Start
from mtr_env.metrics import metrics
from mtr_env.report.explain import Explanation
from mtr_env.reward import Rubric
from mtr_env.trace import BLAME, Trace


class Columns:
    """The episodes of all runs, column by column: half the size of a list of objects, and quick to filter."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return len(self.columns.get("run", ()))

    def add(self, run: int, trace: Trace, why: Explanation) -> None:
        """The row of an episode of run number ``run``."""
        question = trace.question
        blames = [fault.blame for fault in trace.faults]
        row: dict[str, Any] = {
            "run": run,
            "id": question.id,
            "seed": trace.seed,
            "question": question.text,
            "answer": trace.answer,
            "gold": question.answer,
            "family": question.family,
            "hops": "unknown" if question.hops is None else str(question.hops),
            "reward": why.reward,
            **{name: _short(value) for name, value in metrics(trace)._asdict().items()},
            "calls": trace.call_count,
            "steps": len(trace.steps),
            **{blame: blames.count(blame) for blame in dict.fromkeys(BLAME.values())},
            "stop": trace.stop_reason,
        }
        for name, value in row.items():
            self.columns.setdefault(name, []).append(value)


def _short(value: float) -> float:
    return round(value, 4)


class BarGroup(Struct, frozen=True):
    """What the charts show of a group; ``Summary`` has all of it."""

    episodes: int
    scored: int
    em: float | None


class Bar(Struct, frozen=True):
    """A group of episodes: a family, or a number of hops."""

    name: str
    group: BarGroup
    interval: Interval | None
    """Of its EM, 95%."""


class Run(Struct, frozen=True):
    """A run as the report shows it. ``folder`` is the last part of its path only."""

    label: str
    folder: str
    summary: Summary
    families: list[Bar]
    hops: list[Bar]
    rubric: dict[str, Any] | None
    """How the total is put together, ``None`` where the traces were paid by several rubrics."""
    command: tuple[str, ...]
    starts: tuple[Start, ...]
    """The first one first; empty where ``run.json`` does not tell."""


def run_of(folder: str, label: str, summary: Summary, info: RunInfo | None, rubric: Rubric | None) -> Run:
    """A run from its summary and its ``run.json``, if it has one."""
    return Run(
        label=label,
        folder=folder,
        summary=summary,
        families=_bars(summary.families),
        hops=_bars(summary.hops),
        rubric=None if rubric is None else _formula(rubric),
        command=info.command if info is not None else (),
        starts=info.starts if info is not None else (),
    )


def _formula(rubric: Rubric) -> dict[str, Any]:
    weights = {name: rubric.weights.get(name, 1.0) for name in rubric.consistency}
    return {
        "name": rubric.name,
        "form": rubric.form,
        "weight": rubric.weight if rubric.consistency else 0.0,
        "weights": weights,
    }


def _bars(groups: Mapping[str, Group]) -> list[Bar]:
    return [
        Bar(name, BarGroup(group.episodes, group.scored, group.em), group.em_interval) for name, group in groups.items()
    ]


def labels(names: Iterable[tuple[str | None, str]]) -> list[str]:
    """What each run (its policy and its folder) is called: the policy, or its folder where several runs have the same
    one; of a model its own name, as the policy's holds all its settings.

    >>> labels([("oracle", "a"), ("chaser", "b"), ("chaser", "c"), (None, "d")])
    ['oracle', 'b', 'c', 'd']
    >>> labels([("auto(org/m(temperature=0, max_output_tokens=9), native)", "a"), ("local(runs/sft, weights=0f)", "b")])
    ['org/m', 'sft']
    """
    pairs = [(folder if policy is None else _short_name(policy), folder) for policy, folder in names]
    policies = [policy for policy, _ in pairs]
    said = [policy if policies.count(policy) == 1 else folder for policy, folder in pairs]
    return [name if said.count(name) == 1 else f"{name}, run {i}" for i, name in enumerate(said, 1)]


_MODEL = re.compile(r"(auto|local)\(([^(),]+)[(,]")


def _short_name(policy: str) -> str:
    """The model's name in that of :class:`~mtr_env.policies.chat.AutoAgent` and
    :class:`~mtr_env.policies.local.LocalModel`; any other policy's as it is."""
    found = _MODEL.match(policy)
    if found is None:
        return policy
    return found[2] if found[1] == "auto" else PurePath(found[2]).name
