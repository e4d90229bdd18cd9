"""Which sensor is wrong: the one without which the last steps look normal.

Each sensor in turn, from each of some steps on, is masked: replaced by what the transition model foretells
from the past, in which it is replaced as well, and from what the others read now. The score is taken again.
When no single sensor explains the score, it is an actuator or the world.
"""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from anomaly.monitor_state import Watch

BACK = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)  # steps before now from which on a sensor may have been wrong
SMALL = 0.1  # share of the largest deviation that still counts as none
STANDING = ("stuck", "dropout")  # kinds that one good reading among them would hide
SUSPECTS = 12  # sensors that are tried, where there are more: those with the largest innovations
SETTLED = 3  # readings that a guess at the kind of fault needs


@runtime_checkable
class Scorer(Protocol):
    """What isolation asks of the monitor."""

    @property
    def threshold(self) -> float: ...

    def step(self, watch: Watch, obs: np.ndarray, action: np.ndarray) -> np.ndarray: ...
    def foretold(
        self, watch: Watch, obs: np.ndarray, action: np.ndarray, sensor: np.ndarray
    ) -> np.ndarray: ...


@dataclass(frozen=True)
class Finding:
    """What an alarm is about."""

    sensor: int | None  # which one; None: no single sensor, so an actuator or the world
    kind: str  # a guess: stuck, dropout, bias, drift, noise; world; unknown
    back: int  # steps before the last reading at which it seems to have begun; 0: with it
    score: float  # without the sensor
    watch: Watch = field(repr=False)  # the state as it would be with the sensor replaced


def isolate(
    scorer: Scorer,
    base: Watch,
    obs: Float[np.ndarray, "W O"],
    action: Float[np.ndarray, "W A"],
    since: int = 0,
) -> Finding:
    """Names the sensor; `base` is the state (of one episode) before the W readings and encoded actions.

    What is wrong has been so for `since` steps at least.
    """
    steps = len(obs)
    backs = [back for back in BACK if back <= steps]
    starts = steps - np.array([back for back in backs if back > since] or backs[-1:])
    tried = _suspects(scorer, base, obs, action)
    sensor, start = (grid.ravel() for grid in np.meshgrid(tried, starts, indexing="ij"))
    cases = np.arange(len(sensor))
    watch = base.rows(np.zeros(len(cases), int))
    worst = np.zeros(len(cases))
    used = np.zeros((steps, len(cases)))
    for t in range(steps):
        acts = np.repeat(action[t : t + 1], len(cases), axis=0)
        seen = np.repeat(obs[t : t + 1], len(cases), axis=0)
        masked = t >= start
        replaced = scorer.foretold(watch, seen, acts, sensor)
        seen[cases[masked], sensor[masked]] = replaced[masked]
        used[t] = seen[cases, sensor]
        score = scorer.step(watch, seen, acts)
        worst = np.where(masked, np.maximum(worst, score), worst)
    best = int(worst.argmin())
    if not worst[best] <= scorer.threshold:
        return Finding(None, "world", 0, float(worst[best]), watch.rows(cases[best : best + 1]))
    found = int(sensor[best])
    enough = (sensor == found) & (worst <= scorer.threshold)
    begin = int(start[enough].max())  # the latest that leaves nothing strange
    case = int(np.flatnonzero(enough & (start == begin))[0])
    off = np.abs(obs[begin:, found] - used[begin:, case])
    begin += int((~(off <= SMALL * off.max())).argmax())  # the start may lie a few good readings before
    kind = guess(obs[begin:, found], used[begin:, case])
    sure = slice(max(0, steps - 1 - since), steps)  # wrong without a doubt
    if since and (stands := guess(obs[sure, found], used[sure, case])) in STANDING:
        kind = stands
    return Finding(found, kind, steps - 1 - begin, float(worst[case]), watch.rows(cases[case : case + 1]))


def _suspects(scorer: Scorer, base: Watch, obs: np.ndarray, action: np.ndarray) -> np.ndarray:
    sensors = obs.shape[1]
    if sensors <= SUSPECTS:
        return np.arange(sensors)
    watch, largest = base.rows(np.zeros(1, int)), np.zeros(sensors)
    for reading, acted in zip(obs, action, strict=True):
        scorer.step(watch, reading[None], acted[None])
        largest = np.maximum(largest, np.where(np.isfinite(reading), np.abs(watch.z[0]), np.inf))
    return np.sort(np.argsort(largest)[-SUSPECTS:])


def guess(reading: Float[np.ndarray, " n"], expected: Float[np.ndarray, " n"]) -> str:
    """The kind of a sensor's fault, from what it read and what it should have read."""
    if not np.isfinite(reading).all():
        return "dropout"
    if len(reading) < SETTLED:
        return "unknown"
    if (reading == reading[0]).all():
        return "dropout" if reading[0] == 0 else "stuck"
    off = reading - expected
    if (off[reading == 0] != 0).sum() >= SETTLED:
        return "dropout"
    time = np.arange(len(off)) - (len(off) - 1) / 2
    slope = (time @ off) / (time @ time)
    left = (off - off.mean() - slope * time).std() + 1e-12
    if len(off) > SETTLED and abs(slope) * len(off) > 4 * left and abs(slope) * len(off) > abs(off.mean()):
        return "drift"
    return "bias" if abs(off.mean()) > 2 * off.std() else "noise"
