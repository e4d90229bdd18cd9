"""Environments of EnvPool: Weng et al., 2022 (arXiv:2206.10558), stepped in C++ by one call.

They keep their state to themselves. So that a run on them can be resumed all the same, every checkpoint ends
all episodes and begins new ones, from a seed of its own: a run that is resumed there goes on as the one that
was not stopped. Such checkpoints fall on fixed steps, so that the same seed learns the same again; and far
from one another, or agents would hardly see the later parts of long episodes.
"""

import warnings
from typing import Any

import gymnasium as gym
import torch

from envs.vector import VectorEnv
from training.errors import InputError
from training.seeds import stream
from training.state import Tree, capture, restore


class PoolEnv(VectorEnv):
    """A `VectorEnv` of EnvPool's environments."""

    STATE = ("_restarts", "_returns", "_lengths")
    checkpoint_every = 10_000

    def __init__(self, env: str, num_envs: int, seed: int) -> None:
        """Raises InputError where EnvPool is missing or does not have the environment."""
        env = env.removeprefix("ALE/")  # Gymnasium's names of Atari
        self._env, self._seed, self._restarts = env, seed, 0
        super().__init__(self._pool(num_envs), None, f"envpool/{env}")

    def state_dict(self) -> dict[str, Tree]:
        """What `load_state_dict` needs; begins all episodes again."""
        self._restarts += 1
        self._restart()
        return capture(self, self.STATE)

    def load_state_dict(self, state: dict[str, Tree]) -> None:
        """Goes on where `state_dict` began again."""
        restore(self, state)
        self._restart()

    def _restart(self) -> None:
        self._envs.close()
        self._envs = self._pool(self.num_envs)
        self._begin(self._envs.reset()[0])

    def _pool(self, num_envs: int) -> gym.vector.VectorEnv:
        try:
            import envpool
        except ImportError:
            raise InputError(
                "EnvPool is not installed, expected: pip install 'rl-generative-lab[envpool]'"
            ) from None
        told: dict[str, Any] = {
            "num_envs": num_envs,
            "seed": stream(self._seed, f"pool {self._restarts}") % 2**31,
            "num_threads": torch.get_num_threads(),
        }
        if self._env not in envpool.list_all_envs():
            raise InputError(f"EnvPool has no {self._env!r}, expected one of envpool.list_all_envs()")
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            made: Any = envpool.make(self._env, env_type="gymnasium", **told)
            for space in ("single_observation_space", "single_action_space"):
                getattr(made, space)  # made when first asked for, with the warnings
        for warning in said:
            if "precision lowered" not in str(warning.message):  # it writes bounds in float64
                warnings.warn(warning.message, warning.category, stacklevel=2)
        return made
