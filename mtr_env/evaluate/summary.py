"""What came of some episodes: means over the scored ones, with 95% intervals, and unscored ones counted beside them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from msgspec import Struct

from mtr_env.metrics import Metrics, metrics
from mtr_env.reward import Rubric, get_rubric, score
from mtr_env.trace import Setup, Trace

Interval = tuple[float, float]
_REASONS = 20
_Z = 1.959963984540054  # 97.5% of the normal distribution lies below


def mean(values: Sequence[float]) -> float | None:
    """The mean, or ``None`` of nothing; the order of the values changes no bit of it."""
    return math.fsum(values) / len(values) if values else None


def wilson(successes: float, n: int) -> Interval | None:
    """The 95% Wilson score interval of a share, ``None`` when ``n`` is 0.

    >>> [round(bound, 4) for bound in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    if not n:
        return None
    share, z2 = successes / n, _Z * _Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return (max(0.0, centre - half) if successes else 0.0, min(1.0, centre + half) if successes < n else 1.0)


def mean_interval(values: Sequence[float]) -> Interval | None:
    """A 95% interval of the mean of numbers in [0, 1], ``None`` of nothing.

    The normal interval after adding two observations of 0 and two of 1 (Agresti and Coull's "plus four", for any
    numbers in [0, 1]). So 24 rewards of 1.0 do not claim to prove a mean of exactly 1.0, as a plain normal or a
    bootstrap interval would; it always holds the plain mean, and errs on the wide side.

    >>> [round(bound, 2) for bound in mean_interval([1.0] * 24)]
    [0.83, 1.0]
    """
    if not values:
        return None
    padded = [*values, 0.0, 0.0, 1.0, 1.0]
    n = len(padded)
    centre = math.fsum(padded) / n
    half = _Z * math.sqrt(math.fsum((value - centre) ** 2 for value in padded)) / n
    return max(0.0, centre - half), min(1.0, centre + half)


def interval(values: Sequence[float]) -> Interval | None:
    """A 95% interval of the mean of numbers in [0, 1]: :func:`wilson` where each is 0 or 1, else
    :func:`mean_interval`; ``None`` of nothing. So a number has one interval, whatever it is called.

    >>> interval([1, 1, 0]) == wilson(2, 3), interval([0.5]) == mean_interval([0.5])
    (True, True)
    """
    if all(value in (0, 1) for value in values):
        return wilson(sum(values), len(values))
    return mean_interval(values)


class Group(Struct, frozen=True):
    """Some of the episodes; the means are over the scored ones and ``None`` when there is none."""

    episodes: int
    scored: int
    em: float | None
    reward: float | None


class Summary(Struct, frozen=True):
    """What came of some episodes. All means are in [0, 1], over scored episodes, and ``None`` when none is scored; a
    part's mean is over those to which it applies. Intervals are 95% (:func:`interval`). What differs between the traces
    (after joining files) is ``None``.
    """

    episodes: int
    scored: int
    unscored: int
    metrics: dict[str, float | None]
    reward: float | None
    parts: dict[str, float | None]
    intervals: dict[str, Interval | None]
    part_intervals: dict[str, Interval | None]
    calls_per_episode: float | None
    """Mean number of well-formed tool calls."""
    tool_productivity: float | None
    """Correct answers per tool call; ``None`` when no call was made."""
    faults: dict[str, int]
    """How many of each kind, over all episodes."""
    stop_reasons: dict[str, int]
    unscored_reasons: dict[str, int]
    """The most frequent ones (20 at most)."""
    families: dict[str, Group]
    hops: dict[str, Group]
    """By the number of hops as text; ``"unknown"`` where the data set does not say."""
    env_id: str | None
    policy: str | None
    split: str | None
    source: str | None
    fingerprint: str | None
    world: str | None
    tool_maker: str | None
    tool_actor: str | None
    grammar: str | None
    rubric: str | None
    max_steps: int | None
    seed: int | None
    """The smallest episode seed: the one that the run was given."""
    version: str | None


class _Row(Struct, frozen=True, gc=False):
    """What the summary needs of one episode; ``reward`` is ``None`` when it is unscored."""

    family: str
    hops: str
    metrics: Metrics
    reward: float | None
    parts: dict[str, float | None]
    calls: int


def summarize(traces: Iterable[Trace], rubric: str | Rubric | None = None, policy: str | None = None) -> Summary:
    """Scores finished traces and summarizes them; holds one trace at a time.

    ``rubric`` is the one named in each trace unless given. Raises ``ValueError`` for an unknown rubric.
    """
    rows: list[_Row] = []
    faults, stops, reasons = Counter[str](), Counter[str](), Counter[str]()
    setups: dict[Setup, None] = {}
    seed: int | None = None
    for trace in traces:
        reward = score(trace, rubric or trace.setup.rubric)
        question = trace.question
        hops = "unknown" if question.hops is None else str(question.hops)
        rows.append(_Row(question.family, hops, metrics(trace), reward.total, reward.parts, trace.call_count))
        faults.update([fault.kind for fault in trace.faults])
        stops[trace.stop_reason or "unfinished"] += 1
        if reward.total is None:
            reasons[reward.unscored or "unknown"] += 1
        setups[trace.setup] = None
        seed = trace.seed if seed is None else min(seed, trace.seed)
    scored = [row for row in rows if row.reward is not None]
    columns: dict[str, list[float]] = {name: [getattr(row.metrics, name) for row in scored] for name in Metrics._fields}
    columns["reward"] = [row.reward for row in scored if row.reward is not None]
    parts: dict[str, list[float]] = {name: [] for row in scored for name in row.parts}
    for row in scored:
        for name, value in row.parts.items():
            if value is not None:
                parts[name].append(value)
    calls = sum(row.calls for row in scored)
    return Summary(
        episodes=len(rows),
        scored=len(scored),
        unscored=len(rows) - len(scored),
        metrics={name: mean(columns[name]) for name in Metrics._fields},
        reward=mean(columns["reward"]),
        parts={name: mean(values) for name, values in parts.items()},
        intervals={name: interval(values) for name, values in columns.items()},
        part_intervals={name: interval(values) for name, values in parts.items()},
        calls_per_episode=calls / len(scored) if scored else None,
        tool_productivity=sum(columns["em"]) / calls if calls else None,
        faults=dict(faults.most_common()),
        stop_reasons=dict(stops.most_common()),
        unscored_reasons=dict(reasons.most_common(_REASONS)),
        families=_groups(rows, lambda row: row.family),
        hops=_groups(rows, lambda row: row.hops),
        env_id=_common(setup.env_id for setup in setups),
        policy=policy,
        split=_common(setup.world.split for setup in setups),
        source=_common(setup.world.source for setup in setups),
        fingerprint=_common(setup.world.fingerprint for setup in setups),
        world=_common(setup.world.name for setup in setups),
        tool_maker=_common(setup.tool_maker for setup in setups),
        tool_actor=_common(setup.tool_actor for setup in setups),
        grammar=_common(setup.grammar for setup in setups),
        rubric=get_rubric(rubric).name if rubric is not None else _common(setup.rubric for setup in setups),
        max_steps=_common(setup.max_steps for setup in setups),
        seed=seed,
        version=_common(setup.version for setup in setups),
    )


def _groups(rows: Sequence[_Row], name: Callable[[_Row], str]) -> dict[str, Group]:
    groups: dict[str, list[_Row]] = {}
    for row in rows:
        groups.setdefault(name(row), []).append(row)
    return {name: _group(groups[name]) for name in sorted(groups)}


def _group(rows: Sequence[_Row]) -> Group:
    rewards = [row.reward for row in rows if row.reward is not None]
    ems = [row.metrics.em for row in rows if row.reward is not None]
    return Group(len(rows), len(rewards), mean(ems), mean(rewards))


T = TypeVar("T")


def _common(values: Iterable[T]) -> T | None:
    found = set(values)
    return found.pop() if len(found) == 1 else None
