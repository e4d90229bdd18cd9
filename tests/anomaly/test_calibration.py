import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.calibration import check_alpha, p_values, rate_range, realised_range, smallest_alpha, threshold
from anomaly.detector import Detector
from anomaly.measures import LEVEL, alarms
from training.errors import InputError
from training.seeds import numpy_generator


def test_p_values_by_hand() -> None:
    found = p_values(np.array([0.0, 2.0, 2.5, 9.0]), np.array([1.0, 2.0, 2.0, 3.0]))
    assert found.tolist() == [1.0, 0.8, 0.4, 0.2]


@given(
    scores=st.lists(st.integers(0, 20), min_size=1, max_size=60),
    asked=st.lists(st.integers(-1, 21), min_size=1, max_size=20),
    alpha=st.floats(0.01, 0.9),
)
def test_the_threshold_and_the_p_values_give_the_same_verdict(
    scores: list, asked: list, alpha: float
) -> None:
    calibration, score = np.sort(np.array(scores, float)), np.array(asked, float)
    if alpha * (len(scores) + 1) < 1:
        with pytest.raises(InputError, match=r"expected at least \d+ of them"):
            threshold(calibration, alpha)
    else:
        flagged = p_values(score, calibration) <= alpha + 1e-12
        np.testing.assert_array_equal(flagged, score > threshold(calibration, alpha))


def test_p_values_of_normal_rows_keep_the_promise() -> None:
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(4_000):
        calibration, score = np.sort(rng.normal(size=39)), rng.normal(size=20)
        rates.append((p_values(score, calibration) <= 0.1).mean())
    assert np.mean(rates) == pytest.approx(0.1, abs=4 * np.std(rates) / np.sqrt(len(rates)))


def test_the_realised_range_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    low, high = realised_range(99, 0.1, tests=200)
    inside = 0
    for _ in range(2_000):
        calibration, score = np.sort(rng.normal(size=99)), rng.normal(size=200)
        inside += low <= (p_values(score, calibration) <= 0.1).sum() <= high
    assert 0.94 <= inside / 2_000 <= 0.98


@pytest.mark.parametrize(("n", "least"), [(9, 0.1), (99, 0.01), (10_000, 0.01), (1, 0.5)])
def test_the_default_is_what_the_rows_allow(n: int, least: float) -> None:
    assert smallest_alpha(n) == pytest.approx(least)
    check_alpha(smallest_alpha(n), n)


@pytest.mark.parametrize(("alpha", "n", "needed"), [(0.01, 98, 99), (0.05, 3, 19), (0.001, 500, 999)])
def test_a_rate_that_needs_more_rows_says_how_many(alpha: float, n: int, needed: int) -> None:
    with pytest.raises(InputError, match=f"expected at least {needed} of them"):
        check_alpha(alpha, n)
    check_alpha(alpha, needed)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, float("nan")])
def test_rates_that_are_none_are_refused(alpha: float) -> None:
    with pytest.raises(InputError, match="expected a rate between 0 and 1"):
        check_alpha(alpha, 100)


def test_intervals_of_groups_hold_for_all_lines_together() -> None:
    none, group = np.zeros(400, bool), np.repeat([0, 1], 200)
    found = alarms(none, none, group, ["a", "b"], 99, 0.05, lines=3)
    low, high = realised_range(99, 0.05, 200, 1 - (1 - LEVEL) / 3)
    assert [(line.group, line.low, line.high) for line in found] == [("a", low, high), ("b", low, high)]


def test_the_range_of_rates_is_that_of_the_beta_distribution() -> None:
    low, high = rate_range(1, 0.5)  # one score: the rate is uniform
    assert (low, high) == pytest.approx((0.025, 0.975))
    low, high = rate_range(99, 0.01)  # Beta(1, 99): 1 − (1 − x)⁹⁹
    assert (1 - (1 - low) ** 99, 1 - (1 - high) ** 99) == pytest.approx((0.025, 0.975))


@pytest.mark.parametrize("rows", [5, 10])
def test_the_promise_holds_over_draws_of_few_rows(rows: int) -> None:
    rates = []
    for seed in range(200):
        x = numpy_generator(seed, "draws").normal(size=(rows + 50, 3))
        detector = Detector.fit(x[:rows], "nearest")
        rates.append(detector.predict(x[rows:]).mean())
    assert detector.alpha == pytest.approx(1 / 2 if rows == 5 else 1 / 3)
    assert np.mean(rates) == pytest.approx(detector.alpha, abs=4 * np.std(rates) / np.sqrt(200))
