"""Things that go wrong in a world: sensors, actions, forces and starts, from a known step on.

The truth is in `info["fault"]`; nothing else tells the policy. A faulty episode and its clean twin, of the
same seed and policy, are equal until the fault first changes something; `first_change` finds that step.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

import gymnasium as gym
import numpy as np

from envs.dynamics import DYNAMICS, Dynamics, Moved, start_from
from envs.masks import sizes
from training.errors import InputError
from training.seeds import numpy_generator

MEMORY = 0.9  # correlation of autoregressive noise from one step to the next
Sensing = Literal[
    "noise", "autoregressive", "correlated", "bias", "scale", "drift", "stuck", "dropout", "delay", "attack"
]
Acting = Literal["replace", "lost", "late", "gain", "offset", "jitter"]
SENSING: tuple[Sensing, ...] = get_args(Sensing)
ACTING: tuple[Acting, ...] = get_args(Acting)
FACTORS = ("scale", "gain", *DYNAMICS)  # kinds whose size multiplies: 1 changes nothing
MEASURES = ("length", "mass")  # kinds whose size must be positive
NOISES = ("noise", "autoregressive", "jitter")  # whose size is a deviation
SWITCHES = ("stuck", "delay", "attack", "lost", "late", "start", "none")  # kinds that are on or off


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What breaks, how much, where and when.

    Sensors:
    - noise: adds normal noise of `size` standard deviations
    - autoregressive: adds noise of `size` deviations, each step's correlated by 0.9 with the last's
    - correlated: adds white noise of `size` from the reset on, which becomes autoregressive at the onset: its
      marginal distribution stays, only its memory is new
    - bias: adds `size` standard deviations; drift: adds `size` more of them every step
    - scale: multiplies by `size`
    - stuck: keeps the value from before the onset; `size` means nothing
    - dropout: with probability `size` a step the sensors read 0 for `steps` steps
    - delay: what the sensors read is `steps` steps old
    - attack: what `attack` makes of the observation (`envs.adversarial`)

    Actions, unknown to the policy:
    - replace: with probability `size` a step, a random action takes the place of the policy's
    - lost: the continuous actions `actuators` are 0; a discrete one does what was done before
    - late: an action takes effect `steps` steps later
    - gain: multiplies continuous actions by `size`
    - offset, jitter: add a constant, or normal noise, of `size` halves of the action's range

    The world:
    - force, friction, gravity, length, mass, wind: multiply what moves it by `size` (see
      `envs.dynamics`)
    - start: the state after the reset is multiplied by `size`
    - none: changes nothing: a control
    """

    kind: Literal[Sensing, Acting, Moved, "start", "none"]
    size: float = 1.0  # how much; see the kinds
    sensors: tuple[int, ...] = ()  # indices into the observation; empty: all
    actuators: tuple[int, ...] = (0,)  # of `lost`: which continuous actions, or which discrete one
    onset: int = 0  # the first step, counted from the reset, that the fault changes
    duration: int | None = None  # steps until everything is whole again; None: never
    shape: Literal["abrupt", "ramp", "intermittent"] = "abrupt"  # how the fault comes
    over: int = 50  # steps in which a ramp reaches `size`; of an intermittent fault, on and off
    steps: int = 1  # of delay, late and dropout
    scale: tuple[float, ...] = ()  # standard deviation of each sensor in clean episodes; empty: 1
    attack: Callable[[np.ndarray], np.ndarray] | None = None  # observation (O,) to another one

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(
                    f"the fault's {name} is {getattr(self, name)!r}, expected {', '.join(known)}"
                )
        for name, least in (("onset", 0), ("over", 1), ("steps", 1), ("duration", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"the fault's {name} is {value}, expected {least} or more")
        if not math.isfinite(self.size) or (self.kind in NOISES and self.size < 0):
            wanted = "a number of 0 or more" if self.kind in NOISES else "a number"
            raise InputError(f"the fault's size is {self.size}, expected {wanted} for {self.kind}")
        if self.kind in MEASURES and self.size <= 0:
            raise InputError(f"the fault's size is {self.size}, expected more than 0 for {self.kind}")
        if self.kind in ("dropout", "replace") and not 0 <= self.size <= 1:
            raise InputError(f"the fault's size is {self.size}, expected a probability for {self.kind}")
        if self.shape == "ramp" and self.kind in SWITCHES:
            raise InputError(f"a fault of kind {self.kind} is on or off, expected another shape than a ramp")
        if (self.kind == "attack") != (self.attack is not None):
            raise InputError(f"the fault is of kind {self.kind}, expected `attack` with kind attack only")

    def strength(self, step: int) -> float:
        """The share of the fault that is there at a step: 0 before the onset, 1 when it is all there."""
        since = step - self.onset
        if since < 0 or (self.duration is not None and since >= self.duration):
            return 0.0
        if self.shape == "ramp":
            return min(1.0, (since + 1) / self.over)
        return float(self.shape == "abrupt" or since // self.over % 2 == 0)

    def size_at(self, step: int) -> float:
        """The size at a step; where nothing is wrong 1 for factors, 0 for the others."""
        rest = 1.0 if self.kind in FACTORS else 0.0
        return rest + (self.size - rest) * self.strength(step)


CHOICES = {name: get_args(get_type_hints(Fault)[name]) for name in ("kind", "shape")}


class FaultyEnv(gym.Wrapper):
    """An environment with one fault; its noise is seeded by the episode's seed."""

    def __init__(self, env: gym.Env, fault: Fault) -> None:
        """Raises InputError when the environment has nothing that could break so."""
        super().__init__(env)
        shape = env.observation_space.shape
        size = shape[0] if shape is not None and len(shape) == 1 else 0
        sensors = list(fault.sensors or range(size))
        if not sensors or max(sensors) >= size or min(sensors) < 0:
            raise InputError(f"the fault's sensors are {fault.sensors}, expected some of 0 to {size - 1}")
        if fault.scale and len(fault.scale) != size:
            raise InputError(f"the fault's scale has {len(fault.scale)} numbers, expected {size}")
        self._fault, self._sensors = fault, sensors
        self._scale = np.array(fault.scale or [1.0] * size)[sensors]
        self._dynamics = Dynamics(env, fault.kind) if fault.kind in DYNAMICS else None
        if env.observation_space.dtype is not None and env.observation_space.dtype.kind != "f":
            self.observation_space = gym.spaces.Box(-np.inf, np.inf, shape, np.float32)
        self._check_actions()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode with everything whole, but for a start that is the fault."""
        fault, self._steps = self._fault, 0
        # Of a stream of its own: the environment draws from default_rng(seed) itself.
        self._random = np.random.default_rng() if seed is None else numpy_generator(seed, "fault")
        if self._dynamics is not None:
            self._dynamics.set(1.0)
        obs, info = self.env.reset(seed=seed, options=options)
        if fault.kind == "start":
            obs = start_from(self.env, fault.size)
        obs = self._read(obs)
        self._seen = deque([obs] * (fault.steps + 1), fault.steps + 1)
        self._asked: deque = deque(maxlen=fault.steps + 1)
        self._done: Any = None
        self._gap = 0
        self._noise = self._random.standard_normal(len(self._sensors))
        if fault.kind == "correlated":
            obs = self._plus(obs, fault.size * self._noise)
        self._last = obs
        return obs, info | {"fault": fault.kind == "start"}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Acts; from the onset on, the fault is done to the action, the world or the observation."""
        fault = self._fault
        active = fault.strength(self._steps) > 0
        self._asked.append(action)
        if active and fault.kind in ACTING:
            action = self._acted(action)
        if self._dynamics is not None:
            self._dynamics.set(fault.size_at(self._steps))
        self._done = action
        obs, reward, terminated, truncated, info = self.env.step(action)
        obs = self._read(obs)
        self._seen.append(obs)
        if fault.kind == "correlated":
            obs = self._plus(obs, fault.size * self._next_noise(MEMORY if active else 0.0))
        elif active and fault.kind in SENSING:
            obs = self._broken(obs)
        self._steps += 1
        self._last = obs
        return obs, float(reward), terminated, truncated, info | {"fault": active}

    def _read(self, obs: np.ndarray) -> np.ndarray:
        """The observation as its space has it: what breaks whole numbers leaves numbers in between."""
        return obs.astype(self.observation_space.dtype, copy=False)

    def _broken(self, obs: np.ndarray) -> np.ndarray:
        fault, at, kind = self._fault, self._sensors, self._fault.kind
        size = fault.size_at(self._steps)
        if kind == "noise":
            return self._plus(obs, size * self._random.standard_normal(len(at)))
        if kind == "autoregressive":
            return self._plus(obs, size * self._next_noise(MEMORY))
        if kind in ("bias", "drift"):
            since = self._steps - fault.onset + 1 if kind == "drift" else 1
            return self._plus(obs, np.full(len(at), size * since))
        if fault.attack is not None:
            return fault.attack(obs).astype(obs.dtype)
        obs = obs.copy()
        if kind == "scale":
            obs[at] *= size
        elif kind == "stuck":
            obs[at] = self._last[at]
        elif kind == "delay":
            obs[at] = self._seen[0][at]
        elif kind == "dropout" and self._dropped(size):
            obs[at] = 0.0
        return obs

    def _plus(self, obs: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        obs = obs.copy()
        obs[self._sensors] += self._scale * deviations
        return obs

    def _next_noise(self, memory: float) -> np.ndarray:
        """Of variance 1 at every step: the first was drawn at the reset from the same distribution."""
        new = self._random.standard_normal(len(self._sensors))
        self._noise = memory * self._noise + np.sqrt(1 - memory**2) * new
        return self._noise

    def _dropped(self, probability: float) -> bool:
        if not self._gap and self._random.random() < probability:
            self._gap = self._fault.steps
        dropped = self._gap > 0
        self._gap -= dropped
        return dropped

    def _acted(self, action: Any) -> Any:
        """What is done in the place of the policy's action."""
        fault, space = self._fault, self.action_space
        size = fault.size_at(self._steps)
        if fault.kind == "late":
            return self._asked[0]
        if isinstance(space, gym.spaces.Discrete):
            if fault.kind == "replace" and self._random.random() < size:
                return int(space.start + self._random.integers(space.n))
            lost = fault.kind == "lost" and action - space.start == fault.actuators[0]
            return self._done if lost and self._done is not None else action
        if several := sizes(space):
            return self._chosen(np.array(action), size, several).astype(space.dtype)
        assert isinstance(space, gym.spaces.Box)
        return self._pushed(np.array(action, float), size, space.low, space.high).astype(space.dtype)

    def _chosen(self, action: np.ndarray, size: float, several: tuple[int, ...]) -> np.ndarray:
        """Several discrete numbers as the fault leaves them."""
        first = getattr(self.action_space, "start", np.zeros(len(several)))
        if self._fault.kind == "lost":
            lost = list(self._fault.actuators)
            action[lost] = first[lost]
        elif self._random.random() < size:
            action = first + self._random.integers(several)
        return action

    def _pushed(self, action: np.ndarray, size: float, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """A continuous action as the fault leaves it, within its bounds."""
        half = np.where(np.isfinite(high - low), (high - low) / 2, 1.0)
        if self._fault.kind == "gain":
            action = action * size
        elif self._fault.kind == "offset":
            action = action + size * half
        elif self._fault.kind == "jitter":
            action = action + size * half * self._random.standard_normal(action.shape)
        elif self._fault.kind == "lost":
            action[list(self._fault.actuators)] = 0.0
        elif self._random.random() < size:
            action = self._random.uniform(-half, half) + np.where(np.isfinite(low), low + half, 0.0)
        return np.clip(action, low, high)

    def _check_actions(self) -> None:
        kind, space = self._fault.kind, self.action_space
        discrete = sizes(space)
        if kind in ("replace", "lost") and not discrete and not isinstance(space, gym.spaces.Box):
            raise InputError(f"the actions are {space}, expected numbers for a fault of kind {kind}")
        if kind in ("gain", "offset", "jitter") and not isinstance(space, gym.spaces.Box):
            raise InputError(f"the actions are {space}, expected continuous ones for a fault of kind {kind}")
        if kind == "lost":
            count = discrete[0] if isinstance(space, gym.spaces.Discrete) else space.shape[0]  # type: ignore[index]
            if not self._fault.actuators or not all(0 <= a < count for a in self._fault.actuators):
                raise InputError(
                    f"the fault's actuators are {self._fault.actuators}, expected some of 0 to {count - 1}"
                )
