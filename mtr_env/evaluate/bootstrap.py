"""A percentile bootstrap over whole questions, beside the analytic intervals of
:mod:`~mtr_env.evaluate.statistics`: it assumes no distribution, and has no width where nothing varies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtr_env.evaluate.statistics import Interval

RESAMPLES = 10_000
_SEED = 0
_AT_ONCE = 2**20  # numbers that are drawn at a time: 8 MB, however many questions there are
_FEW = 5  # a binomial number costs as much as so many indices


def bootstrap_interval(clusters: Iterable[Sequence[float]]) -> Interval | None:
    """A 95% interval of the mean of all numbers, which come in clusters (the samples of one question); ``None`` of
    nothing.

    The percentile interval of 10,000 means, each over as many clusters as there are, drawn whole and with replacement
    (Efron and Tibshirani 1993, chapter 13). The seed is fixed and the clusters are sorted by what they hold, so neither
    their order nor that of the numbers within them changes a bit of it. Where the clusters are alike it is a point,
    and where they are few it is too narrow: report :func:`~mtr_env.evaluate.statistics.clustered_interval`.

    >>> [round(bound, 2) for bound in bootstrap_interval([[1.0]] * 12 + [[0.0]] * 12)]
    [0.29, 0.71]
    >>> bootstrap_interval([[1.0]] * 24)
    (1.0, 1.0)
    """
    return bootstrap_ratio_interval((math.fsum(cluster), float(len(cluster))) for cluster in clusters if cluster)


def bootstrap_ratio_interval(clusters: Iterable[tuple[float, float]]) -> Interval | None:
    """The same of a ratio of two sums, of which each cluster has its part (right answers and tool calls of a question);
    the second is never negative. ``None`` where that is 0 in all, and resamples in which it is are left out.

    >>> bootstrap_ratio_interval([(1.0, 2.0)] * 24), bootstrap_ratio_interval([(1.0, 0.0)])
    ((0.5, 0.5), None)
    """
    rows = list(clusters)
    if not any(weight for _, weight in rows):
        return None
    kinds, counts = np.unique(np.array(rows) + 0.0, axis=0, return_counts=True)  # + 0.0: no minus zero
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = _ratios(kinds, counts)
    low, high = np.quantile(ratios[np.isfinite(ratios)], (0.025, 0.975))
    return float(low), float(high)


def _ratios(kinds: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
    """Of the resamples. ``kinds`` are the different clusters, two sums, and ``counts`` how many there are of each:
    mostly so few that it is faster to draw how often each kind comes than which cluster comes next."""
    questions = int(counts.sum())
    few = _FEW * len(kinds) < questions
    rows = kinds if few else np.repeat(kinds, counts, axis=0)
    sums, sizes = np.ascontiguousarray(rows.T)
    generator = np.random.default_rng(_SEED)
    step = max(1, _AT_ONCE // len(rows))
    ratios = []
    for start in range(0, RESAMPLES, step):
        resamples = min(step, RESAMPLES - start)
        if few:
            drawn = generator.multinomial(questions, counts / questions, resamples)  # (resamples, kinds)
            ratios.append((drawn * sums).sum(axis=1) / (drawn * sizes).sum(axis=1))
        else:
            drawn = generator.integers(questions, size=(resamples, questions), dtype=np.uint32)
            ratios.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return np.concatenate(ratios)
