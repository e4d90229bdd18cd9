"""With normalisation, agents learn the same whatever the units of observations and rewards."""

from typing import Any

import gymnasium as gym
import pytest
import torch

from agents import dqn, ppo_lstm, pqn, qr_dqn, rainbow, sac
from envs import make

LOUD = 256.0  # a power of two: scaled numbers have the same digits


def scaled(env: str, factor: float) -> gym.Env:
    one = gym.make(env)
    space = gym.spaces.Box(-float("inf"), float("inf"), one.observation_space.shape)  # type: ignore[arg-type]
    loud = gym.wrappers.TransformObservation(one, lambda obs: obs * factor, space)
    return gym.wrappers.TransformReward(loud, lambda reward: float(reward) * factor)


for _name, _env in (("acrobot", "Acrobot-v1"), ("pendulum", "Pendulum-v1")):
    gym.register(f"probe/quiet-{_name}-v0", scaled, kwargs={"env": _env, "factor": 1.0})
    gym.register(f"probe/loud-{_name}-v0", scaled, kwargs={"env": _env, "factor": LOUD})


@pytest.mark.parametrize(
    ("module", "name"), [(dqn, "acrobot"), (qr_dqn, "acrobot"), (rainbow, "acrobot"), (sac, "pendulum")]
)
def test_units_change_nothing(module: Any, name: str) -> None:
    seen, numbers = [], []
    for loudness, factor in (("quiet", 1.0), ("loud", LOUD)):
        env = f"probe/{loudness}-{name}-v0"
        small = {"num_envs": 2, "collect": 64, "updates": 8, "batch": 32}
        if module is rainbow:
            small |= {"noisy": False}  # its first actions would come from what is not normalised yet
        cfg = module.Config(env=env, **small, normalise_obs=True, normalise_reward=True)
        envs = make(env, 2, seed=3)
        learner = module.Learner(cfg, envs.spaces)
        learner.collect(envs)  # as drawn: nothing is known of the units yet
        learner.learn()
        seen.append(learner.replay.rows.obs[:20] / factor)
        with torch.no_grad():
            numbers.append(learner.model(seen[-1] * factor))
    assert torch.equal(*seen)
    torch.testing.assert_close(numbers[0], numbers[1], rtol=1e-3, atol=1e-4)
    assert numbers[0].std() > 0


def test_a_memory_is_given_what_is_normalised() -> None:
    numbers = []
    for loudness, factor in (("quiet", 1.0), ("loud", LOUD)):
        cfg = ppo_lstm.Config(
            env=f"probe/{loudness}-acrobot-v0", num_envs=4, normalise_obs=True, normalise_reward=True
        )
        torch.manual_seed(0)
        learner = ppo_lstm.Learner(cfg, make(cfg.env, 4, seed=3).spaces)
        obs = factor * torch.randn(30, 4, learner.spaces.obs)
        learner.model.notice(obs.flatten(0, 1))
        begins = torch.zeros(30, 4, dtype=torch.bool)
        with torch.no_grad():
            numbers.append(learner.model(obs, begins, learner.model.blank(4))[0])
    torch.testing.assert_close(*numbers, rtol=1e-3, atol=1e-6)
    assert numbers[0].std() > 0


def test_units_change_nothing_without_a_replay() -> None:
    numbers = []
    for loudness in ("quiet", "loud"):
        env = f"probe/{loudness}-acrobot-v0"
        drawn = {"epsilon_end": 1.0, "num_envs": 4, "rollout": 128}
        envs = make(env, 4, seed=3)
        learner = pqn.Learner(
            pqn.Config(env=env, **drawn, normalise_obs=True, normalise_reward=True), envs.spaces
        )
        learner.model.notice(learner.collect(envs)[0])
        obs, _, target = learner.collect(envs)
        with torch.no_grad():
            numbers.append((target, learner.model(obs)))
    for quiet, loud in zip(*numbers, strict=True):
        torch.testing.assert_close(quiet, loud, rtol=1e-3, atol=1e-4)
