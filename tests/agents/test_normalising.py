"""With normalisation, agents learn the same whatever the units of observations and rewards."""

from typing import Any

import gymnasium as gym
import pytest
import torch

from agents import dqn, qr_dqn, sac
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


@pytest.mark.parametrize(("module", "name"), [(dqn, "acrobot"), (qr_dqn, "acrobot"), (sac, "pendulum")])
def test_units_change_nothing(module: Any, name: str) -> None:
    seen, numbers = [], []
    for loudness, factor in (("quiet", 1.0), ("loud", LOUD)):
        env = f"probe/{loudness}-{name}-v0"
        cfg = module.Config(
            env=env, num_envs=2, collect=64, updates=8, batch=32, normalise_obs=True, normalise_reward=True
        )
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
