"""Measures of labels that come in runs: hand numbers, and VUS-PR once more by its definition."""

import numpy as np
import pytest

from anomaly.events import BUFFERS, events_of, found_events, fringe, range_pr, vus_pr
from anomaly.measures import alarms

ANOMALY = np.array([0, 1, 1, 0, 0, 0, 1], bool)


def test_events_are_runs_of_labelled_rows() -> None:
    np.testing.assert_array_equal(events_of(ANOMALY), [[1, 2], [6, 6]])
    assert events_of(np.zeros(3, bool)).shape == (0, 2)


def test_an_event_is_found_by_its_first_alarm_in_it() -> None:
    found = found_events(np.array([1, 0, 1, 1, 0, 0, 0], bool), ANOMALY)
    assert (found.events, found.delays) == (2, [1])


def test_the_fringe_fades_by_a_root() -> None:
    soft = fringe(np.array([0, 0, 0, 1, 0, 0, 0], bool), 4)
    near, far = np.sqrt(1 - 1 / 4), np.sqrt(1 - 2 / 4)
    np.testing.assert_allclose(soft, [0, far, near, 1, near, far, 0])


def test_the_area_without_a_buffer_by_hand() -> None:
    """Flagging rows 1, 0, 6 of which 1 and 6 are labelled: recall ½·½, ½·½, 1·1, precision 1, ½, ⅔."""
    anomaly = np.array([0, 1, 0, 0, 0, 0, 1], bool)
    score = np.array([8.0, 9, 0, 0, 0, 0, 7])
    assert range_pr(score, anomaly, 0) == pytest.approx(0.25 * 1 + 0.75 * 2 / 3)


def brute(score: np.ndarray, anomaly: np.ndarray, buffer: int) -> float:
    """The definition, threshold by threshold and row by row."""
    n = len(score)
    soft = np.zeros(n)
    for t in range(n):
        distance = min(abs(t - u) for u in range(n) if anomaly[u])
        if distance == 0:
            soft[t] = 1
        elif distance <= buffer // 2:
            soft[t] = (1 - distance / buffer) ** 0.5
    events, t = [], 0
    while t < n:
        if anomaly[t]:
            begin = t
            while t < n and anomaly[t]:
                t += 1
            events.append(range(begin - buffer // 2, t + buffer // 2))
        t += 1
    area, last = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        flagged = [t for t in range(n) if score[t] >= threshold]
        hits = sum(soft[t] for t in flagged)
        existence = sum(any(t in event for t in flagged) for event in events) / len(events)
        recall = min(1.0, hits / ((anomaly.sum() + soft.sum()) / 2)) * existence
        area += (recall - last) * hits / len(flagged)
        last = recall
    return area


@pytest.mark.parametrize("seed", range(5))
def test_vus_pr_agrees_with_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    anomaly = np.zeros(90, bool)
    for begin in rng.choice(80, 3, replace=False):
        anomaly[begin : begin + 7] = True
    score = rng.integers(0, 40, 90) + 10.0 * anomaly  # with ties
    for buffer in (0, 3, 8, 20):
        assert range_pr(score, anomaly, buffer) == pytest.approx(brute(score, anomaly, buffer), rel=1e-9)
    buffers = np.linspace(0, 20, BUFFERS).round().astype(int)
    assert vus_pr(score, anomaly, 20) == pytest.approx(np.mean([brute(score, anomaly, b) for b in buffers]))


def test_perfect_scores_have_a_volume_near_one_and_no_labels_none() -> None:
    anomaly = np.zeros(300, bool)
    anomaly[100:150] = True
    perfect = anomaly + np.linspace(0, 0.1, 300)
    assert range_pr(perfect, anomaly, 0) == pytest.approx(1)
    assert 0.9 < vus_pr(perfect, anomaly, 20) <= 1
    assert vus_pr(1 - perfect, anomaly, 20) < 0.2
    assert np.isnan(vus_pr(np.zeros(300), np.zeros(300, bool)))


def test_of_overlapping_fringes_the_higher_counts() -> None:
    soft = fringe(np.array([1, 0, 0, 0, 1], bool), 4)
    near, middle = np.sqrt(1 - 1 / 4), np.sqrt(1 - 2 / 4)
    np.testing.assert_allclose(soft, [1, near, middle, near, 1])


def test_blocks_of_dependent_rows_widen_what_the_promise_allows() -> None:
    nothing, everyone = np.zeros(1_000, bool), np.zeros(1_000, int)
    single, block, few = (
        alarms(nothing, nothing, everyone, ["all"], n, 0.1, 1, size)[0]
        for n, size in ((2_000, 1), (2_000, 20), (100, 20))
    )
    assert single.high < block.high < 1_000
    assert block.high % 20 == 0
    assert (few.low, few.high) == (0, 1_000)  # 5 blocks cannot promise a tenth
