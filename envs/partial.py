"""Environments that do not show all: what cannot be seen must be remembered."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TransformObservation


def still(**options: Any) -> gym.Env:
    """CartPole-v1 without its velocities: the positions of cart and pole, (2,)."""
    env = gym.make("CartPole-v1", disable_env_checker=True, **options)
    whole = env.observation_space
    assert isinstance(whole, gym.spaces.Box)
    seen = gym.spaces.Box(whole.low[[0, 2]], whole.high[[0, 2]], dtype=np.float32)
    return TransformObservation(env, lambda obs: obs[[0, 2]], seen)


gym.register("lab/CartPoleStill-v1", still)
