"""Two runs of the same questions, pair by pair: what differs, how surely, and whether noise alone explains it.

    from mtr_env.evaluate import compare_runs

    (found,) = compare_runs(["runs/base", "runs/trained"])
    print(found.measures["em"].difference, found.measures["em"].interval, found.gained, found.lost)

An episode that is unscored in either run makes no pair.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from mtr_env.evaluate.bootstrap import bootstrap_interval
from mtr_env.evaluate.folder import Say, logger
from mtr_env.evaluate.sides import FREE, Played, Side, noise_of_runs, read_run, refuse_other
from mtr_env.evaluate.spending import UsageLine
from mtr_env.evaluate.statistics import Interval, Z, difference_interval, mean, sign_test, variance_within
from mtr_env.evaluate.summary import Row
from mtr_env.metrics import Metrics
from mtr_env.reward import Rubric

FEWEST_PAIRS = 20
"""Below so many nothing is said of a difference and the noise: a single flip is a large one there."""
_EQUAL = 1e-9  # what rounding makes of sums that are equal


class Difference(Struct, frozen=True):
    """A number of two runs over ``pairs`` of scored episodes to which it applies; ``None`` where there is none.

    ``difference`` is ``b - a``; ``interval`` its 95% interval, over questions
    (:func:`~mtr_env.evaluate.statistics.difference_interval`); ``p_value`` that of an exact sign test over the
    questions whose mean differs. ``noise`` is how far apart two runs of one policy lie at most by their seeds alone, in
    95 of 100 cases (``None``: nobody knows), and ``within_noise`` says that the difference is no larger (``None`` with
    fewer than :data:`FEWEST_PAIRS` pairs, too).
    ``bootstrap_interval`` stands there for comparison with other tools
    (:func:`~mtr_env.evaluate.bootstrap.bootstrap_interval`); ``interval`` is the one to report.
    """

    pairs: int
    a: float | None
    b: float | None
    difference: float | None
    interval: Interval | None
    p_value: float
    noise: float | None = None
    within_noise: bool | None = None
    bootstrap_interval: Interval | None = None


class Flip(Struct, frozen=True):
    """A question whose share of right answers changed from ``a`` to ``b``."""

    question_id: str
    family: str
    a: float
    b: float


class Comparison(Struct, frozen=True):
    """The run ``b`` against the run ``a``. An episode that is unscored in either makes no pair (``unscored_pairs``),
    nor does one that the other run has not (``unpaired``)."""

    a: Side
    b: Side
    questions: int
    pairs: int
    unscored_pairs: int
    unpaired: int
    measures: dict[str, Difference]
    """EM, cover-EM, F1, the reward and its parts."""
    families: dict[str, Difference]
    """EM by family."""
    costs: dict[str, Difference]
    """Of an episode: calls; and ``tokens``, ``USD`` and ``seconds`` of the model that plays, those that both runs have
    counted. These have no bounds, so ``interval`` is the ``bootstrap_interval``, and nobody says how large their noise
    is."""
    gained: tuple[Flip, ...]
    """Questions that ``b`` answers more often, the largest change first."""
    lost: tuple[Flip, ...]
    notes: tuple[str, ...]
    """What a reader has to know: other differences of the runs, and whose noise it is."""


Paths = Sequence[str | os.PathLike[str]]


def compare_runs(
    paths: Paths, rubric: str | Rubric | None = None, *, noise_floor: Paths = (), say: Say = logger.warning
) -> tuple[Comparison, ...]:
    """Compares each run (a folder of :func:`~mtr_env.evaluate.run`, or a file of traces) with the first.

    Pairs are episodes of one question with the same seed, and the others of that question in the order of their seeds.
    ``rubric`` scores all of them; without it each run has to have been paid by the same one. The noise comes from
    ``noise_floor``, runs of one policy in the same world with different seeds; without them from the samples of each
    question, where both runs have several.

    Raises ``ValueError`` for fewer than two paths and an unknown rubric, :class:`DatasetError` for runs of different
    worlds, tools, step limits or rubrics (it says what differs), for noise that shows nothing, and as
    :func:`~mtr_env.evaluate.read_traces`.
    """
    if len(paths) < 2:
        raise ValueError("A comparison needs two runs or more.")
    first, *others = [read_run(path, rubric, say) for path in paths]
    for other in others:
        refuse_other(first, other)
    noise = noise_of_runs([read_run(path, rubric, say) for path in noise_floor], first) if noise_floor else None
    return tuple(_compare(first, other, noise) for other in others)


Pair = tuple[Row, Row]


def _pairs(a: Played, b: Played) -> list[Pair]:
    ours, theirs = a.by_question(), b.by_question()
    pairs: list[Pair] = []
    for question_id, rows in ours.items():
        others = theirs.get(question_id, {})
        pairs += [(rows[seed], others[seed]) for seed in rows if seed in others]
        rest = ([rows[seed] for seed in rows if seed not in others], [others[s] for s in others if s not in rows])
        pairs += zip(*rest, strict=False)
    return pairs


def _compare(a: Played, b: Played, noise: Played | None) -> Comparison:
    every = _pairs(a, b)
    pairs = [(x, y) for x, y in every if x.reward is not None and y.reward is not None]
    names = dict.fromkeys([*Metrics._fields, "reward", *(name for pair in pairs for row in pair for name in row.parts)])
    ways = (noise.rows, noise.rows) if noise else (a.rows, b.rows)
    families: dict[str, list[Pair]] = {}
    for pair in pairs:
        families.setdefault(pair[0].family, []).append(pair)
    flips = _flips(pairs)
    return Comparison(
        a.side,
        b.side,
        questions=len({x.question_id for x, _ in pairs}),
        pairs=len(pairs),
        unscored_pairs=len(every) - len(pairs),
        unpaired=len(a.rows) + len(b.rows) - 2 * len(every),
        measures={name: _difference(pairs, name, ways) for name in names},
        families={
            family: _difference(families[family], "em", [_of(rows, family) for rows in ways])
            for family in sorted(families)
        },
        costs=_costs(pairs, a, b),
        gained=tuple(flip for flip in flips if flip.b > flip.a),
        lost=tuple(flip for flip in flips if flip.b < flip.a),
        notes=_notes(a, b, noise),
    )


def _difference(pairs: Sequence[Pair], name: str, ways: Sequence[Sequence[Row]]) -> Difference:
    """Of a number in [0, 1]; ``ways`` are the episodes that show the noise of either side."""
    found, clusters = _differ((x.question_id, x.values().get(name), y.values().get(name)) for x, y in pairs)
    noise = _noise_of(ways, name, found.pairs) if found.pairs else None
    known = noise is not None and found.difference is not None and found.pairs >= FEWEST_PAIRS
    return replace(
        found,
        interval=difference_interval(clusters),
        noise=noise,
        within_noise=abs(found.difference or 0) <= (noise or 0) if known else None,
    )


def _differ(
    values: Iterable[tuple[str, float | None, float | None]],
) -> tuple[Difference, list[list[float]]]:
    """Of any number, which each pair has with its question and ``None`` where it does not apply; and the differences
    by question."""
    found: dict[str, list[tuple[float, float]]] = {}
    for question_id, mine, other in values:
        if mine is not None and other is not None:
            found.setdefault(question_id, []).append((mine, other))
    every = [pair for those in found.values() for pair in those]
    clusters = [[other - mine for mine, other in those] for those in found.values()]
    changes = [math.fsum(cluster) for cluster in clusters]
    drawn = bootstrap_interval(clusters)
    return Difference(
        len(every),
        mean([mine for mine, _ in every]),
        mean([other for _, other in every]),
        mean([change for cluster in clusters for change in cluster]),
        drawn,
        sign_test(sum(change > _EQUAL for change in changes), sum(change < -_EQUAL for change in changes)),
        bootstrap_interval=drawn,
    ), clusters


_COSTS: dict[str, Callable[[UsageLine], float | None]] = {
    "tokens": lambda used: float(used.input_tokens + used.output_tokens),
    "USD": lambda used: used.cost,
    "seconds": lambda used: used.seconds,
}


def _costs(pairs: Sequence[Pair], a: Played, b: Played) -> dict[str, Difference]:
    found = {"calls": _differ((x.question_id, float(x.calls), float(y.calls)) for x, y in pairs)[0]}
    lines = [(a.used.get((x.question_id, x.seed)), b.used.get((y.question_id, y.seed))) for x, y in pairs]
    both = [(mine, other) for mine, other in lines if mine and other and mine.requests and other.requests]
    for name, of in _COSTS.items():
        one = _differ((mine.question_id, of(mine), of(other)) for mine, other in both)[0]
        if one.pairs:
            found[name] = one
    return found


def _of(rows: Sequence[Row], family: str) -> list[Row]:
    return [row for row in rows if row.family == family]


def _noise_of(ways: Sequence[Sequence[Row]], name: str, pairs: int) -> float | None:
    """What 95 of 100 differences between two runs of one policy do not exceed: each side's variance within questions is
    that of an episode, and ``pairs`` of them are averaged.

    The variance is taken as if one more pair of the two runs had differed than did: an estimate from a few flips is
    often too small, and differences come in steps of a flip, so that without it noise passes for a finding in up to 25
    of 100 comparisons instead of 5 (simulated in ``tests/test_compare.py``)."""
    variances = []
    for rows in ways:
        clusters: dict[str, list[float]] = {}
        for row in rows:
            value = row.values().get(name)
            if value is not None:
                clusters.setdefault(row.question_id, []).append(value)
        variances.append(variance_within(clusters.values()))
    known = [variance for variance in variances if variance is not None]
    return Z * math.sqrt(sum(known) * pairs + 1) / pairs if len(known) == len(ways) else None


def _flips(pairs: Sequence[Pair]) -> list[Flip]:
    questions: dict[str, list[Pair]] = {}
    for pair in pairs:
        questions.setdefault(pair[0].question_id, []).append(pair)
    flips = [
        Flip(
            question_id,
            those[0][0].family,
            math.fsum(x.metrics.em for x, _ in those) / len(those),
            math.fsum(y.metrics.em for _, y in those) / len(those),
        )
        for question_id, those in questions.items()
    ]
    changed = [flip for flip in flips if flip.a != flip.b]
    return sorted(changed, key=lambda flip: (-abs(flip.b - flip.a), flip.question_id))


def _notes(a: Played, b: Played, noise: Played | None) -> tuple[str, ...]:
    notes = []
    for name in FREE:
        mine, other = getattr(a.side, name), getattr(b.side, name)
        if mine != other:
            notes.append(f"{name} is {mine} in {a.side.path} and {other} in {b.side.path}")
    if noise is not None:
        notes.append(f"the noise is that of the policy {noise.side.policy or 'unknown'}")
    return tuple(notes)
