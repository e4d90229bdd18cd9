"""Scores of a series that is learned while it comes."""

import numpy as np
import pytest
import torch

from anomaly.newest import Newest
from anomaly.online import alarms, online_scores, recent
from anomaly.surprise import Surprise
from anomaly.windows import Windows


def test_online_scores_look_at_the_past_only() -> None:
    x = np.random.default_rng(0).normal(size=(700, 1))
    score = online_scores(x, 200, 16)
    other = x.copy()
    other[650] += 20
    changed = online_scores(other, 200, 16)
    assert (score[:200] == 0).all()
    np.testing.assert_allclose(changed[:650], score[:650], rtol=1e-9)
    assert changed[650] > score.max() + 2


def test_after_an_alarm_there_is_rest() -> None:
    score = np.array([1.0, 3, 4, 3, 3, 0, 3])
    assert alarms(score, 3, 0).tolist() == [1, 2, 3, 4, 6]
    assert alarms(score, 3, 2).tolist() == [1, 4]
    assert alarms(score, 4, 2).tolist() == [2]
    assert alarms(score, 5, 2).tolist() == []


def test_recent_rows_count_together_by_hand() -> None:
    found = recent(np.array([0.0, 4.0, 2.0]), rows=2)
    expected = [0.0, *(2 * np.log((np.exp(2) + np.exp([0.0, 1.0])) / 2))]  # before the first row: 0
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("shape", [0.0, 0.3])
def test_a_heavy_tail_is_extrapolated_as_it_falls(shape: float) -> None:
    """Draws of P(S ≥ s) = (1 + ξ s)^(−1/ξ), for ξ = 0 of exp(−s); the chance of a far score is foretold."""
    u = np.random.default_rng(0).random(40_000)
    drawn = -np.log(u) if shape == 0 else (u**-shape - 1) / shape
    far = -np.log(1e-6) if shape == 0 else (1e-6**-shape - 1) / shape
    heavy = Surprise.fit(drawn, heavy=True)
    assert heavy(np.array([far]))[0] == pytest.approx(-np.log(1e-6), rel=0.1)
    assert heavy.shape == pytest.approx(shape, abs=0.06)
    again = Surprise.of_array(heavy.array())
    assert again(drawn[:9]).tolist() == heavy(drawn[:9]).tolist()
    light = Surprise.fit(drawn)(np.array([far]))[0]
    assert light == pytest.approx(-np.log(1e-6), rel=0.1) if shape == 0 else light > 40


def test_the_newest_row_is_judged_by_itself() -> None:
    """Two columns that go together: one that does not is strange, though each value was there before."""
    rng = np.random.default_rng(0)
    a = rng.choice([-1.0, 1.0], 400)
    rows = np.stack([a, a], axis=1) + 0.05 * rng.normal(size=(400, 2))
    rows[300] = [1.0, -1.0]
    model = Newest.fit(torch.from_numpy(Windows(4).of(rows)[4:300]), 4, 0)
    score = Newest.of_arrays(model.arrays()).score(torch.from_numpy(Windows(4).of(rows)))
    assert int(score[4:].argmax()) + 4 == 300
    assert float(score[301]) < float(score[300]) - 2  # the row after is judged without it
