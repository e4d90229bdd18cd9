import numpy as np
from scipy.stats import norm

from anomaly.monitor_normal import LEVELS, ROWS, SCORES, STEEP, Normal, pieces, whitening


def one(quantiles: np.ndarray) -> Normal:
    """Of one innovation in one regime, with these quantiles."""
    return Normal(np.zeros((1, 1)), np.ones((1, 1, 1)), *pieces(quantiles[None, :, None]))


def test_whitening_leaves_no_correlation_and_does_not_mix_sensors_more_than_it_must() -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(3_000, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0, 0.3]]) + 2
    mean, matrix = whitening(raw)
    z = (raw - mean) @ matrix
    np.testing.assert_allclose(np.cov(z.T), np.eye(3), atol=0.02)  # a few are drawn in
    scaled = matrix * raw.std(axis=0)[:, None]
    np.testing.assert_allclose(scaled, scaled.T, atol=0.01)


def test_a_few_far_innovations_do_not_hide_how_the_others_go_together() -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(2_000, 1)) + 0.1 * rng.normal(size=(2_000, 2))
    raw[:2] = [30.0, -30.0], [-30.0, 30.0]  # without drawing them in 0.99 of 0.99 were left
    mean, matrix = whitening(raw)
    assert abs(np.corrcoef(((raw[2:] - mean) @ matrix).T)[0, 1]) < 0.8 < 0.95 < np.corrcoef(raw[2:].T)[0, 1]


def test_quantiles_become_those_of_a_normal_innovation() -> None:
    quantiles = np.sinh(SCORES) + 0.5
    found = one(quantiles)
    zero = np.zeros(len(LEVELS), int)
    np.testing.assert_allclose(found(quantiles[:, None], zero)[:, 0], SCORES, atol=1e-12)


def test_beyond_the_outermost_quantiles_it_goes_on_as_from_the_third_to_them() -> None:
    quantiles = np.array([-9.0, -4.0, -3.0, -2.0, 0.0, 2.0, 3.0, 4.0, 9.0])
    found, zero = one(quantiles), np.zeros(1, int)
    slope = (norm.ppf(0.999) - norm.ppf(0.97)) / 6
    for side in (-1, 1):
        expected = side * (norm.ppf(0.999) + 11 * slope)
        np.testing.assert_allclose(found(np.array([[side * 20.0]]), zero), expected)


def test_what_stands_still_is_no_more_than_so_steep() -> None:
    found, zero = one(np.full(len(LEVELS), 0.2)), np.zeros(3, int)
    steep = found(np.array([[0.2], [0.3], [-9.8]]), zero)[:, 0]
    np.testing.assert_allclose(steep, [0, STEEP * 0.1, -STEEP * 10], atol=1e-12)


def test_none_changes_nothing() -> None:
    raw = np.random.default_rng(0).normal(size=(5, 3)) * 9
    np.testing.assert_allclose(Normal.none(3)(raw, np.zeros(5, int)), raw, atol=1e-12)


def test_innovations_of_each_regime_become_normal_and_apart() -> None:
    rng = np.random.default_rng(0)
    regime = rng.integers(2, size=40_000)
    uniform, heavy = rng.uniform(-1, 1, size=(40_000, 2)), rng.standard_t(2, size=(40_000, 2))
    raw = np.where(regime[:, None] == 1, heavy, uniform @ np.array([[1.0, 0.9], [0.0, 0.3]]) + 5)
    found = Normal.fit(raw[:20_000], regime[:20_000], 2)
    z = found(raw[20_000:], regime[20_000:])
    for at in (0, 1):
        own = z[regime[20_000:] == at]
        levels = np.quantile(own, [0.03, 0.5, 0.97], axis=0)
        np.testing.assert_allclose(levels, np.tile(norm.ppf([0.03, 0.5, 0.97])[:, None], 2), atol=0.15)
        assert abs(np.corrcoef(own.T)[0, 1]) < 0.05
    beyond = np.array([[7.0, 7.4], [1.5, 0.0]])  # the first is twice what can be drawn
    outside, usual = np.abs(found(beyond, np.array([0, 1]))).max(axis=1)
    assert outside > 4 > 2 > usual


def test_a_regime_of_few_steps_has_the_numbers_of_all() -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(ROWS * 4, 1))
    regime = np.where(np.arange(len(raw)) < ROWS - 1, 0, 1)
    raw[regime == 0] += 3
    found = Normal.fit(raw, regime, 2)
    np.testing.assert_allclose(found.mean[0], whitening(raw)[0])
    np.testing.assert_allclose(found.mean[1], whitening(raw[regime == 1])[0])


def test_one_row_is_taken_as_many_are() -> None:
    rng = np.random.default_rng(0)
    raw, regime = rng.normal(size=(2_000, 5)) @ rng.normal(size=(5, 5)), rng.integers(4, size=2_000)
    found = Normal.fit(raw, regime, 4)
    alone = [found(raw[i : i + 1], regime[i : i + 1])[0] for i in range(50)]
    np.testing.assert_array_equal(found(raw[:50], regime[:50]), alone)


def test_an_innovation_is_foretold_from_the_others_of_its_regime() -> None:
    rng = np.random.default_rng(0)
    regime = rng.integers(2, size=20_000)
    first = rng.normal(size=20_000)
    other = np.where(regime == 1, -0.5, 0.8) * first + 0.1 * rng.normal(size=20_000) + 1
    found = Normal.fit(np.stack([first, other], axis=1), regime, 2)
    masked = np.array([[2.0, np.nan], [2.0, np.nan]])
    foretold = found.conditional(masked, np.array([0, 1]), np.array([1, 1]))
    np.testing.assert_allclose(foretold, [2.6, 0.0], atol=0.05)
