"""What came of some episodes: means over the scored ones, with 95% intervals, and unscored ones counted beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from msgspec import Struct

from mtr_env.evaluate.bootstrap import bootstrap_interval, bootstrap_ratio_interval
from mtr_env.evaluate.folder import UNSCORED_ALARM
from mtr_env.evaluate.spending import UsageSummary
from mtr_env.evaluate.statistics import Interval, clustered_interval, interval, mean, pass_at_k, pass_hat_k
from mtr_env.metrics import Metrics, metrics
from mtr_env.reward import Rubric, get_rubric, score
from mtr_env.trace import Setup, Trace

_REASONS = 20
RATES = ("truncated", "policy_fault", "simulator_fault", "infrastructure_fault", "unscored")


class Passes(Struct, frozen=True):
    """Right answers of ``k`` samples: ``any`` is pass@k, the chance that at least one is right, ``all`` is pass^k, that
    each is (unbiased estimates, a mean over the ``questions`` with ``k`` scored samples or more)."""

    k: int
    questions: int
    any: float
    any_interval: Interval | None
    all: float
    all_interval: Interval | None


class Group(Struct, frozen=True):
    """Some of the episodes, a family or a number of hops; the means are over the scored ones and ``None`` when there is
    none. What is called as in :class:`Summary` is the same, of these episodes alone; a folder of an older version lacks
    what has a default here."""

    episodes: int
    scored: int
    em: float | None
    reward: float | None
    em_interval: Interval | None = None
    reward_interval: Interval | None = None
    metrics: dict[str, float | None] = {}
    parts: dict[str, float | None] = {}
    intervals: dict[str, Interval | None] = {}
    part_intervals: dict[str, Interval | None] = {}
    calls_per_episode: float | None = None
    tool_productivity: float | None = None
    questions: int = 0
    samples: int = 1
    passes: tuple[Passes, ...] = ()
    rates: dict[str, float | None] = {}
    rate_intervals: dict[str, Interval | None] = {}


class Summary(Struct, frozen=True):
    """What came of some episodes. All means are in [0, 1], over scored episodes, and ``None`` when none is scored; a
    part's mean is over those to which it applies. Intervals are 95% and over questions
    (:func:`~mtr_env.evaluate.statistics.clustered_interval`): samples of one question are not independent. What differs
    between the traces (after joining files) is ``None``.
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
    questions: int = 0
    """How many different ones were played."""
    samples: int = 1
    """Of the question that was played most often."""
    passes: tuple[Passes, ...] = ()
    """For k = 1, 2, 4, ... and the number of samples; empty where each question was played once."""
    rates: dict[str, float | None] = {}
    """Shares of all episodes: ``truncated`` (ended by ``max_steps``), those with a fault of each blame, unscored."""
    rate_intervals: dict[str, Interval | None] = {}
    alarm: str | None = None
    """What is wrong when too many episodes are unscored."""
    unplayed: int = 0
    """Episodes that the run was asked for and has not played, for want of budget or because it was interrupted."""
    usage: UsageSummary | None = None
    """What the models have used; ``None`` where none was asked."""
    bootstrap_intervals: dict[str, Interval | None] = {}
    """For comparison with other tools, those of the metrics and the reward by
    :func:`~mtr_env.evaluate.bootstrap.bootstrap_interval`; ``intervals`` are the ones to report. Also those of
    ``calls_per_episode`` and ``tool_productivity``, which have no bounds and so no other interval."""
    part_bootstrap_intervals: dict[str, Interval | None] = {}
    """The same of the reward's parts."""


class Row(Struct, frozen=True, gc=False):
    """What the tables need of one episode; ``reward`` is ``None`` when it is unscored, and ``why`` then says why."""

    question_id: str
    seed: int
    family: str
    hops: str
    metrics: Metrics
    reward: float | None
    parts: dict[str, float | None]
    calls: int
    rates: tuple[float, ...]
    """0 or 1 for each of ``RATES``."""
    why: str = ""

    def values(self) -> dict[str, float | None]:
        """The answer metrics, the reward and its parts by name; those of an unscored episode are ``None``."""
        measured = self.metrics._asdict() if self.reward is not None else dict.fromkeys(Metrics._fields)
        return {**measured, "reward": self.reward, **self.parts}


