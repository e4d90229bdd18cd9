"""Things that go wrong in a world: broken sensors and changed forces, from a known step on.

The truth is in `info["fault"]`, and nothing else tells the policy.
"""

from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from training.errors import InputError
from training.seeds import numpy_generator


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What breaks, how much, where and when.

    - noise: adds normal noise of `size` standard deviations to the sensors
    - bias: adds `size` standard deviations to the sensors
    - stuck: the sensors keep the value they had before the onset; `size` means nothing
    - force: multiplies the force of every action by `size` (environments with a `force_mag`, as CartPole's)
    - none: changes nothing: a control
    """

    kind: Literal["noise", "bias", "stuck", "force", "none"]
    size: float = 1.0  # how much; see the kinds
    sensors: tuple[int, ...] = ()  # indices into the observation; empty: all
    onset: int = 0  # the first step, counted from the reset, that the fault changes
    scale: tuple[float, ...] = ()  # standard deviation of each sensor in clean episodes; empty: 1


class FaultyEnv(gym.Wrapper):
    """An environment with one fault; its noise is seeded by the episode's seed."""

    def __init__(self, env: gym.Env, fault: Fault) -> None:
        """Raises InputError when the environment has no such sensor or no such force."""
        super().__init__(env)
        shape = env.observation_space.shape
        size = shape[0] if shape is not None and len(shape) == 1 else 0
        sensors = list(fault.sensors or range(size))
        if not sensors or max(sensors) >= size or min(sensors) < 0:
            raise InputError(f"the fault's sensors are {fault.sensors}, expected some of 0 to {size - 1}")
        if fault.scale and len(fault.scale) != size:
            raise InputError(f"the fault's scale has {len(fault.scale)} numbers, expected {size}")
        if fault.kind == "force" and not hasattr(env.unwrapped, "force_mag"):
            raise InputError(
                f"{env.spec and env.spec.id} has no force_mag, expected another fault than force"
            )
        self._fault, self._sensors = fault, sensors
        self._scale = np.array(fault.scale or [1.0] * size)[sensors]
        self._force = getattr(env.unwrapped, "force_mag", None)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode with everything whole."""
        self._steps = 0
        # Of a stream of its own: the environment draws from default_rng(seed) itself.
        self._random = np.random.default_rng() if seed is None else numpy_generator(seed, "fault")
        self._set_force(1.0)
        obs, info = self.env.reset(seed=seed, options=options)
        self._last = obs
        return obs, info | {"fault": False}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Acts; from the onset on, what the fault does is done to the action or the observation."""
        active = self._steps >= self._fault.onset
        if active and self._fault.kind == "force":
            self._set_force(self._fault.size)
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        if active:
            obs = self._broken(obs)
        self._last = obs
        return obs, float(reward), terminated, truncated, info | {"fault": active}

    def _broken(self, obs: np.ndarray) -> np.ndarray:
        obs, at, kind = obs.copy(), self._sensors, self._fault.kind
        if kind == "noise":
            obs[at] += self._fault.size * self._scale * self._random.standard_normal(len(at))
        elif kind == "bias":
            obs[at] += self._fault.size * self._scale
        elif kind == "stuck":
            obs[at] = self._last[at]
        return obs

    def _set_force(self, factor: float) -> None:
        if self._force is not None:
            self.env.unwrapped.force_mag = self._force * factor  # type: ignore[attr-defined]
