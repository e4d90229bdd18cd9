import numpy as np

from anomaly.monitor_bands import Bands, Moments, edges, quantile_band
from anomaly.monitor_regimes import Regimes
from anomaly.monitor_state import Scales
from anomaly.monitor_statistics import Channels, averaged, spread
from envs.recording import Episodes


def probe(obs: np.ndarray) -> Episodes:
    """One episode in which nothing is done."""
    rows = len(obs) - 1
    column = {name: np.zeros(rows) for name in ("reward", "terminated", "truncated", "fault")}
    return Episodes(
        obs=obs[:-1], next_obs=obs[1:], action=np.zeros((rows, 1)), length=np.array([rows]),
        seed=np.zeros(1, int), env="probe", **column,
    )  # fmt: skip


def test_channels_are_the_products_of_their_docstring() -> None:
    channels = Channels(sensors=2, actions=1)
    z, last, state = np.array([[2.0, -1.0]]), np.array([[3.0, 1.0]]), np.array([[0.5, 4.0]])
    found = channels.of(z, last, state, np.array([[10.0]]), np.array([[7.0, 8.0]]))[0]
    shift, spread, memory = [2, -1], [3, 0], [6, -1]
    assert found.tolist() == [*shift, *spread, *memory, -2, 1, -0.5, 8, -4, 20, -10, 7, 8]
    assert (channels.count, channels.sizes.sum()) == (15, 15)


def test_each_pair_of_few_sensors_has_a_channel() -> None:
    z = np.array([[2.0, 3.0, 5.0]])
    one = np.zeros((1, 1))
    found = Channels(sensors=3, actions=1, directions=1).of(z, 0 * z, one, one, one, one)
    assert found[0, 9:12].tolist() == [6, 10, 15]
    many, z = Channels(sensors=13, actions=1, directions=1), np.ones((1, 13))
    assert many.of(z, z, one, one, one, one).shape == (1, many.count) == (1, 5 * 13 + 2)


def test_families_are_gathered_by_mean_square_and_largest_square() -> None:
    channels = Channels(sensors=1, actions=1)
    u = np.zeros((1, 3, channels.count))
    u[0, 2] = [1, -2, 0, 3, 0, 0, 5]
    found = np.exp(channels.gather(u)[0]).reshape(2, 3, 7) - 1e-3
    np.testing.assert_allclose(found[:, 2], [[1, 4, 0, 9, 0, 0, 25]] * 2, atol=1e-9)
    np.testing.assert_allclose(found[:, :2], 0, atol=1e-9)


def test_of_no_rows_there_are_no_statistics() -> None:
    channels = Channels(sensors=2, actions=1)
    assert channels.gather(np.zeros((0, 3, channels.count))).shape == (0, 48)


def test_averages_have_the_closed_form_of_their_rate() -> None:
    rng = np.random.default_rng(0)
    mean = np.zeros((4_000, 3, 1))
    for step in range(400):
        mean = averaged(mean, rng.normal(size=(4_000, 1)), step)
    variance = [rate / (2 - rate) for rate in (1, 1 / 8, 1 / 64)]
    np.testing.assert_allclose(mean.var(axis=0)[:, 0], variance, rtol=0.1)
    first = averaged(np.zeros((1, 3, 1)), np.array([[5.0]]), 0)
    assert first.ravel().tolist() == [5.0, 5.0, 5.0]


def test_moments_are_means_and_deviations_by_bin() -> None:
    rows = np.random.default_rng(0).normal(3.0, 2.0, (5_000, 1))
    moments = Moments(3, 1)
    moments.add(np.zeros(len(rows), int), rows)
    moments.add(np.ones(len(rows), int), rows + 1)
    mean, inverse = moments.band()
    np.testing.assert_allclose(mean.ravel(), [rows.mean(), rows.mean() + 1, rows.mean() + 1], rtol=1e-6)
    np.testing.assert_allclose(1 / inverse.ravel(), rows.std(), rtol=1e-6)


def test_bins_double_and_hold_enough_rows() -> None:
    assert edges(np.full(100, 20)).tolist() == [0, 1, 2, 4, 8, 16]
    assert edges(np.full(5, 20)).tolist() == [0]
    assert edges(np.full(10, 64)).tolist() == [0, 16, 32]
    assert edges(np.full(1_000, 1_000)).tolist() == [0, 1, 2, 4, 8, 16, 32, 64]


def test_bands_reach_from_the_median_to_the_99th_percentile() -> None:
    values = np.arange(1001.0)[:, None]
    middle, scale = quantile_band(values, np.zeros(1001, int), 2)
    assert middle.ravel().tolist() == [500, 500]
    np.testing.assert_allclose(1 / scale.ravel(), 490)


def test_bins_shrink_to_all_rows_by_their_number() -> None:
    moments = Moments(2, 1)
    moments.add(np.zeros(50, int), np.tile([[-1.0], [1.0]], (25, 1)))
    moments.add(np.ones(150, int), np.full((150, 1), 4.0))
    mean, inverse = moments.shrunk(50.0)
    overall, square = 150 * 4 / 200, (50 * 1 + 150 * 16) / 200
    np.testing.assert_allclose(mean.ravel(), [(0 + overall) / 2, (150 * 4 + 50 * overall) / 200])
    second = np.array([(50 + 50 * square) / 100, (150 * 16 + 50 * square) / 200])
    np.testing.assert_allclose(inverse.ravel() ** -2, second - mean.ravel() ** 2)


