"""Environments that can be put back into the middle of an episode, whatever they are made of."""

from typing import Any

import gymnasium as gym
import numpy as np


class Replayable(gym.Wrapper):
    """Remembers how its episode began and every action since; `load_state_dict` plays it again.

    Physics engines hide their state, but with the same generator at the reset and the same actions they do
    the same again. An episode without an end would be remembered without an end.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Starts an episode, and remembers the seed or the generator's state it starts from."""
        self._seed = seed
        self._random = self.unwrapped.np_random.bit_generator.state if seed is None else None
        self._actions: list[Any] = []
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        """Acts, and remembers the action."""
        self._actions.append(action)
        return self.env.step(action)

    def state_dict(self) -> dict[str, Any]:
        """How the episode began, and its actions (T,) or (T, A)."""
        return {"seed": self._seed, "random": self._random, "actions": np.array(self._actions)}

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Plays the episode of `state` up to where it was, and returns the observation there."""
        if state["random"] is not None:
            self.unwrapped.np_random.bit_generator.state = state["random"]
        obs, _ = self.reset(seed=state["seed"])
        for action in state["actions"]:
            obs, *_ = self.step(action)
        return obs
