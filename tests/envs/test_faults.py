import gymnasium as gym
import numpy as np
import pytest
import torch

import tests.probes  # noqa: F401  (registers its environments)
from envs.dynamics import Dynamics
from envs.faults import Fault, FaultyEnv
from envs.recording import record
from envs.twins import first_change
from envs.vector import make_one
from training.errors import InputError

ENV, SEEDS, ONSET = "CartPole-v1", range(20), 5


def still(obs: torch.Tensor) -> torch.Tensor:
    return (obs[:, 2] + obs[:, 3] > 0).long()  # pushes under the falling pole: episodes are long


def both(**fault: object):
    """Clean episodes and their twins with a fault from step ONSET on."""
    broken = Fault(onset=ONSET, **fault)
    return record(still, ENV, SEEDS), record(still, ENV, SEEDS, [broken] * len(SEEDS))


CARTPOLE = ["noise", "bias", "stuck", "force", "none", "autoregressive", "scale", "drift", "dropout", "delay"]
CARTPOLE += ["replace", "lost", "late", "gravity", "length", "mass"]


@pytest.mark.parametrize("kind", CARTPOLE)
def test_twins_are_equal_before_the_onset(kind: str) -> None:
    clean, faulty = both(kind=kind, size=0.9 if kind in ("dropout", "replace") else 1.5)
    for episode in range(len(SEEDS)):
        a, b = clean.starts[episode], faulty.starts[episode]
        np.testing.assert_array_equal(clean.next_obs[a : a + ONSET], faulty.next_obs[b : b + ONSET])
        assert not faulty.fault[b : b + ONSET].any()
        assert faulty.fault[b + ONSET : b + faulty.length[episode]].all()


def test_a_fault_of_kind_none_changes_nothing() -> None:
    clean, faulty = both(kind="none")
    np.testing.assert_array_equal(clean.next_obs, faulty.next_obs)


def test_noise_has_the_asked_deviation_and_mean_zero() -> None:
    scale = (1.0, 2.0, 3.0, 4.0)
    env = FaultyEnv(make_one(ENV), Fault(kind="noise", size=0.5, scale=scale))
    env.reset(seed=0)
    differences = np.array([env._broken(np.zeros(4)) for _ in range(20_000)])
    np.testing.assert_allclose(differences.std(0), 0.5 * np.array(scale), rtol=0.02)
    np.testing.assert_allclose(differences.mean(0), 0, atol=0.03)


def test_noise_draws_from_other_numbers_than_the_environment() -> None:
    env = FaultyEnv(make_one(ENV), Fault(kind="noise", size=1.0))
    env.reset(seed=0)
    assert env._random.bit_generator.state != np.random.default_rng(0).bit_generator.state
    assert env._random.random() != np.random.default_rng(0).random()


def test_bias_adds_to_the_named_sensors_only() -> None:
    clean, faulty = both(kind="bias", size=0.5, sensors=(1, 3), scale=(9.0, 2.0, 9.0, 4.0))
    first, second = clean.starts[0] + ONSET, faulty.starts[0] + ONSET
    added = faulty.next_obs[second] - clean.next_obs[first]
    np.testing.assert_allclose(added, [0, 1, 0, 2], atol=1e-6)


def test_sensors_of_whole_numbers_may_read_numbers_between_them() -> None:
    def right(obs: torch.Tensor) -> torch.Tensor:
        return torch.full((len(obs),), 2)

    clean, faulty = (
        record(right, "FrozenLake-v1", SEEDS, [Fault(kind=kind, onset=0, size=0.5)] * len(SEEDS))
        for kind in ("none", "bias")
    )
    np.testing.assert_array_equal(faulty.next_obs, clean.next_obs + 0.5)
    space = FaultyEnv(make_one("FrozenLake-v1"), Fault(kind="bias", size=0.5)).observation_space
    assert (space.dtype, space.shape) == (np.float32, (16,))


