import math

import numpy as np
import pytest
from scipy.signal import lfilter

from anomaly.calibration import threshold
from anomaly.monitor_promise import STRETCH, WARM, Promise, stretches
from anomaly.monitor_statistics import averaged


def test_stretches_are_whole_and_after_the_warm_up() -> None:
    score = np.tile(np.arange(WARM + 2 * STRETCH + 5.0), (2, 1))
    score[1, WARM + STRETCH + 3 :] = np.nan  # an episode that ended in its second stretch
    expected = [WARM + STRETCH - 1, WARM + 2 * STRETCH - 1, WARM + STRETCH - 1]
    assert stretches(score).tolist() == expected
    assert stretches(np.zeros((3, 50))).tolist() == []


def test_a_run_length_keeps_its_promise_over_calibration_sets() -> None:
    """300 times: 99 stretches of an AR(1) of memory 0.9 calibrate a run length of 2,560 steps, and a run of
    30,000 steps is watched; without an alarm it counts as that long."""
    rng = np.random.default_rng(0)

    def noise(runs: int, steps: int) -> np.ndarray:
        drawn = math.sqrt(1 - 0.9**2) * rng.normal(size=(runs, steps + 200))
        return np.abs(lfilter([1.0], [1.0, -0.9], drawn, axis=1))[:, 200:]

    first, shares = [], []
    for _ in range(300):
        promise = Promise.of_runs(noise(11, WARM + 9 * STRETCH), run_length=20 * STRETCH)
        assert promise.count == 99
        run = noise(1, 30_000)
        above = np.flatnonzero(run[0] > promise.threshold)
        first.append(above[0] if len(above) else run.shape[1])
        shares.append((stretches(run) > promise.threshold).mean())
    assert 2_560 <= np.mean(first) <= 1.5 * 2_560
    assert np.mean(shares) == pytest.approx(0.05, abs=0.006)


def test_what_was_promised_is_told_with_what_became_of_it() -> None:
    score = np.arange(99.0)[:, None]
    assert "2 of 4 clean episodes raised a false alarm. At most 5% are promised" in Promise.of_episodes(
        score, 0.05
    ).kept(np.array([[1.0], [95.0], [94.0], [99.0]]))


def test_the_promise_about_episodes_holds_over_calibration_sets_of_autocorrelated_episodes() -> None:
    """2,000 times: 39 episodes calibrate, another is tested; each an AR(1) of memory 0.95, watched by its
    largest average at three rates, which is what the threshold is a quantile of."""
    rng = np.random.default_rng(0)
    sets = 2_000, 40
    value = rng.normal(size=sets[0] * sets[1])
    mean, highest = np.zeros((len(value), 3, 1)), np.full(len(value), -np.inf)
    for step in range(60):
        value = 0.95 * value + math.sqrt(1 - 0.95**2) * rng.normal(size=len(value))
        mean = averaged(mean, value[:, None], step)
        highest = np.maximum(highest, np.abs(mean).max(axis=(1, 2)))
    tested, *calibrated = highest.reshape(sets).T
    limits = [threshold(np.sort(row), 0.05) for row in np.array(calibrated).T]
    assert 0.035 < (tested > limits).mean() <= 0.065
