"""What the monitor carries from step to step, and the scales in which it sees sensors and actions."""

import math
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from envs.recording import Episodes
from training.errors import InputError

WIDE = 25  # sensors from which on products with all of them would be too many
DIRECTIONS = 8  # of the state that innovations are multiplied with there
LEAST_CHANGE = 1e-6  # of a sensor in a step, in its deviations: what never moves is divided by this


@dataclass(frozen=True)
class Scales:
    """Means, deviations and limits of clean sensors and actions."""

    mean: np.ndarray  # (O,) of sensors
    deviation: np.ndarray  # (O,) of sensors
    change: np.ndarray  # (O,) deviation of the change in a step, in deviations of the sensor
    low: np.ndarray  # (O,) lowest and
    high: np.ndarray  # (O,) highest reading, scaled
    fastest: np.ndarray  # (O,) largest change in a step, in deviations of the change
    longest: np.ndarray  # (O,) steps in a row that a reading stayed exactly the same; 0: it never did
    switch: np.ndarray  # (O,) whether a sensor has two readings alone
    view: np.ndarray  # (O, S) directions in which the state is seen by innovations
    action_mean: np.ndarray  # (A,) of encoded actions
    action_deviation: np.ndarray  # (A,)
    env: str
    first: int  # discrete actions are first .. first + actions - 1
    actions: int  # 0: continuous

    @staticmethod
    def of(clean: Episodes) -> "Scales":
        """From clean episodes."""
        obs, moved = clean.next_obs.astype(float), clean.next_obs.astype(float) - clean.obs
        deviation = _unit(obs)
        change = np.maximum((moved / deviation).std(axis=0), LEAST_CHANGE)
        scaled = (obs - obs.mean(axis=0)) / deviation
        action = _one_hot(clean.action, clean.first, clean.actions)
        return Scales(
            mean=obs.mean(axis=0),
            deviation=deviation,
            change=change,
            low=scaled.min(axis=0),
            high=scaled.max(axis=0),
            fastest=np.maximum(np.abs(moved / deviation / change).max(axis=0), 1.0),
            longest=_longest_repeats(clean),
            switch=((obs == obs.min(axis=0)) | (obs == obs.max(axis=0))).all(axis=0)
            & (np.ptp(obs, axis=0) > 0),
            view=_directions(scaled),
            action_mean=action.mean(axis=0),
            action_deviation=_unit(action),
            env=clean.env,
            first=clean.first,
            actions=clean.actions,
        )

    @property
    def sensors(self) -> int:
        """O, the size of an observation."""
        return len(self.mean)

    @property
    def example(self) -> int:
        """A sensor to try faults on: the middle one of those that move and stand still the shortest."""
        moving = np.flatnonzero(self.change > LEAST_CHANGE)
        if not len(moving):
            return self.sensors // 2
        liveliest = moving[self.longest[moving] == self.longest[moving].min()]
        return int(liveliest[len(liveliest) // 2])

    @property
    def actuators(self) -> int:
        """A, the size of an encoded action."""
        return len(self.action_mean)

    def tree(self) -> dict[str, Any]:
        """The fields, for `Scales(**tree)`."""
        return asdict(self)

    def expect(self, episodes: Episodes) -> None:
        """Raises InputError unless the episodes have these sensors and actions."""
        size = episodes.actions or episodes.action.shape[-1]
        if episodes.obs.shape[1] != self.sensors or (episodes.actions, size) != (
            self.actions,
            self.actuators,
        ):
            raise InputError(
                f"the episodes of {episodes.env} have {episodes.obs.shape[1]} sensors and {size} actions,"
                f" the monitor of {self.env} expects {self.sensors} and {self.actuators}"
            )

    def scaled(self, obs: np.ndarray) -> Float[np.ndarray, "B O"]:
        """Observations with mean 0 and deviation 1."""
        return (obs - self.mean) / self.deviation

    def viewed(self, scaled: Float[np.ndarray, "B O"]) -> Float[np.ndarray, "B S"]:
        """What innovations see of the state: all sensors, or of many the directions of `view`."""
        return scaled if self.sensors <= WIDE else scaled.dot(self.view)

    @cached_property
    def _limits(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of readings, changes and repeats, side by side: the middle, half the width, one over the unit."""
        none, ones = np.zeros(self.sensors), np.ones(self.sensors)
        middle = np.concatenate([(self.low + self.high) / 2, none, none])
        # A reading may stand still a little longer than it ever did: twice as long and three steps is a lot.
        # One that never did may once by chance, not twice in a row.
        still = np.where(self.longest > 0, 2 * self.longest + 3, 1)
        half = np.concatenate([(self.high - self.low) / 2, self.fastest, still])
        return middle, half, np.concatenate([ones, 1 / self.fastest, 1 / np.maximum(self.longest, 1)])

    @cached_property
    def _codes(self) -> np.ndarray:
        return (np.eye(self.actions) - self.action_mean) / self.action_deviation

    def encode(self, action: np.ndarray) -> Float[np.ndarray, "B A"]:
        """Actions (B,) or (B, A), as the environment got them, as scaled numbers."""
        if self.actions:
            return self._codes[action - self.first]
        # At once: an operation on two types of numbers takes three times as long.
        return (action.astype(np.float64, copy=False) - self.action_mean) / self.action_deviation

    def encode_checked(self, action: Any, rows: int) -> Float[np.ndarray, "B A"]:
        """`encode` of somebody's actions for as many rows.

        Raises:
            InputError: when there are others than the monitor learned.
        """
        if rows == 1 and isinstance(action, int | np.integer) and 0 <= action - self.first < self.actions:
            return self._codes[[action - self.first]]
        found = np.asarray(action)
        if self.actions:
            found = found.reshape(-1)
            inside = (found >= self.first) & (found < self.first + self.actions)
            known = found.dtype.kind in "iu" and bool(np.all(inside))
        else:
            found = found.reshape(rows, -1)
            known = found.shape[1] == self.actuators and math.isfinite(np.add.reduce(found, axis=None))
        if not known or len(found) != rows:
            numbers = f"({self.actuators},) of finite numbers"
            what = f"of {self.actions} from {self.first} on" if self.actions else numbers
            raise InputError(f"action is {action!r}, expected one {what} for each of {rows} observations")
        return self.encode(found)

    def histories(self, episodes: Episodes, history: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Every step's last observations and actions, oldest first, and the scaled change that followed."""
        obs, action = self.scaled(episodes.obs.astype(float)), self.encode(episodes.action)
        start = np.repeat(episodes.starts, episodes.length)
        row = np.arange(len(obs))
        seen, acted = [], []
        for back in reversed(range(history)):
            at = row - back
            seen.append(obs[np.maximum(at, start)])
            acted.append(np.where((at >= start)[:, None], action[np.maximum(at, start)], 0.0))
        change = (self.scaled(episodes.next_obs.astype(float)) - obs) / self.change
        return np.concatenate(seen, axis=1), np.concatenate(acted, axis=1), change

    def guard(self, seen: np.ndarray, change: np.ndarray, repeats: np.ndarray) -> Float[np.ndarray, "B 3"]:
        """How far beyond all that clean sensors did: in range, in speed, in standing still; 0 is within."""
        middle, half, per_unit = self._limits
        off = np.concatenate([seen, change, repeats], axis=1)
        off -= middle
        np.abs(off, out=off)
        off -= half
        off *= per_unit
        return np.log1p(np.maximum.reduce(off.reshape(len(off), 3, -1), axis=2, initial=0.0))


@dataclass
class Watch:
    """The state of episodes (B of them) that are being watched."""

    step: np.ndarray  # (B,) steps since the start
    past: np.ndarray  # (B, history O) the last observations, scaled
    acts: np.ndarray  # (B, history A) the last actions, encoded; 0 before the first
    z: np.ndarray  # (B, O) the last innovation
    average: np.ndarray  # (B, R, C) of the channels
    repeats: np.ndarray  # (B, O) steps since the reading last changed
    regime: np.ndarray  # (B,) of the last step, see `monitor_regimes`

    @staticmethod
    def of(seen: np.ndarray, history: int, actuators: int, channels: int) -> "Watch":
        """The state at the first, scaled, observations."""
        rows, sensors = seen.shape
        return Watch(
            step=np.zeros(rows, int),
            past=np.tile(seen, history),
            acts=np.zeros((rows, history * actuators)),
            z=np.zeros((rows, sensors)),
            average=np.zeros((rows, 3, channels)),
            repeats=np.zeros((rows, sensors)),
            regime=np.zeros(rows, int),
        )

    def rows(self, which: np.ndarray) -> "Watch":
        """Copies of some of the episodes, by mask or by number."""
        return Watch(*(getattr(self, field.name)[which] for field in fields(self)))

    def put(self, which: np.ndarray, others: "Watch") -> None:
        """Replaces some of the episodes."""
        for field in fields(self):
            getattr(self, field.name)[which] = getattr(others, field.name)


def _directions(scaled: np.ndarray) -> np.ndarray:
    """Those of the sensors themselves, or where there are many, those in which most of the variance lies."""
    sensors = scaled.shape[1]
    if sensors <= WIDE:
        return np.eye(sensors)
    values, vectors = np.linalg.eigh(np.cov(scaled.T))
    return vectors[:, -DIRECTIONS:] / np.sqrt(np.maximum(values[-DIRECTIONS:], 1e-9))


def _unit(columns: np.ndarray) -> np.ndarray:
    """The deviation of each column; one that only rounding moves has its size as the unit, or 1."""
    deviation, size = columns.std(axis=0), np.abs(columns).max(axis=0, initial=0.0)
    return np.where(deviation > 4 * np.finfo(np.float32).eps * size, deviation, np.where(size > 0, size, 1.0))


def _one_hot(action: np.ndarray, first: int, actions: int) -> np.ndarray:
    if not actions:
        return action.astype(float)
    return np.eye(actions)[np.asarray(action, int) - first]


def _longest_repeats(episodes: Episodes) -> np.ndarray:
    same = episodes.next_obs == episodes.obs
    run, longest = np.zeros(same.shape[1]), np.zeros(same.shape[1])
    begins = set(episodes.starts.tolist())
    for row, still in enumerate(same):
        run = (run * (row not in begins) + 1) * still
        longest = np.maximum(longest, run)
    return longest


def latest(past: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Rows (B, k n) with the oldest n numbers gone and the new ones at the end."""
    width = new.shape[1]
    return new if past.shape[1] == width else np.concatenate([past[:, width:], new], axis=1)


def check_clean(episodes: Episodes, least: int) -> None:
    """Raises InputError unless there are enough episodes, long enough and of finite numbers."""
    if len(episodes) < least:
        raise InputError(f"there are {len(episodes)} clean episodes, expected at least {least}")
    if episodes.length.max(initial=0) < 2:
        raise InputError("every episode has a single step, expected longer ones")
    for name in ("obs", "next_obs", "action"):
        if not np.isfinite(getattr(episodes, name)).all():
            raise InputError(f"the clean episodes have {name} that is not finite, expected numbers")
    if (episodes.next_obs == episodes.next_obs[0]).all():
        raise InputError("all observations of the clean episodes are equal, expected sensors that vary")
