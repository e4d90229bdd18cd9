"""Zips of Stable-Baselines3 whose observations went through VecNormalize."""

import pickle
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from agents import registry, sb3_zip
from training.errors import InputError


def saved(here: Path, env: str = "Pendulum-v1", **options: float | bool) -> tuple[PPO, VecNormalize]:
    """A model and the statistics of its observations, saved as model.zip and statistics.pkl."""
    envs = VecNormalize(DummyVecEnv([lambda: gym.make(env)]), **options)
    model = PPO("MlpPolicy", envs, n_steps=64, batch_size=64, n_epochs=1, seed=0, device="cpu").learn(64)
    model.save(here / "model.zip")
    envs.save(str(here / "statistics.pkl"))
    return model, envs


@pytest.mark.parametrize("options", [{}, {"clip_obs": 0.7}, {"norm_obs": False}])
def test_a_policy_sees_what_it_was_trained_on(options: dict, tmp_path: Path) -> None:
    model, envs = saved(tmp_path, **options)
    agent = sb3_zip.read(tmp_path / "model.zip", "Pendulum-v1", tmp_path / "statistics.pkl")
    registry.save(tmp_path / "ours", agent.kind, agent)
    policy = registry.load(tmp_path / "ours").policy
    obs = np.random.default_rng(0).uniform(-2, 2, (50, 3)).astype(np.float32)
    theirs = model.predict(envs.normalize_obs(obs), deterministic=True)[0]
    np.testing.assert_allclose(2 * policy.act(torch.from_numpy(obs)).numpy(), theirs, atol=1e-5)
    if options.get("norm_obs", True):
        raw = model.predict(obs, deterministic=True)[0]
        assert np.abs(raw - theirs).max() > 1e-3


def test_other_statistics_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "number.pkl").write_bytes(pickle.dumps(3))
    (tmp_path / "other").mkdir()
    saved(tmp_path / "other", "CartPole-v1")
    for name, message in (
        ("number.pkl", "holds a int, expected a VecNormalize"),
        ("none.pkl", "does not exist, expected what VecNormalize saved"),
        ("other/statistics.pkl", "normalises 4 numbers, expected 3 numbers"),
    ):
        with pytest.raises(InputError, match=message):
            sb3_zip.read(tmp_path / "model.zip", "Pendulum-v1", tmp_path / name)
