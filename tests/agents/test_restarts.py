"""Environments that begin again without an end: no learner looks across."""

from typing import Any

import gymnasium as gym
import pytest
import torch

import tests.probes
from agents import dqn, qr_dqn, rainbow, reinforce
from envs import make
from training.run import RunConfig

gym.register("probe/long-v0", tests.probes.Probe, kwargs={"kind": "endless"}, max_episode_steps=6)


def begun_again(module: Any, **settings: object) -> tuple[Any, Any]:
    """A learner after four steps in two environments, and these, which say that they have begun again."""
    cfg = module.Config(env="probe/long-v0", num_envs=2, gamma=0.5, run=RunConfig(device="cpu"), **settings)
    envs = make(cfg.env, cfg.num_envs, seed=0)
    learner = module.Learner(cfg, envs.spaces)
    learner.collect(envs)
    envs.begins = torch.ones(2, dtype=torch.bool)
    return learner, envs


@pytest.mark.parametrize("module", [dqn, qr_dqn, rainbow], ids=lambda module: module.__name__)
def test_no_target_looks_across_a_beginning(module: Any) -> None:
    learner, envs = begun_again(module, collect=4, n_step=3)
    learner.collect(envs)
    discounts = learner.replay.rows.discount[: len(learner.replay)].view(-1, 2)[:4]
    assert discounts.tolist() == [[0.125] * 2, [0.125] * 2, [0.25] * 2, [0.5] * 2]


def test_what_was_cut_off_by_a_beginning_is_not_learned_from() -> None:
    learner, envs = begun_again(reinforce, rollout=4)
    obs, _, ret = learner.collect(envs)  # the time limit comes after two of its steps
    assert len(obs) == len(ret) == 4
