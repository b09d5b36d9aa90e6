"""Bootstrap intervals cover the truth, agree with the analytic ones where there is much, and never depend on order."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mtr_env.evaluate.bootstrap import bootstrap_interval, bootstrap_ratio_interval
from mtr_env.evaluate.statistics import Interval, clustered_interval, difference_interval

Clusters = Sequence[Sequence[float]]


def found(clusters: Clusters) -> Interval:
    interval = bootstrap_interval(clusters)
    assert interval is not None
    return interval


def coverage(draw: Callable[[], Clusters], truth: float, runs: int = 600) -> float:
    intervals = [found(draw()) for _ in range(runs)]
    return sum(low <= truth <= high for low, high in intervals) / runs


def sampled(generator: np.random.Generator, questions: int, samples: int, a: float = 0.5, b: float = 0.5) -> Clusters:
    """Right and wrong answers to questions that differ in difficulty, of mean a / (a + b)."""
    difficulty = generator.beta(a, b, questions)[:, None]
    rows: Clusters = generator.binomial(1, difficulty, (questions, samples)).astype(float).tolist()
    return rows


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (2.0, 1.0)])
def test_it_covers_the_mean_at_its_nominal_rate_however_alike_the_samples_of_a_question_are(
    samples: int, a: float, b: float
) -> None:
    generator = np.random.default_rng(11)
    rate = coverage(lambda: sampled(generator, 100, samples, a, b), a / (a + b))
    assert 0.92 <= rate <= 0.975  # 600 runs: 0.95, give or take 0.018, and a little less for the percentiles


def test_it_covers_where_questions_have_different_numbers_of_samples() -> None:
    generator = np.random.default_rng(12)

    def draw() -> Clusters:
        sizes = generator.integers(1, 5, 80)
        return [generator.binomial(1, p, n).tolist() for p, n in zip(generator.beta(1, 1, 80), sizes, strict=True)]

    assert 0.92 <= coverage(draw, 0.5, 300) <= 0.985


def test_it_covers_a_mean_of_rewards_that_are_all_different() -> None:
    generator = np.random.default_rng(13)

    def draw() -> Clusters:
        rewards: Clusters = (generator.binomial(1, 0.6, 80) * generator.uniform(0.6, 1, 80))[:, None].tolist()
        return rewards

    assert 0.92 <= coverage(draw, 0.48, 300) <= 0.985


def test_it_covers_a_difference_of_pairs() -> None:
    generator = np.random.default_rng(14)

    def draw() -> Clusters:
        difficulty = generator.beta(1, 1, (100, 1))
        a, b = (generator.binomial(1, difficulty**power, (100, 2)) for power in (2.0, 1.0))
        rows: Clusters = (b - a).astype(float).tolist()
        return rows

    assert 0.92 <= coverage(draw, 1 / 2 - 1 / 3) <= 0.975


def test_of_many_questions_it_is_the_analytic_interval() -> None:
    generator = np.random.default_rng(15)
    for clusters in (sampled(generator, 4000, 1), sampled(generator, 4000, 4), generator.random((4000, 2)).tolist()):
        analytic = clustered_interval(clusters)
        assert analytic is not None
        assert found(clusters) == pytest.approx(analytic, abs=0.05 * (analytic[1] - analytic[0]))
    changes = (generator.binomial(1, 0.6, (4000, 1)) - generator.binomial(1, 0.5, (4000, 1))).astype(float).tolist()
    analytic = difference_interval(changes)
    assert analytic is not None
    assert found(changes) == pytest.approx(analytic, abs=0.05 * (analytic[1] - analytic[0]))


def test_both_ways_to_draw_have_one_distribution() -> None:
    """Few different clusters are drawn by how often each comes, many by which comes next; a shift of each by next to
    nothing makes many of few."""
    clusters = sampled(np.random.default_rng(16), 400, 4)
    many = [[value + i * 1e-12 for value in cluster] for i, cluster in enumerate(clusters)]
    low, high = found(clusters)
    assert found(many) == pytest.approx((low, high), abs=0.05 * (high - low))


@pytest.mark.parametrize("value", [0.0, 0.7, 1.0])
def test_it_is_a_point_where_nothing_varies_and_the_analytic_one_is_not(value: float) -> None:
    clusters = [[value] * size for size in (1, 2, 4)] * 8
    low, high = found(clusters)
    assert (low, high) == pytest.approx((value, value), abs=1e-12)
    analytic = clustered_interval(clusters)
    assert analytic is not None
    assert analytic[1] - analytic[0] > 0.1
    assert str(found([[0.0], [-0.0]])) == "(0.0, 0.0)"


@pytest.mark.parametrize("kind", ["few", "many"])
def test_no_order_of_the_rows_changes_a_bit(kind: str) -> None:
    rng = random.Random(0)
    clusters = [[rng.random() if kind == "many" else rng.choice((0.0, 0.1, 1.0)) for _ in range(3)] for _ in range(150)]
    before = bootstrap_interval(clusters)
    for _ in range(5):
        rng.shuffle(clusters)
        for cluster in clusters:
            rng.shuffle(cluster)
        assert bootstrap_interval(clusters) == before


def test_the_interval_of_a_ratio_covers_it_and_leaves_out_resamples_without_a_denominator() -> None:
    generator = np.random.default_rng(18)
    covered = 0
    for _ in range(300):
        calls = generator.integers(0, 5, 80)
        ratio = bootstrap_ratio_interval(zip(generator.binomial(calls, 0.3).tolist(), calls.tolist(), strict=True))
        assert ratio is not None
        covered += ratio[0] <= 0.3 <= ratio[1]
    assert 0.92 <= covered / 300 <= 0.985
    assert bootstrap_ratio_interval([(1.0, 2.0), (0.0, 0.0)]) == (0.5, 0.5)
    assert bootstrap_ratio_interval([(1.0, 2.0), (1.0, 0.0)]) == (0.5, 1.0)
    assert bootstrap_ratio_interval([]) is bootstrap_ratio_interval([(1.0, 0.0)]) is None


def test_nothing_has_no_interval_and_one_question_is_a_point() -> None:
    assert bootstrap_interval([]) is bootstrap_interval([[], []]) is None
    assert found([[1.0, 0.0], []]) == (0.5, 0.5)


def test_ten_thousand_different_questions_fit_into_little_memory() -> None:
    clusters = np.random.default_rng(17).random((10_000, 1)).tolist()
    tracemalloc.start()
    try:
        low, high = found(clusters)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(12 * 10_000), rel=0.05)
