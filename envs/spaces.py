"""What an agent sees and does, in numbers that a JSON file can hold."""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.masks import MaskedBox, sizes
from training.errors import InputError


def of_pixels(space: gym.Space) -> bool:
    """Whether what is observed is a picture (C, H, W) of bytes."""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3


@dataclass(frozen=True)
class Spaces:
    """Sizes of observation and action.

    Discrete actions are 0 .. n-1, several at once a row of such numbers. Continuous ones are given in
    [-1, 1], which `to_env` maps onto the bounds of the action space, axis by axis; what lies outside is
    clipped. An axis with one bound or none is taken as it is, and clipped at the bound.
    """

    obs: int  # numbers in an observation
    discrete: int = 0  # number of discrete actions; 0 when actions are continuous
    start: int = 0  # what the environment calls the first discrete action
    low: tuple[float, ...] = ()  # lower bounds of continuous actions
    high: tuple[float, ...] = ()  # upper bounds of continuous actions
    choices: tuple[int, ...] = ()  # of an action of several discrete numbers: how many each may take
    picture: tuple[int, ...] = ()  # channels, height and width, where the numbers are those of a picture
    masked: bool = False  # the last numbers of an observation say which choices are allowed

    @staticmethod
    def of(obs: gym.Space, action: gym.Space, name: str) -> "Spaces":
        """The sizes of two Gymnasium spaces of the environment called `name`.

        Raises:
            InputError: for observations that are not a row of numbers, and for actions that are neither
                discrete, one or several, nor a row of numbers with fractions.
        """
        picture = obs.shape if isinstance(obs, spaces.Box) and of_pixels(obs) else ()
        if not (isinstance(obs, spaces.Box) and (picture or (len(obs.shape) == 1 and obs.shape[0]))):
            raise InputError(
                f"{name} has observations {obs}, expected a Box with one axis, or of bytes and three,"
                " that holds numbers"
            )
        seen: dict[str, Any] = {
            "obs": int(np.prod(obs.shape)),
            "picture": picture,
            "masked": isinstance(obs, MaskedBox),
        }
        if isinstance(action, spaces.Discrete):
            return Spaces(**seen, discrete=int(action.n), start=int(action.start))
        if sizes(action) and not (isinstance(action, spaces.MultiDiscrete) and action.start.any()):
            return Spaces(**seen, choices=sizes(action))
        if isinstance(action, spaces.Box) and len(action.shape) == 1 and action.dtype.kind == "f":
            return Spaces(**seen, low=tuple(map(float, action.low)), high=tuple(map(float, action.high)))
        raise InputError(
            f"{name} has actions {action}, expected Discrete, MultiDiscrete from 0 on, MultiBinary, or a Box"
            " of floats with one axis"
        )

    def __str__(self) -> str:
        seen = f"pictures {self.picture}" if self.picture else f"rows of {self.obs} numbers"
        mask = ", a mask last," if self.masked else ""
        if self.discrete:
            first = f" from {self.start} on" if self.start else ""
            return f"{seen}{mask} and {self.discrete} actions{first}"
        if self.choices:
            return f"{seen}{mask} and actions of {self.choices} choices"
        return f"{seen} and actions from {self.low} to {self.high}"

    @property
    def bounded(self) -> bool:
        """Whether actions are continuous and have bounds on all sides."""
        return bool(self.low) and bool(np.isfinite([*self.low, *self.high]).all())

    @property
    def actions(self) -> int:
        """How many numbers a policy says about an action: one for each choice or each axis."""
        return self.discrete or sum(self.choices) or len(self.low)

    def to_env(self, action: np.ndarray) -> np.ndarray:
        """Actions (N,) or (N, A) of an agent as the environment wants them."""
        if self.discrete:
            return action + self.start if self.start else action
        if self.choices:
            return action
        low, high = np.array(self.low), np.array(self.high)
        if not self.bounded:
            bounded = np.isfinite(low) & np.isfinite(high)
            least, most = np.where(bounded, low, 0.0), np.where(bounded, high, 0.0)
            action = np.where(
                bounded, least + (np.clip(action, -1.0, 1.0) + 1.0) * 0.5 * (most - least), action
            )
        else:
            action = low + (np.clip(action, -1.0, 1.0) + 1.0) * 0.5 * (high - low)
        return np.clip(action, low, high).astype(np.float32)  # rounding may go beyond a bound
