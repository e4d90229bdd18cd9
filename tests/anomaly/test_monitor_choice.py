import numpy as np
import pytest

from anomaly.monitor_choice import RIDGES, chosen
from anomaly.monitor_nets import Config
from anomaly.monitor_state import Scales
from envs.recording import Episodes


def turning(noise: float, products: float = 0.0, episodes: int = 20, steps: int = 100) -> Episodes:
    """A pointer that turns by an angle a step and is pushed at random; its sensors are noisy."""
    random = np.random.default_rng(0)
    turn = np.array([[np.cos(0.1), np.sin(0.1)], [-np.sin(0.1), np.cos(0.1)]])
    rows = {"obs": [], "next_obs": [], "action": []}
    for _ in range(episodes):
        state, action = random.normal(size=2), random.uniform(-1, 1, (steps, 1))
        states = [state]
        for push in action:
            bent = products * np.array([state[0] * state[1], 0.0])
            state = 0.99 * turn @ state + np.array([0.0, 0.1]) * push + bent
            states.append(state)
        seen = np.array(states) + noise * random.normal(size=(steps + 1, 2))
        rows["obs"].append(seen[:-1])
        rows["next_obs"].append(seen[1:])
        rows["action"].append(action)
    count = episodes * steps
    flag = np.zeros(count, bool)
    return Episodes(
        **{name: np.concatenate(parts) for name, parts in rows.items()},
        reward=np.zeros(count),
        terminated=flag,
        truncated=flag,
        fault=flag,
        length=np.full(episodes, steps),
        seed=np.arange(episodes),
        env="turning",
    )


@pytest.mark.parametrize(("noise", "history"), [(0.0, 1), (0.2, 4)])
def test_a_longer_past_is_taken_where_sensors_are_noisy(noise: float, history: int) -> None:
    clean = turning(noise)
    assert chosen(Config(), Scales.of(clean), clean).history == history


def test_an_exact_world_is_told_by_large_weights() -> None:
    clean = turning(0.0, products=0.05)
    assert chosen(Config(), Scales.of(clean), clean).ridge == RIDGES[0]


@pytest.mark.parametrize(("products", "degree"), [(0.0, 1), (0.05, 2)])
def test_the_degree_is_the_least_that_tells_the_world(products: float, degree: int) -> None:
    clean = turning(0.0, products)
    assert chosen(Config(history=1), Scales.of(clean), clean).degree == degree


def test_weights_are_small_where_inputs_are_almost_the_same() -> None:
    clean = turning(0.0)
    narrow = np.random.default_rng(1).normal(size=(len(clean.obs), 2)) * [1.0, 0.01]
    copies = narrow @ [[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, -1.0, 2.0]]  # four sensors that differ by a hundredth
    moved = np.tanh(3 * np.roll(copies, 1, axis=0)) + 0.3 * np.random.default_rng(2).normal(size=copies.shape)
    few = Episodes(**{**vars(clean), "obs": copies, "next_obs": copies + moved}).part(np.arange(2))
    assert chosen(Config(history=1, degree=3), Scales.of(few), few).ridge == RIDGES[-1]


def test_what_is_told_is_not_chosen() -> None:
    clean = turning(0.2)
    found = chosen(Config(history=2, degree=2, ridge=0.01), Scales.of(clean), clean)
    assert (found.history, found.degree, found.ridge) == (2, 2, 0.01)
