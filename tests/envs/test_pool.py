"""EnvPool's environments behind the same seam; skipped where the extra is not installed."""

import importlib.util
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.presets import PPO
from envs import make
from envs.pool import PoolEnv
from lab import learning
from training.checkpoint import load_model
from training.driver import Driver
from training.errors import InputError
from training.folder import read_rows

needed = pytest.mark.skipif(importlib.util.find_spec("envpool") is None, reason="EnvPool is an extra")


@needed
def test_it_plays_as_gymnasium_does() -> None:
    envs = make("envpool/CartPole-v1", 6, seed=0)
    theirs = gym.make("CartPole-v1").unwrapped
    theirs.reset(seed=0)
    generator = torch.Generator().manual_seed(0)
    ends = 0
    for _ in range(120):
        action = torch.randint(2, (6,), generator=generator)
        row = envs.step(action)
        ends += int((row.terminated | row.truncated).sum())
        for i in range(6):
            if row.valid[i]:
                theirs.state = row.obs[i].double().numpy()
                theirs.steps_beyond_terminated = None
                obs, reward, terminated, _, _ = theirs.step(int(action[i]))
                np.testing.assert_allclose(row.next_obs[i], obs, atol=1e-5)
                assert (row.reward[i].item(), bool(row.terminated[i])) == (reward, terminated)
            else:
                assert envs.begins[i]
                assert (envs.obs[i].abs() <= 0.05).all()
    assert ends > 10
    assert len(envs.episodes()["episode/length"]) == ends


@needed
def test_a_checkpoint_begins_all_episodes_again_the_same_way_for_whoever_goes_on() -> None:
    envs, other = (make("envpool/CartPole-v1", 4, seed=3) for _ in range(2))
    for _ in range(5):
        envs.step(torch.ones(4, dtype=torch.int64))
    before = envs.obs
    state = envs.state_dict()
    assert envs.begins.all()
    assert not torch.equal(envs.obs, before)
    other.load_state_dict(state)
    for _ in range(30):
        assert torch.equal(envs.obs, other.obs)
        assert all(map(torch.equal, envs.step(torch.ones(4).long()), other.step(torch.ones(4).long())))


@needed
def test_what_envpool_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match="EnvPool has no 'NoSuch-v0'"):
        make("envpool/NoSuch-v0", 2, seed=0)


def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(InputError, match=r"EnvPool is not installed, expected: pip install"):
        make("envpool/CartPole-v1", 2, seed=0)


@needed
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal leaves no checkpoint of its own: the run goes on from the last one that both have."""
    monkeypatch.setattr(PoolEnv, "checkpoint_every", 100)
    cfg = PPO["CartPole-v1"]
    run = replace(cfg.run, steps=8_000, log_every=1_000, evaluate_every=3_000, wandb="disabled", device="cpu")
    cfg = replace(cfg, env="envpool/CartPole-v1", num_envs=8, run=run)
    learning.learn("ppo", cfg, tmp_path / "straight")
    usual = Driver._write_row

    def stopped(driver: Driver, learned: bool = False) -> None:
        usual(driver, learned)
        if driver.step >= 5_000:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Driver, "_write_row", stopped)
        assert learning.learn("ppo", cfg, tmp_path / "stopped").signal == signal.SIGTERM
    assert learning.go_on(tmp_path / "stopped") is not None
    straight, again = (
        (
            [{k: v for k, v in row.items() if "time/" not in k} for row in read_rows(tmp_path / name)],
            {k: v.tolist() for k, v in load_model(tmp_path / name / "model")[0].items()},
        )
        for name in ("straight", "stopped")
    )
    assert again == straight