def test_a_stuck_sensor_keeps_its_last_whole_value() -> None:
    _, faulty = both(kind="stuck", sensors=(2,))
    start = faulty.starts[0]
    after = faulty.next_obs[start + ONSET : start + faulty.length[0], 2]
    assert set(after) == {faulty.next_obs[start + ONSET - 1, 2]}
    assert len(set(faulty.next_obs[start + ONSET : start + faulty.length[0], 0])) > 1


def test_force_scales_the_acceleration_and_is_whole_again_after_reset() -> None:
    env = FaultyEnv(make_one(ENV), Fault(kind="force", size=2.0, onset=1))
    velocity = []
    for onset_passed in (False, True):
        env.reset(seed=3)
        env.unwrapped.state = np.zeros(4)
        if onset_passed:
            env.step(1)
            env.unwrapped.state = np.zeros(4)
        velocity.append(env.step(1)[0][1])
    assert velocity[1] == pytest.approx(2 * velocity[0])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"kind": "bias", "sensors": (4,)}, "expected some of 0 to 3"),
        ({"kind": "noise", "scale": (1.0,)}, "scale has 1 numbers, expected 4"),
        ({"kind": "gain", "size": 2.0}, "expected continuous ones"),
        ({"kind": "lost", "actuators": (2,)}, "expected some of 0 to 1"),
        ({"kind": "dropout", "size": 2.0}, "expected a probability"),
        ({"kind": "noise", "size": -1.0}, "size is -1.0, expected a number of 0 or more"),
        ({"kind": "bias", "size": float("nan")}, "size is nan, expected a number"),
        ({"kind": "stuck", "shape": "ramp"}, "expected another shape"),
        ({"kind": "delay", "steps": 0}, "steps is 0, expected 1 or more"),
        ({"kind": "attack"}, "expected `attack`"),
        ({"kind": "mass", "size": -1.0}, "size is -1.0, expected more than 0 for mass"),
        ({"kind": "wind"}, "expected one of force, gravity, length, mass"),
    ],
)
def test_faults_that_do_not_fit_are_refused(fault: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FaultyEnv(make_one(ENV), Fault(**fault))


def test_force_needs_an_environment_with_a_force() -> None:
    with pytest.raises(InputError, match="no force to change, expected one of gravity, length, mass"):
        FaultyEnv(make_one("Pendulum-v1"), Fault(kind="force"))


def sways(obs: torch.Tensor) -> torch.Tensor:
    return torch.sin(3 * obs[:, 2:])  # of Pendulum's angular velocity


@pytest.mark.parametrize("kind", ["gain", "offset", "jitter", "lost", "replace", "late", "gravity", "mass"])
def test_twins_of_continuous_actions_are_equal_until_the_fault_changes_something(kind: str) -> None:
    fault = Fault(kind=kind, size=0.5, onset=ONSET)
    clean = record(sways, "Pendulum-v1", range(3), max_steps=30)
    faulty = record(sways, "Pendulum-v1", range(3), [fault] * 3, max_steps=30)
    assert (first_change(faulty, clean) >= ONSET).all()
    for a in clean.starts:
        np.testing.assert_array_equal(clean.next_obs[a : a + ONSET], faulty.next_obs[a : a + ONSET])


def test_a_fault_that_changes_nothing_has_no_first_change() -> None:
    clean, faulty = both(kind="force", size=1.0)
    assert (first_change(faulty, clean) == -1).all()
    with pytest.raises(InputError, match="expected twins"):
        first_change(record(still, ENV, [99]), record(still, ENV, [98]))


def played(fault: Fault, steps: int, seed: int = 0) -> np.ndarray:
    """What a fault makes of a sensor pair that reads 1 and 2 forever."""
    env = FaultyEnv(Constant(), fault)
    env.reset(seed=seed)
    return np.array([env.step(0)[0] for _ in range(steps)])


class Constant(gym.Env):
    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def __init__(self) -> None:
        self.clock = 0

    def reset(self, *, seed=None, options=None):
        self.clock = 0
        return np.array([1.0, 0.0]), {}

    def step(self, action):
        self.clock += 1
        return np.array([1.0, self.clock]), 0.0, False, False, {}


@pytest.mark.parametrize("at", [0, 1, 40])
def test_autoregressive_noise_is_stationary_with_the_asked_variance_and_memory(at: int) -> None:
    noise = np.array(
        [played(Fault(kind="autoregressive", size=0.5), at + 2, seed)[at:, 0] - 1 for seed in range(3_000)]
    )
    assert noise.var(axis=0) == pytest.approx(0.25, rel=0.08)
    assert np.corrcoef(noise.T)[0, 1] == pytest.approx(0.9, abs=0.02)


def test_correlated_noise_keeps_its_variance_and_gains_memory_at_the_onset() -> None:
    fault = Fault(kind="correlated", onset=10, sensors=(0,))
    noise = np.array([played(fault, 20, seed)[:, 0] - 1 for seed in range(3_000)])
    assert noise.var(axis=0) == pytest.approx(1.0, rel=0.12)
    correlation = np.corrcoef(noise.T)
    assert correlation[3, 4] == pytest.approx(0.0, abs=0.06)
    assert correlation[12, 13] == pytest.approx(0.9, abs=0.02)


def test_scale_drift_delay_and_dropout_do_what_they_say() -> None:
    assert played(Fault(kind="scale", size=3.0, sensors=(0,)), 1)[0].tolist() == [3.0, 1.0]
    drift = played(Fault(kind="drift", size=0.5, sensors=(0,), onset=2), 5)
    assert drift[:, 0].tolist() == [1.0, 1.0, 1.5, 2.0, 2.5]
    delay = played(Fault(kind="delay", steps=3, onset=1), 6)
    assert delay[:, 1].tolist() == [1.0, 0.0, 0.0, 1.0, 2.0, 3.0]
    dropped = played(Fault(kind="dropout", size=0.05, steps=4, sensors=(0,)), 20_000)[:, 0]
    starts = (dropped[1:] == 0) & (dropped[:-1] == 1)
    gaps = (dropped == 0).sum() / starts.sum()
    assert gaps == pytest.approx(4.2, abs=0.15)  # a gap of 4 is followed by the next with probability 0.05
    assert played(Fault(kind="dropout", size=1.0, steps=4), 9).max() == 0


def test_ramps_rise_pauses_pause_and_everything_is_whole_after_the_duration() -> None:
    ramp = Fault(kind="bias", size=4.0, shape="ramp", over=4, onset=1, duration=6)
    assert (played(ramp, 9)[:, 0] - 1).tolist() == [0, 1, 2, 3, 4, 4, 4, 0, 0]
    pauses = Fault(kind="bias", size=1.0, shape="intermittent", over=2, onset=1)
    assert (played(pauses, 8)[:, 0] - 1).tolist() == [0, 1, 1, 0, 0, 1, 1, 0]
    growing = Fault(kind="force", size=3.0, shape="ramp", over=4)
    assert [growing.size_at(step) for step in range(5)] == [1.5, 2.0, 2.5, 3.0, 3.0]


class Told(gym.Wrapper):
    """Remembers what it was told to do."""

    def step(self, action):
        self.told = action
        return super().step(action)


def done(fault: Fault, actions: list, env: str) -> list:
    told = Told(make_one(env))
    faulty = FaultyEnv(told, fault)
    faulty.reset(seed=0)
    found = []
    for action in actions:
        faulty.step(action)
        found.append(told.told if isinstance(action, int) else told.told.tolist())
    return found


@pytest.mark.parametrize("env", ["probe/pair-v0", "probe/switches-v0"])
def test_several_discrete_numbers_are_replaced_and_lost(env: str) -> None:
    space = make_one(env).action_space
    asked = np.ones(space.shape, int)
    lost = np.stack(done(Fault(kind="lost", actuators=(1,)), [asked] * 3, env))
    assert (lost[:, 1] == 0).all()
    assert (np.delete(lost, 1, axis=1) == 1).all()
    half = done(Fault(kind="replace", size=0.5), [asked] * 2_000, env)
    assert all(space.contains(given) for given in half)
    assert np.mean([given[0] == 0 for given in half]) == pytest.approx(0.25, abs=0.05)  # of two, every other


def test_actions_are_late_lost_scaled_and_replaced() -> None:
    assert done(Fault(kind="late", steps=2), [1, 0, 0, 1, 1], ENV) == [1, 1, 1, 0, 0]
    assert done(Fault(kind="lost", actuators=(0,)), [1, 0, 1, 0], ENV) == [1, 1, 1, 1]
    push = [np.array([0.5], np.float32)]
    assert done(Fault(kind="gain", size=1.5), push, "Pendulum-v1") == [[0.75]]
    assert done(Fault(kind="offset", size=0.5), push, "Pendulum-v1") == [[1.5]]
    assert done(Fault(kind="offset", size=2.0), push, "Pendulum-v1") == [[2.0]]
    assert done(Fault(kind="lost"), push, "Pendulum-v1") == [[0.0]]
    replaced = done(Fault(kind="replace", size=0.5), [0] * 10, ENV)
    assert 0 < sum(replaced) < 10


def test_dynamics_change_what_follows_from_them_and_are_whole_again() -> None:
    env = make_one(ENV)
    change = Dynamics(env, "mass")
    change.set(2.0)
    world = env.unwrapped
    assert (world.masspole, world.total_mass, world.polemass_length) == (0.2, 1.2, 0.1)
    change.set(1.0)
    assert (world.masspole, world.total_mass, world.polemass_length) == (0.1, 1.1, 0.05)
    acrobot = make_one("Acrobot-v1")
    Dynamics(acrobot, "length").set(2.0)
    assert (acrobot.unwrapped.LINK_LENGTH_1, acrobot.unwrapped.LINK_MOI) == (2.0, 4.0)


def test_starts_are_multiplied_from_the_first_observation_on() -> None:
    for env in (ENV, "Acrobot-v1", "Pendulum-v1"):
        clean, far = make_one(env), FaultyEnv(make_one(env), Fault(kind="start", size=2.0))
        clean.reset(seed=1)
        obs, info = far.reset(seed=1)
        assert info["fault"]
        np.testing.assert_allclose(far.unwrapped.state, 2 * clean.unwrapped.state)
        assert far.observation_space.contains(obs)


def test_an_attack_decides_what_is_seen() -> None:
    fault = Fault(kind="attack", attack=lambda obs: obs + 7, onset=1)
    assert played(fault, 2)[:, 0].tolist() == [1.0, 8.0]


def test_wind_and_gravity_move_the_lander() -> None:
    pytest.importorskip("Box2D")
    idle = lambda obs: torch.zeros(len(obs), dtype=torch.int64)  # noqa: E731
    clean = record(idle, "LunarLander-v3", range(2), max_steps=20)
    for kind, size in (("wind", 2.0), ("gravity", 1.5)):
        fault = Fault(kind=kind, size=size, onset=ONSET)
        faulty = record(idle, "LunarLander-v3", range(2), [fault] * 2, max_steps=20)
        assert (first_change(faulty, clean) == ONSET).all()


def test_wind_that_is_there_already_is_multiplied() -> None:
    pytest.importorskip("Box2D")
    world = make_one("LunarLander-v3", enable_wind=True, wind_power=8.0)
    wind, lander = Dynamics(world, "wind"), world.unwrapped
    for factor in (1.0, 1.5, 1.0):
        wind.set(factor)
        assert (lander.enable_wind, lander.wind_power) == (True, 8.0 * factor)


@pytest.mark.parametrize(("name", "value"), [("kind", "banana"), ("shape", "sudden")])
def test_unknown_kinds_and_shapes_are_refused(name: str, value: str) -> None:
    fault = Fault(kind="bias")
    object.__setattr__(fault, name, value)  # past what checks types in tests
    with pytest.raises(InputError, match=f"the fault's {name} is '{value}', expected "):
        fault.__post_init__()
