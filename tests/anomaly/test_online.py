"""Scores of a series that is learned while it comes."""

import numpy as np

from anomaly.online import QUIET, online_scores, onsets


def test_online_scores_look_at_the_past_only() -> None:
    x = np.random.default_rng(0).normal(size=(700, 1))
    score = online_scores(x, 200, 16)
    other = x.copy()
    other[650] += 20
    changed = online_scores(other, 200, 16)
    assert (score[:200] == 0).all()
    np.testing.assert_allclose(changed[:650], score[:650], rtol=1e-9)
    assert changed[650] > score.max() + 2


def test_onsets_are_what_is_highest_for_a_while() -> None:
    found = onsets(np.array([1.0, 3.0, 3.0, 2.0, 4.0]))
    np.testing.assert_array_equal(found, [1.0, 3.0, 3.0 - QUIET, 2.0 - QUIET, 4.0])