def row_of(trace: Trace, rubric: str | Rubric | None = None) -> Row:
    """Scores a finished trace, by its own rubric unless one is given. Raises ``ValueError`` for an unknown rubric."""
    reward = score(trace, rubric or trace.setup.rubric)
    question = trace.question
    blames = {fault.blame for fault in trace.faults}
    unscored = reward.total is None
    rates = (
        trace.stop_reason == "max_steps",
        *(blame in blames for blame in ("policy", "simulator", "infrastructure")),
        unscored,
    )
    return Row(
        question.id,
        trace.seed,
        question.family,
        "unknown" if question.hops is None else str(question.hops),
        metrics(trace),
        reward.total,
        reward.parts,
        trace.call_count,
        tuple(map(float, rates)),
        (reward.unscored or "unknown") if unscored else "",
    )


def summarize(
    traces: Iterable[Trace],
    rubric: str | Rubric | None = None,
    policy: str | None = None,
    *,
    unscored_alarm: float = UNSCORED_ALARM,
) -> Summary:
    """Scores finished traces and summarizes them; holds one trace at a time.

    ``rubric`` is the one named in each trace unless given; ``unscored_alarm`` the share of unscored episodes above
    which ``Summary.alarm`` says so. Raises ``ValueError`` for an unknown rubric.
    """
    rows: list[Row] = []
    faults, stops = Counter[str](), Counter[str]()
    setups: dict[Setup, None] = {}
    for trace in traces:
        rows.append(row_of(trace, rubric))
        faults.update([fault.kind for fault in trace.faults])
        stops[trace.stop_reason or "unfinished"] += 1
        setups[trace.setup] = None
    reasons = Counter(row.why for row in rows if row.reward is None)
    whole = _group(rows)
    bootstrap_intervals, part_bootstrap_intervals = _bootstrap(rows)
    return Summary(
        episodes=whole.episodes,
        scored=whole.scored,
        unscored=reasons.total(),
        metrics=whole.metrics,
        reward=whole.reward,
        parts=whole.parts,
        intervals=whole.intervals,
        part_intervals=whole.part_intervals,
        calls_per_episode=whole.calls_per_episode,
        tool_productivity=whole.tool_productivity,
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
        seed=min((row.seed for row in rows), default=None),
        version=_common(setup.version for setup in setups),
        alarm=_alarm(len(rows), reasons, unscored_alarm, outages=stops["infrastructure"]),
        questions=whole.questions,
        samples=whole.samples,
        passes=whole.passes,
        rates=whole.rates,
        rate_intervals=whole.rate_intervals,
        bootstrap_intervals=bootstrap_intervals,
        part_bootstrap_intervals=part_bootstrap_intervals,
    )


def _group(rows: Sequence[Row]) -> Group:
    """What is said of these episodes; a :class:`Summary` says it of all."""
    scored = _scored(rows)
    columns, parts = _columns(scored), _parts(scored)
    intervals = {name: _interval(scored, values) for name, values in columns.items()}
    rates = {name: [row.rates[i] for row in rows] for i, name in enumerate(RATES)}
    calls = sum(row.calls for row in scored)
    played = Counter(row.question_id for row in rows)
    samples = max(played.values(), default=1)
    metrics = {name: _mean(columns[name]) for name in Metrics._fields}
    return Group(
        episodes=len(rows),
        scored=len(scored),
        em=metrics["em"],
        reward=_mean(columns["reward"]),
        em_interval=intervals["em"],
        reward_interval=intervals["reward"],
        metrics=metrics,
        parts={name: _mean(values) for name, values in parts.items()},
        intervals=intervals,
        part_intervals={name: _interval(scored, values) for name, values in parts.items()},
        calls_per_episode=calls / len(scored) if scored else None,
        tool_productivity=sum(row.metrics.em for row in scored) / calls if calls else None,
        questions=len(played),
        samples=samples,
        passes=_passes(scored, samples),
        rates={name: mean(values) for name, values in rates.items()},
        rate_intervals={name: _interval(rows, values) for name, values in rates.items()},
    )