def test_every_statistic_reaches_one_in_one_clean_episode_of_twenty() -> None:
    rng = np.random.default_rng(0)
    channels = Channels(sensors=2, actions=1)
    lengths = np.full(400, 50)
    heavy = rng.standard_t(3, size=(50, 400, 3, channels.count))
    heavy[..., 0] = rng.normal(size=heavy.shape[:3])  # one family's tail is lighter than the others'
    walk = lambda: ((step, np.arange(400), heavy[step].copy()) for step in range(50))  # noqa: E731
    bands = Bands.fit(channels, lengths, walk)
    highest = np.max([bands.statistics(channels, average, step) for step, _, average in walk()], axis=0)
    np.testing.assert_allclose((highest > 1).mean(axis=0), 0.05, atol=0.006)


def test_regimes_are_where_the_innovations_change_their_size() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(8_000, 3))
    size = np.where(x[:, 1] > 0.25, 2.0, 0.2)
    z = size[:, None] * rng.normal(size=(8_000, 2))
    found = Regimes.fit(x, np.zeros(len(x), int), 1, z, 1)
    assert found.feature[0] == 1
    assert abs(found.cut[0] - 0.25) < 0.05
    assert found.count == 32
    values = z[:, :1]
    moments = Moments(found.count, 1)
    moments.add(found(x, None), values)
    found = found.with_tables(*moments.shrunk(50.0))
    standard = found.standard(values, found(x, None))
    away = np.abs(x[:, 1] - 0.25) > 0.1
    for where in (size > 1, size < 1):
        assert 0.6 < standard[away & where].std() < 1.2


def test_few_rows_ask_few_questions() -> None:
    x, z = np.random.default_rng(0).normal(size=(2, 500, 1))
    none = np.zeros(500, int)
    assert Regimes.fit(x, none, 1, z, 1).count == 2
    assert Regimes.fit(x[:100], none[:100], 1, z[:100], 1).count == 1


def test_each_action_has_regimes_of_its_own() -> None:
    rng = np.random.default_rng(0)
    x, action = rng.uniform(-1, 1, size=(6_000, 2)), rng.integers(3, size=6_000)
    z = np.where(x[:, :1] > 0.5, 3.0, 0.3) * rng.normal(size=(6_000, 1))
    found = Regimes.fit(x, action, 3, z, 1)
    assert found.count == 3 * 2 ** len(found.feature)
    regime = found(x, action)
    assert (regime // 2 ** len(found.feature) == action).all()
    assert len(set(regime[x[:, 0] > 0.6]) & set(regime[x[:, 0] < 0.4])) == 0


def test_a_question_is_asked_about_what_is_seldom_but_very_large() -> None:
    """In one row of fifty an innovation is a hundred times as large; elsewhere its size differs a little."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(450, 2))
    z = np.where(x > [0.98, 0.5], [100.0, 1.2], 1.0).prod(axis=1, keepdims=True) * rng.normal(size=(450, 1))
    assert Regimes.fit(x, np.zeros(450, int), 1, z, 1).feature.tolist() == [0]


def test_many_sensors_are_seen_in_the_directions_that_vary_most() -> None:
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(500, 2)) @ rng.normal(size=(2, 40)) + 0.01 * rng.normal(size=(500, 40))
    clean = probe(obs)
    scales = Scales.of(clean)
    assert scales.view.shape == (40, 8)
    seen = scales.scaled(clean.next_obs) @ scales.view
    np.testing.assert_allclose(np.cov(seen.T), np.eye(8), atol=0.02)
    explained = np.linalg.lstsq(seen[:, -2:], scales.scaled(clean.next_obs), rcond=None)[1].sum()
    assert explained < 0.01 * 500 * 40
    np.testing.assert_array_equal(Scales.of(probe(obs[:, :25])).view, np.eye(25))


def test_sensors_that_only_rounding_moves_have_their_size_as_the_unit() -> None:
    rng = np.random.default_rng(0)
    obs = np.stack(
        [
            np.full(20, 5.0),
            1e-10 * rng.normal(size=20),
            1e6 + 1e3 * rng.normal(size=20),
            1.0 + 1e-7 * rng.normal(size=20),
            np.zeros(20),
        ],
        axis=1,
    )
    unit = Scales.of(probe(obs)).deviation
    np.testing.assert_allclose(unit[[1, 2]], obs[1:, [1, 2]].std(axis=0))
    np.testing.assert_allclose(unit[[0, 3, 4]], [5.0, np.abs(obs[1:, 3]).max(), 1.0])


def test_faults_are_tried_on_the_middle_one_of_the_sensors_that_move() -> None:
    obs = np.random.default_rng(0).normal(size=(20, 7))
    assert Scales.of(probe(obs)).example == 3
    obs[:, 2:] = obs[0, 2:]
    assert Scales.of(probe(obs)).example == 1
    obs[:] = obs[0]
    assert Scales.of(probe(obs)).example == 3


def test_the_spread_is_what_foretold_deviations_are_short_of() -> None:
    raw = np.random.default_rng(0).normal(size=(50_000, 3)) * np.array([0.5, 1.0, 6.0])
    raw[:100] = 1e6  # far ones do not count for more
    np.testing.assert_allclose(spread(raw), [1.0, 1.0, 6.0], rtol=0.03)
