"""The score of the Numenta Anomaly Benchmark by hand numbers."""

import numpy as np
import pytest

from benchmarks.nab import FALSE, Scored, probation, sigmoid, standard, worth

WINDOW = np.array([[50, 59]])  # of 100 rows, 15 of them probation


def points(alarms: list[int], windows: np.ndarray = WINDOW, rows: int = 100) -> float:
    """The normalised score of a series with alarms at these rows."""
    score = np.zeros(rows)
    score[alarms] = 1
    return standard([Scored(score, windows)])[0]


def test_the_sigmoid_by_hand() -> None:
    found = sigmoid(np.array([-1.0, 0.0, 0.2, 3.0, 3.01]))
    expected = [2 / (1 + np.exp(-5)) - 1, 0, 2 / (1 + np.e) - 1, 2 / (1 + np.exp(15)) - 1, -1]
    np.testing.assert_allclose(found, expected)
    assert found[0] == pytest.approx(0.98661429815)


def test_no_alarm_is_nothing_and_the_first_row_of_every_window_perfect() -> None:
    assert points([]) == 0
    assert points([50]) == pytest.approx(100)


def test_probation_is_15_percent_of_5000_rows_at_most_and_counts_nothing() -> None:
    assert (probation(1_000), probation(4_032), probation(20_000)) == (150, 604, 750)
    assert points([3, 50]) == pytest.approx(100)


def test_a_later_alarm_is_worth_its_place_in_the_window_and_further_ones_nothing() -> None:
    late = (2 / (1 + np.exp(-5 * 0.4)) - 1) / (2 / (1 + np.exp(-5)) - 1)  # row 56: 4 of 10 rows are left
    assert points([56]) == pytest.approx(100 * (late + 1) / 2)
    assert points([56, 57, 59]) == pytest.approx(100 * (late + 1) / 2)


def test_false_alarms_cost_by_their_distance_behind_a_window() -> None:
    value, inside = worth(100, WINDOW)
    assert value[20] == -FALSE
    assert value[60] == pytest.approx(FALSE * (2 / (1 + np.exp(5 / 9)) - 1))
    assert value[86] == pytest.approx(FALSE * (2 / (1 + np.exp(15)) - 1))
    assert value[87] == -FALSE
    np.testing.assert_array_equal(np.flatnonzero(inside == 0), np.arange(50, 60))
    assert points([20, 50]) == pytest.approx(100 * (2 - FALSE) / 2)


def test_the_threshold_is_the_best_and_one_for_all_series() -> None:
    first, second = np.zeros(300), np.zeros(100)
    first[50], first[100::10] = 3, 2  # 20 alarms, each behind a rest, cost more than the second window brings
    second[50] = 2
    found, threshold = standard([Scored(first, WINDOW), Scored(second, WINDOW)])
    assert found == pytest.approx(50)
    assert threshold == 3
    second[50] = 2.5
    assert standard([Scored(first, WINDOW), Scored(second, WINDOW)]) == (pytest.approx(100), 2.5)


def test_after_an_alarm_a_detector_rests() -> None:
    many = np.zeros(100)
    many[[20, 21, 22, 50]] = 1  # a fifth of 15 rows: 3
    assert standard([Scored(many, WINDOW)])[0] == pytest.approx(100 * (2 - FALSE) / 2)
    many[48] = 1  # the alarm of row 50 falls into the rest after this one
    assert standard([Scored(many, WINDOW)])[0] == 0


def test_the_score_agrees_with_a_loop_over_rows_for_every_threshold() -> None:
    rng = np.random.default_rng(0)
    series = [Scored(rng.integers(0, 50, 200) * 1.0, np.array([[60, 80], [120, 150]])) for _ in range(4)]
    best = 0.0
    for threshold in range(50):
        total = 0.0
        for one in series:
            value, inside = worth(200, one.windows)
            found, last = {0: -1.0, 1: -1.0}, -100
            for t in range(probation(200), 200):
                if one.score[t] < threshold or t - last <= 6:
                    continue
                last = t
                if inside[t] < 0:
                    total += value[t]
                else:
                    found[inside[t]] = max(found[inside[t]], value[t])
            total += sum(1 + worth_of_it for worth_of_it in found.values())
        best = max(best, 100 * total / 16)
    assert standard(series)[0] == pytest.approx(best)
