import numpy as np
import pytest
import torch

from envs.faults import Fault, FaultyEnv
from envs.recording import record
from envs.vector import make_one
from training.errors import InputError

ENV, SEEDS, ONSET = "CartPole-v1", range(20), 5


def still(obs: torch.Tensor) -> torch.Tensor:
    return (obs[:, 2] + obs[:, 3] > 0).long()  # pushes under the falling pole: episodes are long


def both(**fault: object):
    """Clean episodes and their twins with a fault from step ONSET on."""
    broken = Fault(onset=ONSET, **fault)
    return record(still, ENV, SEEDS), record(still, ENV, SEEDS, [broken] * len(SEEDS))


@pytest.mark.parametrize("kind", ["noise", "bias", "stuck", "force", "none"])
def test_twins_are_equal_before_the_onset(kind: str) -> None:
    clean, faulty = both(kind=kind, size=1.5)
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
    ],
)
def test_faults_that_do_not_fit_are_refused(fault: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FaultyEnv(make_one(ENV), Fault(**fault))


def test_force_needs_an_environment_with_a_force() -> None:
    with pytest.raises(InputError, match="no force_mag"):
        FaultyEnv(make_one("Pendulum-v1"), Fault(kind="force"))
