"""Means with honest intervals, and the estimators of repeated play. Pure functions of numbers.

Two samples of one question are not two questions: where questions were played more than once, the question is what was
drawn, and intervals are over questions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

Interval = tuple[float, float]
"""The lower and the upper end of a 95% interval."""
Z = 1.959963984540054
"""97.5% of the normal distribution lies below."""


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
    share, z2 = successes / n, Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return (max(0.0, centre - half) if successes else 0.0, min(1.0, centre + half) if successes < n else 1.0)


def mean_interval(values: Sequence[float]) -> Interval | None:
    """A 95% interval of the mean of numbers in [0, 1], ``None`` of nothing.

    The normal interval after adding two observations of 0 and two of 1 (Agresti and Coull's "plus four", for any
    numbers in [0, 1]). So 24 rewards of 1.0 do not claim to prove a mean of exactly 1.0, as a plain normal or a
    bootstrap interval would; it always holds the plain mean, and errs on the wide side.

    >>> [round(bound, 2) for bound in mean_interval([1.0] * 24)]
    [0.83, 1.0]
    """
    return _plus_four([[value] for value in values]) if values else None


def interval(values: Sequence[float]) -> Interval | None:
    """A 95% interval of the mean of numbers in [0, 1]: :func:`wilson` where each is 0 or 1, else
    :func:`mean_interval`; ``None`` of nothing. So a number has one interval, whatever it is called.

    >>> interval([1, 1, 0]) == wilson(2, 3), interval([0.5]) == mean_interval([0.5])
    (True, True)
    """
    if all(value in (0, 1) for value in values):
        return wilson(sum(values), len(values))
    return mean_interval(values)


def clustered_interval(clusters: Iterable[Sequence[float]]) -> Interval | None:
    """A 95% interval of the mean of all numbers, each in [0, 1], that come in clusters (the samples of one question);
    ``None`` of nothing.

    With clusters of one size it is the :func:`interval` of their means; else the "plus four" interval over clusters,
    linearised (the mean is a ratio of two sums then).

    >>> clustered_interval([[1.0, 0.0], [1.0, 1.0]]) == interval([0.5, 1.0])
    True
    """
    found = [cluster for cluster in clusters if cluster]
    if len({len(cluster) for cluster in found}) <= 1:
        return interval([math.fsum(cluster) / len(cluster) for cluster in found])
    return _plus_four(found)


def _plus_four(clusters: Sequence[Sequence[float]]) -> Interval:
    centre, half = _ratio(clusters, (0.0, 0.0, 1.0, 1.0))
    plain = _plain(clusters)
    return max(0.0, min(centre - half, plain)), min(1.0, max(centre + half, plain))


def difference_interval(clusters: Iterable[Sequence[float]]) -> Interval | None:
    """A 95% interval of the mean of paired differences, each in [-1, 1], in clusters by question; ``None`` of nothing.

    The normal interval over clusters after adding an observation of -1 and one of 1: for pairs of right and wrong
    answers that is the adjusted Wald interval of Bonett and Price (2012), which covers at its nominal rate where few
    pairs differ, too. So 24 equal pairs do not claim to prove that there is no difference.

    >>> [round(bound, 3) for bound in difference_interval([[0.0]] * 24)]
    [-0.107, 0.107]
    """
    found = [cluster for cluster in clusters if cluster]
    if not found:
        return None
    centre, half = _ratio(found, (-1.0, 1.0))
    plain = _plain(found)
    return max(-1.0, min(centre - half, plain)), min(1.0, max(centre + half, plain))


def _plain(clusters: Sequence[Sequence[float]]) -> float:
    return math.fsum(value for cluster in clusters for value in cluster) / sum(map(len, clusters))


def _ratio(clusters: Sequence[Sequence[float]], added: Sequence[float]) -> tuple[float, float]:
    """Centre and half width of the 95% normal interval of a mean over clusters, after adding for each of these numbers
    a cluster of the average size that holds nothing else."""
    size = sum(map(len, clusters)) / len(clusters)
    rows = [(math.fsum(cluster), float(len(cluster))) for cluster in clusters]
    rows += [(value * size, size) for value in added]
    weight = math.fsum(n for _, n in rows)
    centre = math.fsum(total for total, _ in rows) / weight
    spread = math.fsum((total - centre * n) ** 2 for total, n in rows)
    return centre, Z * math.sqrt(spread) / weight


def sign_test(gains: int, losses: int) -> float:
    """The two-sided p-value of an exact sign test: how often a fair coin is at least as uneven. Of right and wrong
    answers it is McNemar's exact test; 1 of nothing.

    >>> sign_test(0, 6), sign_test(3, 3)
    (0.03125, 1.0)
    """
    n, tail, ways = gains + losses, 0, 1
    for i in range(min(gains, losses) + 1):
        tail += ways
        ways = ways * (n - i) // (i + 1)
    share: float = 2 * tail / 2**n
    return min(1.0, share)


def pass_at_k(samples: int, right: int, k: int) -> float:
    """The unbiased estimate, from ``right`` of ``samples``, of the chance that at least one of ``k`` is right (Chen et
    al. 2021, arXiv 2107.03374). Raises ``ValueError`` unless ``1 <= k <= samples``.

    >>> pass_at_k(4, 1, 1), pass_at_k(4, 1, 2), pass_at_k(4, 3, 2)
    (0.25, 0.5, 1.0)
    """
    _check_k(samples, k)
    return 1.0 - math.comb(samples - right, k) / math.comb(samples, k)


def pass_hat_k(samples: int, right: int, k: int) -> float:
    """The unbiased estimate of the chance that all of ``k`` are right (pass^k of Yao et al. 2024, arXiv 2406.12045).
    Raises ``ValueError`` unless ``1 <= k <= samples``.

    >>> pass_hat_k(4, 3, 1), pass_hat_k(4, 3, 2), pass_hat_k(4, 3, 4)
    (0.75, 0.5, 0.0)
    """
    _check_k(samples, k)
    return math.comb(right, k) / math.comb(samples, k)


def _check_k(samples: int, k: int) -> None:
    if not 1 <= k <= samples:
        raise ValueError(f"k is between 1 and the number of samples, {samples}; found {k}.")


def variance_within(clusters: Iterable[Sequence[float]]) -> float | None:
    """The mean of the clusters' sample variances, those of two numbers or more; ``None`` where there is none.

    >>> variance_within([[0.0, 1.0], [1.0, 1.0], [1.0]])
    0.25
    """
    variances = []
    for cluster in clusters:
        if len(cluster) > 1:
            centre = math.fsum(cluster) / len(cluster)
            variances.append(math.fsum((value - centre) ** 2 for value in cluster) / (len(cluster) - 1))
    return mean(variances)


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest of the values that at least this share does not exceed; ``None`` of nothing.

    >>> quantile([1, 2, 3, 4], 0.5), quantile([5], 0.95)
    (2, 5)
    """
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
