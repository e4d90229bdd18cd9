import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from agents.comparison import efficiency, improvement, standing
from agents.evaluation import interval


def test_standing_by_hand() -> None:
    found = standing(np.array([0.0, 4.0, 6.0, 100.0]))
    assert (found.runs, found.mean[0], found.median[0], found.iqm[0]) == (4, 27.5, 5.0, 5.0)
    for value, low, high in (found.mean, found.median, found.iqm):
        assert 0 <= low <= value <= high <= 100


def test_the_probability_of_improvement_is_the_statistic_of_mann_and_whitney() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.integers(0, 9, 12).astype(float), rng.integers(2, 11, 7).astype(float)
    expected = mannwhitneyu(ours, theirs).statistic / (12 * 7)
    value, low, high = improvement(ours, theirs)
    assert value == pytest.approx(expected)
    assert low < value < high
    assert improvement(theirs, ours) == pytest.approx((1 - value, 1 - high, 1 - low))
    assert improvement(np.array([2.0, 3.0]), np.array([1.0])) == (1.0, 1.0, 1.0)


def test_intervals_over_runs_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    held = [low <= 0 <= high for low, high in (interval(rng.normal(size=20)) for _ in range(150))]
    assert 0.87 <= np.mean(held) <= 0.99


def test_efficiency_takes_the_earlier_evaluation_between_two() -> None:
    curves = [np.array([(10, 1.0), (30, 3.0), (50, 5.0)]), np.array([(10, 2.0), (20, 4.0), (40, 6.0)])]
    step, middle, low, high = efficiency(curves)
    assert step.tolist() == [10, 20, 30, 40]
    assert middle.tolist() == [1.5, 2.5, 3.5, 4.5]
    assert (low <= middle).all()
    assert (middle <= high).all()
