"""Actions that are not always allowed: `info["action_mask"]` becomes part of what is seen.

The mask stands after the observation, 1 for each choice that is allowed and 0 for each that is not, so that
whatever stores, replays or records observations keeps masks with them, and a policy is a function of what it
sees.
"""

from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np

from envs.own import made
from training.errors import InputError


class MaskedBox(gym.spaces.Box):
    """A row of numbers whose last `choices` are a mask."""

    def __init__(self, plain: gym.spaces.Box, choices: int) -> None:
        low = np.concatenate([plain.low, np.zeros(choices)]).astype(np.float32)
        high = np.concatenate([plain.high, np.ones(choices)]).astype(np.float32)
        super().__init__(low, high, dtype=np.float32)
        self.choices = choices


class MaskedEnv(gym.Wrapper):
    """Adds the mask to a row of numbers."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        assert isinstance(env.observation_space, gym.spaces.Box)
        self.observation_space = MaskedBox(env.observation_space, choices(env.action_space))
        self._firsts = np.cumsum((0, *sizes(env.action_space)))[:-1]  # of each number's choices

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._seen(obs, info, goes_on=True), info

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """Acts."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        goes_on = not (terminated or truncated)
        return self._seen(obs, info, goes_on), reward, terminated, truncated, info

    def _seen(self, obs: np.ndarray, info: dict[str, Any], goes_on: bool) -> np.ndarray:
        mask = np.ravel(info["action_mask"]) if "action_mask" in info else np.zeros(0)
        wanted = choices(self.action_space)
        if len(mask) != wanted:
            raise InputError(f"info['action_mask'] has {len(mask)} numbers, expected {wanted}")
        if goes_on and not np.logical_or.reduceat(mask, self._firsts).all():
            raise InputError(f"info['action_mask'] is {mask.tolist()}, expected one allowed choice or more")
        return np.concatenate([obs, mask]).astype(np.float32)


def sizes(space: gym.Space) -> tuple[int, ...]:
    """How many choices each number of a discrete action has; () when it is continuous, or something else."""
    if isinstance(space, gym.spaces.Discrete):
        return (int(space.n),)
    if isinstance(space, gym.spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return tuple(map(int, space.nvec))
    if isinstance(space, gym.spaces.MultiBinary) and len(space.shape) == 1:
        return (2,) * space.shape[0]
    return ()


def choices(space: gym.Space) -> int:
    """How many choices an action space has, over all its numbers; 0 when it is continuous."""
    return sum(sizes(space))


def masked(env: str, action_space: gym.Space) -> bool:
    """Whether the environment called `env` gives a mask."""
    return choices(action_space) > 0 and _masked(env)


@lru_cache
def _masked(env: str) -> bool:
    """Found out once, by a reset of an environment that is thrown away."""
    one = made(env)
    try:
        return "action_mask" in one.reset(seed=0)[1]
    except Exception:  # the real ones will raise it too, and then it is said whose it is
        return False
    finally:
        one.close()
