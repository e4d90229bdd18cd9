"""The oracle of LunarLander: the true simulator, put where an observation says."""

import numpy as np
import pytest
import torch

pytest.importorskip("Box2D")
from gymnasium.envs.box2d.lunar_lander import heuristic

from anomaly.monitor_state import Scales
from benchmarks.monitor_lander import Lander, LanderSteps
from envs.recording import Episodes, record
from envs.vector import make_one

FREE, AFTER = 0.3, 30  # height above which no leg is near the ground; steps after which legs are spread


def play(seeds: range) -> Episodes:
    """Gymnasium's own pilot; in the air, three in ten actions are drawn."""
    draw, world = torch.Generator().manual_seed(0), make_one("LunarLander-v3")

    def act(obs: torch.Tensor) -> torch.Tensor:
        chosen = torch.tensor([heuristic(world, one) for one in obs.numpy()])
        drawn = torch.randint(4, chosen.shape, generator=draw)
        strays = (torch.rand(len(obs), generator=draw) < 0.3) & (obs[:, 6:] == 0).all(dim=1)
        return torch.where(strays, drawn, chosen)

    return record(act, "LunarLander-v3", seeds)


@pytest.fixture(scope="module")
def episodes() -> Episodes:
    return play(range(100, 115))


def late_and_free(episodes: Episodes) -> np.ndarray:
    step = np.arange(len(episodes.obs)) - np.repeat(episodes.starts, episodes.length)
    return (episodes.obs[:, 1] > FREE) & (step > AFTER)


def test_without_an_engine_the_step_in_the_air_is_that_of_the_world(episodes: Episodes) -> None:
    lander = Lander()
    rows = np.flatnonzero(late_and_free(episodes) & (episodes.action == 0))[:100]
    after = np.array([lander(episodes.obs[i], 0)[0] for i in rows])
    assert len(rows) == 100
    np.testing.assert_allclose(after, episodes.next_obs[rows], atol=2e-5)


@pytest.mark.parametrize("engine", [1, 2, 3])
def test_with_an_engine_it_is_right_in_the_mean(episodes: Episodes, engine: int) -> None:
    lander = Lander()
    rows = np.flatnonzero(late_and_free(episodes) & (episodes.action == engine))
    off = np.array([lander(episodes.obs[i], engine)[0] for i in rows]) - episodes.next_obs[rows]
    error = off.std(axis=0) / np.sqrt(len(rows))
    assert len(rows) > 50
    assert (np.abs(off.mean(axis=0))[:6] < 4 * error[:6] + 1e-6).all()


def test_what_rests_on_the_ground_stays() -> None:
    lander = Lander()
    resting = np.array([0.0, -0.00095, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    after, near = lander(resting, 0)
    assert near
    np.testing.assert_allclose(after, resting, atol=1e-3)


def test_a_step_depends_on_nothing_before_it(episodes: Episodes) -> None:
    lander = Lander()
    rows = np.arange(0, len(episodes.obs), 23)
    forth = np.array([lander(episodes.obs[i], int(episodes.action[i]))[0] for i in rows])
    back = np.array([lander(episodes.obs[i], int(episodes.action[i]))[0] for i in rows[::-1]])
    np.testing.assert_array_equal(forth, back[::-1])


def test_innovations_of_other_episodes_have_the_deviation_it_tells(episodes: Episodes) -> None:
    scales, other = Scales.of(episodes), play(range(200, 215))
    steps = LanderSteps(scales, episodes)
    x, action, change = scales.histories(other, 1)
    pushed = late_and_free(other) & (other.action > 0)
    mean, deviation, doubt = steps(x[pushed], action[pushed])
    z = ((change[pushed] - mean) / deviation)[:, :6]
    assert (doubt == 0).all()
    np.testing.assert_allclose(z.std(axis=0), 1.0, atol=0.15)
