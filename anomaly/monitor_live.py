"""The monitor beside a running policy: verdicts step by step, alarms that latch and are armed again."""

from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from anomaly.monitor_isolation import Finding, Scorer, isolate
from anomaly.monitor_state import Scales, Watch
from training.errors import InputError

SNAPSHOT = 32  # steps between copies of the state; isolation looks back over one to two times as many
AGAIN = 8  # steps after an alarm at which isolation is done once more, with more to see


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When an alarm ends."""

    latch: bool = True  # an alarm stays until the episode ends or `rearm` is called
    cooldown: int = 20  # else: steps in a row below the threshold after which the alarm is armed again

    def __post_init__(self) -> None:
        if self.cooldown < 1:
            raise InputError(f"cooldown is {self.cooldown}, expected 1 or more")


class Verdict(NamedTuple):
    """Of N episodes; numbers where a single one is watched."""

    score: Any  # (N,) how strange the last step was
    alarm: Any  # (N,) whether the alarm is on
    raised: Any  # (N,) whether it was raised just now
    finding: Any  # (N,) what the alarm is about, or None: see `Finding`
    obs: np.ndarray  # (N, O) what arrived, a named sensor replaced by what it should read

    def first(self) -> "Verdict":
        """That of a single episode."""
        score, alarm, raised = float(self.score[0]), bool(self.alarm[0]), bool(self.raised[0])
        return Verdict(score, alarm, raised, self.finding[0], self.obs[0])


class Live:
    """The state of the episodes that are being played, and their alarms."""

    def __init__(self, scorer: Scorer, scales: Scales, rule: Rule) -> None:
        self._scorer, self._scales, self.rule = scorer, scales, rule
        self._watch: Watch | None = None

    def start(self, watch: Watch, obs: np.ndarray) -> Verdict:
        """All episodes begin."""
        rows = len(obs)
        self._watch = watch
        self.alarm, self.quiet = np.zeros(rows, bool), np.zeros(rows, int)
        self.since = np.zeros(rows, int)  # steps since the alarm was raised
        self.finding: list[Finding | None] = [None] * rows
        self._seen: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=2 * SNAPSHOT)
        self._copies = deque([watch.rows(np.arange(rows))], maxlen=2)
        self._begun: dict[int, Watch] = {}  # by row, the first state of episodes that began later than others
        self._clock = 0
        return Verdict(np.zeros(rows), self.alarm.copy(), self.alarm.copy(), list(self.finding), obs)

    @property
    def started(self) -> int:
        """How many episodes are being watched; 0 before the first."""
        return 0 if self._watch is None else len(self.alarm)

    @property
    def longest(self) -> int:
        """The steps so far of the longest of the episodes that are being watched."""
        assert self._watch is not None
        return int(self._watch.step.max()) if self._begun else self._clock  # if none began later: all alike

    def step(
        self, obs: np.ndarray, action: np.ndarray, begun: np.ndarray | None = None, first: Watch | None = None
    ) -> Verdict:
        """Readings (N, O) that arrived after encoded actions (N, A).

        Those of the episodes `begun`, a mask, are the first of new ones, whose states are `first`.
        """
        assert self._watch is not None
        if self._clock and self._clock % SNAPSHOT == 0:
            self._copies.append(self._watch.rows(np.arange(len(obs))))
        self._clock += 1
        self._seen.append((obs, action))
        shown = self._replaced(obs, action, np.zeros(len(obs), bool) if begun is None else begun)
        score = self._scorer.step(self._watch, obs, action)
        if begun is not None and first is not None:
            self._restart(begun, first)
            score[begun] = 0.0
        above = ~(score <= self._scorer.threshold)
        if not np.logical_or.reduce(above | self.alarm):
            self.quiet += 1
            return Verdict(score, above, above, list(self.finding), shown)
        raised = above & ~self.alarm
        self._rule(above, raised)
        for row in map(int, np.flatnonzero(raised | (self.alarm & (self.since == AGAIN)))):
            shown = self._find(row, shown)
        return Verdict(score, self.alarm.copy(), raised, list(self.finding), shown)

    def rearm(self, which: np.ndarray | None = None) -> None:
        """Ends alarms, of all episodes or of some, by mask; before the first episode there are none."""
        if self._watch is None:
            return
        which = np.ones(self.started, bool) if which is None else which
        self.alarm[which], self.quiet[which], self.since[which] = False, 0, 0
        for row in np.flatnonzero(which):
            self.finding[row] = None

    def _restart(self, begun: np.ndarray, first: Watch) -> None:
        assert self._watch is not None
        self._watch.put(begun, first)
        for at, row in enumerate(np.flatnonzero(begun)):
            self._begun[int(row)] = first.rows(np.array([at]))
        self.rearm(begun)

    def _rule(self, above: np.ndarray, raised: np.ndarray) -> None:
        self.alarm |= raised
        self.since = np.where(raised, 0, self.since + self.alarm)
        self.quiet = np.where(above, 0, self.quiet + 1)
        if not self.rule.latch:
            over = self.alarm & (self.quiet >= self.rule.cooldown)
            if over.any():
                self.rearm(over)

    def _find(self, row: int, shown: np.ndarray) -> np.ndarray:
        """Names the sensor; what was named at the alarm stays, its kind is told better by more steps."""
        found, before = self._isolate(row), self.finding[row]
        if before is not None and before.sensor is not None and found.sensor != before.sensor:
            return shown
        self.finding[row] = found
        if found.sensor is None:
            return shown
        scales, at = self._scales, found.sensor
        value = found.watch.past[0, at - scales.sensors]
        shown = shown.copy()
        shown[row, at] = value * scales.deviation[at] + scales.mean[at]
        return shown

    def _isolate(self, row: int) -> Finding:
        """From the older copy of the state, or from where the episode began."""
        assert self._watch is not None
        age, since = int(self._watch.step[row]), int(self.since[row])
        copied = max(0, (self._clock - 1) // SNAPSHOT - 1)
        back = self._clock - SNAPSHOT * copied  # steps since the older copy
        if age < back:
            return isolate(self._scorer, self._begun[row], *self._window(row, age), since)
        copy = self._copies[0].rows(np.array([row]))
        return isolate(self._scorer, copy, *self._window(row, back), since)

    def _window(self, row: int, back: int) -> tuple[np.ndarray, np.ndarray]:
        recent = list(self._seen)[len(self._seen) - back :]
        return np.stack([obs[row] for obs, _ in recent]), np.stack([action[row] for _, action in recent])

    def _replaced(self, obs: np.ndarray, action: np.ndarray, begun: np.ndarray) -> np.ndarray:
        """The readings with named sensors foretold, their own replaced state going on until a new episode."""
        for row, found in enumerate(self.finding):
            if found is not None and found.sensor is not None and not begun[row]:
                obs = obs.copy()
                acted = action[row : row + 1]
                at = np.array([found.sensor])
                obs[row, at] = self._scorer.foretold(found.watch, obs[row : row + 1], acted, at)
                self._scorer.step(found.watch, obs[row : row + 1], acted)
        return obs
