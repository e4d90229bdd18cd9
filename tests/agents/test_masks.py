"""Value methods where actions are forbidden; policy gradients are in test_ppo.py and test_heads.py."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from agents import dqn, pqn, qr_dqn, rainbow
from agents.parts.explore import play
from envs import Spaces, make
from tests.probes import Masked
from training.errors import InputError
from training.run import RunConfig

PLAYERS = pytest.mark.parametrize("module", [dqn, qr_dqn, rainbow, pqn], ids=lambda module: module.__name__)


class Endless(Masked):
    """Goes on: targets look beyond a step."""

    def step(self, action: int) -> tuple:
        obs, reward, _, truncated, info = super().step(action)
        return obs, reward, False, truncated, info


class Cornered(Endless):
    """Allows nothing any more, in the middle of an episode."""

    def step(self, action: int) -> tuple:
        *found, _ = super().step(action)
        return *found, {"action_mask": np.zeros(3, np.int8)}


gym.register("probe/cornered-v0", Cornered)
gym.register("probe/masked-endless-v0", Endless, max_episode_steps=3)


def learned(module: Any, env: str, steps: int, thought: float = 0.0, **settings: object) -> Any:
    """A learner after its run; `thought` is added to what it first thinks of the forbidden action."""
    run = RunConfig(steps=steps, device="cpu")
    cfg = module.Config(env=env, hidden=(32,), lr=1e-2, gamma=0.5, explore_steps=1_000, run=run, **settings)
    envs = make(env, cfg.num_envs, seed=0)
    learner = module.Learner(cfg, envs.spaces)
    last = [layer for layer in learner.model.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        last.bias.unflatten(0, learner.model.shape)[2, -1] += thought
    for _ in module.train(cfg, learner, envs):
        pass
    return learner


@PLAYERS
def test_the_best_allowed_action_is_learned_and_no_other_taken(module: Any) -> None:
    model = learned(module, "probe/masked-v0", 4_000).model  # the probe fails when a mask is not kept
    assert model.act(torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])).tolist() == [1, 0]


@PLAYERS
def test_what_is_thought_of_a_forbidden_action_changes_nothing(module: Any) -> None:
    more = {"noisy": False, "dueling": False} if module is rainbow else {}
    found = [
        learned(module, "probe/masked-endless-v0", 3_000, thought, **more).model(torch.ones(1, 4))[0, :2]
        for thought in (0.0, 100.0)
    ]
    assert torch.equal(*found)


def test_exploring_draws_evenly_from_what_is_allowed() -> None:
    envs = make("probe/masked-endless-v0", 4, seed=0)
    rollout = play(envs, lambda obs: torch.zeros(len(obs), dtype=torch.int64), 2_000, 1.0, torch.Generator())
    both = rollout.valid & (rollout.obs[..., 2] > 0)
    share = rollout.action[both].float().mean().item()
    assert share == pytest.approx(0.5, abs=4 * 0.5 / both.sum().item() ** 0.5)
    assert not rollout.action[rollout.valid & ~both].any()


def test_a_state_that_forbids_everything_has_the_values_of_its_actions() -> None:
    model = dqn.QNetwork(dqn.Config(), Spaces(5, discrete=2, masked=True))
    obs = torch.zeros(1, 5)
    with torch.no_grad():
        assert torch.equal(model.values(obs, model(obs)), model(obs)[..., 0])


def test_an_environment_that_allows_nothing_before_an_end_is_named() -> None:
    envs = make("probe/cornered-v0", 1, seed=0)
    with pytest.raises(InputError, match=r"step 1: .*is \[0, 0, 0\], expected one allowed choice or more"):
        envs.step(torch.zeros(1, dtype=torch.int64))