def _bootstrap(rows: Sequence[Row]) -> tuple[dict[str, Interval | None], dict[str, Interval | None]]:
    """The bootstrap intervals of a :class:`Summary`, and those of its parts; they take too long for each group."""
    scored = _scored(rows)
    right = _by_question(scored, [row.metrics.em for row in scored])
    calls = _by_question(scored, [float(row.calls) for row in scored])
    found = {name: _resampled(scored, values) for name, values in _columns(scored).items()}
    found["calls_per_episode"] = bootstrap_interval(calls.values())
    found["tool_productivity"] = bootstrap_ratio_interval((sum(right[name]), sum(calls[name])) for name in right)
    return found, {name: _resampled(scored, values) for name, values in _parts(scored).items()}


def _resampled(rows: Sequence[Row], values: Sequence[float | None]) -> Interval | None:
    return bootstrap_interval(_by_question(rows, values).values())


def _scored(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.reward is not None]


def _columns(scored: Sequence[Row]) -> dict[str, list[float | None]]:
    """The answer metrics and the reward of each row."""
    columns: dict[str, list[float | None]] = {}
    for name in Metrics._fields:
        columns[name] = [getattr(row.metrics, name) for row in scored]
    return {**columns, "reward": [row.reward for row in scored]}


def _parts(scored: Sequence[Row]) -> dict[str, list[float | None]]:
    """The reward's parts of each row, ``None`` where one does not apply."""
    names = dict.fromkeys(name for row in scored for name in row.parts)
    return {name: [row.parts.get(name) for row in scored] for name in names}


def _mean(values: Sequence[float | None]) -> float | None:
    return mean([value for value in values if value is not None])


def _interval(rows: Sequence[Row], values: Sequence[float | None]) -> Interval | None:
    """Of the mean of the values, one for each row (``None`` where there is none), clustered by question."""
    return clustered_interval(_by_question(rows, values).values())


def _by_question(rows: Sequence[Row], values: Sequence[float | None]) -> dict[str, list[float]]:
    clusters: dict[str, list[float]] = {}
    for row, value in zip(rows, values, strict=True):
        if value is not None:
            clusters.setdefault(row.question_id, []).append(value)
    return clusters


def _passes(scored: Sequence[Row], samples: int) -> tuple[Passes, ...]:
    right = _by_question(scored, [row.metrics.em for row in scored]).values()
    ks = [] if samples == 1 else [*(2**i for i in range(samples.bit_length()) if 2**i < samples), samples]
    return tuple(found for k in ks if (found := _pass(k, [ems for ems in right if len(ems) >= k])) is not None)


def _pass(k: int, questions: Sequence[Sequence[float]]) -> Passes | None:
    some = [pass_at_k(len(ems), round(sum(ems)), k) for ems in questions]
    every = [pass_hat_k(len(ems), round(sum(ems)), k) for ems in questions]
    any_mean, all_mean = mean(some), mean(every)
    if any_mean is None or all_mean is None:
        return None
    return Passes(k, len(questions), any_mean, interval(some), all_mean, interval(every))


def _alarm(episodes: int, reasons: Counter[str], threshold: float, outages: int) -> str | None:
    unscored = reasons.total()
    if not episodes or unscored / episodes <= threshold:
        return None
    again = (
        f" The run's command with --retry-unscored plays the {outages} that an outage ended again." if outages else ""
    )
    most_often = reasons.most_common(1)[0][0].rstrip(".")
    return (
        f"ALARM: {unscored} of {episodes} episodes ({unscored / episodes:.1%}) are unscored, more than "
        f"{threshold:.1%}: the means are those of the others. Most often: {most_often}.{again}"
    )


def _groups(rows: Sequence[Row], name: Callable[[Row], str]) -> dict[str, Group]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(name(row), []).append(row)
    return {name: _group(groups[name]) for name in sorted(groups)}


T = TypeVar("T")


def _common(values: Iterable[T]) -> T | None:
    found = set(values)
    return found.pop() if len(found) == 1 else None
