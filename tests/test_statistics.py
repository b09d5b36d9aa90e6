"""The statistics of evaluation are right: intervals cover the truth, estimators are unbiased, tests are exact."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mtr_env.evaluate.statistics import (
    Interval,
    clustered_interval,
    difference_interval,
    mean_interval,
    pass_at_k,
    pass_hat_k,
    quantile,
    sign_test,
    variance_within,
    wilson,
)

RUNS = 1000
Clusters = Sequence[Sequence[float]]


def coverage(draw: Callable[[], Clusters], truth: float, of: Callable[[Clusters], Interval | None]) -> float:
    return measured(draw, truth, of)[0]


def measured(
    draw: Callable[[], Clusters], truth: float, of: Callable[[Clusters], Interval | None]
) -> tuple[float, float]:
    """How often the interval holds the truth, and its mean width."""
    intervals = [found for _ in range(RUNS) if (found := of(draw())) is not None]
    assert len(intervals) == RUNS
    covered = sum(low <= truth <= high for low, high in intervals)
    return covered / RUNS, sum(high - low for low, high in intervals) / RUNS


def flat(clusters: Clusters) -> Interval | None:
    return mean_interval([value for cluster in clusters for value in cluster])


@pytest.mark.parametrize("questions", [8, 24, 100])
@pytest.mark.parametrize("samples", [2, 4, 16])
def test_an_interval_over_questions_covers_the_mean_however_alike_their_samples_are(
    questions: int, samples: int
) -> None:
    generator = np.random.default_rng(questions * 100 + samples)
    for a, b in [
        (0.2, 0.2),
        (2.0, 2.0),
        (3.0, 1.0),
        (200.0, 200.0),
    ]:  # questions from "always or never" to all the same

        def draw(a: float = a, b: float = b) -> Clusters:
            difficulty = generator.beta(a, b, questions)
            rows: Clusters = generator.binomial(1, difficulty[:, None], (questions, samples)).astype(float).tolist()
            return rows

        truth = a / (a + b)
        rate, width = measured(draw, truth, clustered_interval)
        assert rate >= 0.935, (a, b)
        if questions >= 100 and (a, b) != (200.0, 200.0):  # means that are all alike are covered more often
            # Of a question's mean: the variance of its difficulty and that of its samples.
            difficulty = truth * (1 - truth) / (a + b + 1)
            normal = 2 * 1.96 * math.sqrt((difficulty + (truth * (1 - truth) - difficulty) / samples) / questions)
            assert rate <= 0.975, (a, b)
            assert width == pytest.approx(normal, rel=0.1), (a, b)


def test_without_repeated_play_the_interval_of_right_answers_is_no_wider_than_it_has_to_be() -> None:
    generator = np.random.default_rng(8)
    for share, questions in itertools.product((0.1, 0.4, 0.9), (100, 400)):

        def draw(share: float = share, questions: int = questions) -> Clusters:
            rows: Clusters = generator.binomial(1, share, (questions, 1)).astype(float).tolist()
            return rows

        rate, width = measured(draw, share, clustered_interval)
        assert 0.92 <= rate <= 0.975, (share, questions)  # Wilson's at 0.1 of 100: 0.936, and 0.007 of luck
        assert width == pytest.approx(2 * 1.96 * math.sqrt(share * (1 - share) / questions), rel=0.05)


def test_an_interval_that_takes_samples_of_a_question_for_questions_would_not_cover() -> None:
    generator = np.random.default_rng(3)

    def draw() -> Clusters:
        difficulty = generator.beta(0.2, 0.2, 50)
        rows: Clusters = generator.binomial(1, difficulty[:, None], (50, 8)).astype(float).tolist()
        return rows

    assert coverage(draw, 0.5, flat) < 0.7
    assert coverage(draw, 0.5, clustered_interval) >= 0.935


def test_clusters_of_different_sizes_are_covered_too() -> None:
    generator = np.random.default_rng(4)

    def draw() -> Clusters:
        return [
            generator.binomial(1, p, size).tolist()
            for p, size in zip(generator.beta(1, 1, 100), generator.integers(1, 6, 100), strict=True)
        ]

    rate, width = measured(draw, 0.5, clustered_interval)
    assert 0.935 <= rate <= 0.975
    # Mean size 3, mean square 11: of a sum, 1/12 of the squares for difficulty and 1/6 of the sizes for the samples.
    assert width == pytest.approx(2 * 1.96 * math.sqrt((11 / 12 + 3 / 6) / 9 / 100), rel=0.1)


def test_a_cluster_counts_as_one_and_nothing_has_no_interval() -> None:
    assert clustered_interval([]) is None
    assert clustered_interval([[], []]) is None
    assert clustered_interval([[1.0], [1.0], [0.0]]) == wilson(2, 3)
    assert clustered_interval([[1.0] * 5, [1.0] * 5, [0.0] * 5]) == wilson(2, 3)
    uneven = clustered_interval([[1.0] * 5, [1.0] * 5, [0.0] * 4])
    assert uneven is not None
    assert uneven[0] < 10 / 14 < uneven[1]


@pytest.mark.parametrize("questions", [12, 24, 100])
@pytest.mark.parametrize("samples", [1, 4])
def test_the_interval_of_a_difference_covers_it(questions: int, samples: int) -> None:
    generator = np.random.default_rng(questions + samples)
    for gain, loss in [(0.0, 0.0), (0.05, 0.05), (0.3, 0.1), (0.25, 0.25), (0.6, 0.05)]:

        def draw(gain: float = gain, loss: float = loss) -> Clusters:
            # Each question prefers a side; its samples follow it, or not.
            luck = generator.random((questions, 1)) * 0.5 + generator.random((questions, samples)) * 0.5
            up, down = luck < _quantile_of_sum(gain), luck > _quantile_of_sum(1 - loss)
            rows: Clusters = (up.astype(float) - down.astype(float)).tolist()
            return rows

        assert coverage(draw, gain - loss, difference_interval) >= 0.935, (gain, loss)


def _quantile_of_sum(share: float) -> float:
    """Of the mean of two uniform numbers, whose distribution is a triangle."""
    return math.sqrt(share / 2) if share <= 0.5 else 1 - math.sqrt((1 - share) / 2)


def test_the_interval_of_a_difference_of_rewards_covers_it() -> None:
    generator = np.random.default_rng(9)

    def draw() -> Clusters:
        a = generator.binomial(1, 0.5, (30, 1)) * generator.uniform(0.6, 1.0, (30, 1))
        b = generator.binomial(1, 0.6, (30, 1)) * generator.uniform(0.6, 1.0, (30, 1))
        rows: Clusters = (b - a).tolist()
        return rows

    assert coverage(draw, 0.08, difference_interval) >= 0.935


def test_the_interval_of_a_difference_is_that_of_bonett_and_price() -> None:
    # Their formula, a pair added to each cell of pairs that differ, for 6 gains, 1 loss and 23 equal pairs.
    n, b, c = 30 + 2, 6 + 1, 1 + 1
    centre, half = (b - c) / n, 1.959963984540054 / n * math.sqrt(b + c - (b - c) ** 2 / n)
    found = difference_interval([[1.0]] * 6 + [[-1.0]] + [[0.0]] * 23)
    assert found == pytest.approx((centre - half, centre + half))
    assert difference_interval([]) is None
    assert difference_interval([[1.0, 1.0]] * 24) == (pytest.approx(0.775, abs=1e-3), 1.0)


def test_the_sign_test_counts_the_tosses_of_a_coin() -> None:
    for gains, losses in itertools.product(range(7), range(7)):
        n = gains + losses
        tosses = [sum(toss) for toss in itertools.product((0, 1), repeat=n)]
        as_uneven = sum(abs(2 * heads - n) >= abs(gains - losses) for heads in tosses) / len(tosses)
        assert sign_test(gains, losses) == pytest.approx(as_uneven)
    assert 0 < sign_test(4000, 3000) < 1e-30


def test_pass_at_k_and_pass_hat_k_are_the_means_over_all_choices_of_k_samples() -> None:
    for samples in range(1, 7):
        for right in range(samples + 1):
            drawn = [1] * right + [0] * (samples - right)
            for k in range(1, samples + 1):
                choices = list(itertools.combinations(drawn, k))
                assert pass_at_k(samples, right, k) == pytest.approx(sum(map(max, choices)) / len(choices))
                assert pass_hat_k(samples, right, k) == pytest.approx(sum(map(min, choices)) / len(choices))


def test_pass_at_k_is_unbiased_and_its_interval_covers_the_truth() -> None:
    generator = np.random.default_rng(5)
    truth = 1 - float(np.mean((1 - generator.beta(0.5, 1.0, 10**6)) ** 4))

    def draw() -> Clusters:
        right = generator.binomial(8, generator.beta(0.5, 1.0, 40))
        return [[pass_at_k(8, int(r), 4)] for r in right]

    assert np.mean([draw() for _ in range(300)]) == pytest.approx(truth, abs=0.01)
    assert coverage(draw, truth, clustered_interval) >= 0.93


@pytest.mark.parametrize("k", [0, 5])
def test_more_of_k_than_samples_are_refused(k: int) -> None:
    for estimate in (pass_at_k, pass_hat_k):
        with pytest.raises(ValueError, match=f"between 1 and the number of samples, 4; found {k}"):
            estimate(4, 2, k)


def test_the_variance_within_clusters_is_that_of_repeated_play() -> None:
    generator = np.random.default_rng(6)
    difficulty = generator.beta(1, 1, 4000)
    rows = generator.binomial(1, difficulty[:, None], (4000, 3)).astype(float).tolist()
    assert variance_within(rows) == pytest.approx(float(np.mean(difficulty * (1 - difficulty))), abs=0.006)
    assert variance_within([[1.0], []]) is None


def test_a_quantile_is_one_of_the_values() -> None:
    assert quantile([], 0.5) is None
    assert [quantile(range(1, 101), share) for share in (0.0, 0.5, 0.95, 1.0)] == [1, 50, 95, 100]
