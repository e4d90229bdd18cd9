import numpy as np
import pytest
import torch

from envs.dynamics import Dynamics
from envs.faults import Fault, FaultyEnv
from envs.recording import record
from envs.twins import first_change
from envs.vector import make_one

pytest.importorskip("mujoco")
ONSET = 5


def leans(obs: torch.Tensor) -> torch.Tensor:
    return torch.sin(obs[:, :3] + 2 * obs[:, -3:])  # of three joints' angles and speeds, about


def test_mujoco_worlds_change_and_are_whole_again() -> None:
    clean = record(leans, "Hopper-v5", range(2), max_steps=30)
    for kind in ("force", "friction", "gravity", "mass"):
        for size in (1.5, 1.0):
            fault = Fault(kind=kind, size=size, onset=ONSET)
            faulty = record(leans, "Hopper-v5", range(2), [fault] * 2, max_steps=30)
            change = first_change(faulty, clean)
            assert (change >= ONSET).all() if size > 1 else (change == -1).all(), (kind, size)
    env = make_one("Hopper-v5")
    whole = env.unwrapped.model.body_mass.copy()
    change = Dynamics(env, "mass")
    change.set(2.0)
    np.testing.assert_allclose(env.unwrapped.model.body_mass, 2 * whole)
    change.set(1.0)
    np.testing.assert_array_equal(env.unwrapped.model.body_mass, whole)


def test_gravity_changes_nothing_in_a_plane_that_it_is_normal_to() -> None:
    turns = lambda obs: torch.sin(obs[:, :2])  # noqa: E731
    clean = record(turns, "Reacher-v5", range(2))
    for kind in ("gravity", "friction"):
        faulty = record(turns, "Reacher-v5", range(2), [Fault(kind=kind, size=2.0)] * 2)
        assert (first_change(faulty, clean) == -1).all()


def test_what_a_mujoco_reset_drew_is_multiplied() -> None:
    clean, far = make_one("Hopper-v5"), FaultyEnv(make_one("Hopper-v5"), Fault(kind="start", size=3.0))
    clean.reset(seed=1)
    obs, _ = far.reset(seed=1)
    a, b = clean.unwrapped, far.unwrapped
    np.testing.assert_allclose(b.data.qpos - b.init_qpos, 3 * (a.data.qpos - a.init_qpos), atol=1e-12)
    np.testing.assert_allclose(b.data.qvel, 3 * a.data.qvel)
    np.testing.assert_allclose(obs, np.concatenate([b.data.qpos[1:], b.data.qvel]))
