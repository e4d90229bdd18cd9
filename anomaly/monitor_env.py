"""Environments with a monitor beside them: what to do when it raises an alarm."""

import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from anomaly.monitor import RolloutMonitor
from anomaly.monitor_live import Verdict
from training.errors import InputError

OnAlarm = Callable[[Verdict], None] | str


class MonitorWrapper(gym.Wrapper):
    """An environment whose `info["monitor"]` is the monitor's verdict on every observation.

    Environments may share a monitor: each has episodes and alarms of its own, which `rearm` ends.
    `on_alarm` is called with the verdict when an alarm is raised, or it is `stop`: the episode is truncated;
    `virtual`: a sensor that the monitor names is replaced by what it should read; `note`: nothing more. While
    an alarm is on, actions are those of the policy `fallback`, where there is one.
    """

    def __init__(
        self,
        env: gym.Env,
        monitor: RolloutMonitor,
        on_alarm: OnAlarm = "note",
        fallback: Callable[[np.ndarray], Any] | None = None,
    ) -> None:
        super().__init__(env)
        _check(on_alarm, monitor)
        self._monitor, self._on_alarm, self._fallback = monitor.apart(), on_alarm, fallback

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Starts an episode, with no alarm."""
        obs, info = self.env.reset(**options)
        self._verdict, self._obs = self._monitor.update(obs), obs
        return obs, info | {"monitor": self._verdict}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Acts, and has the monitor look at what came of it."""
        if self._fallback is not None and self._verdict.alarm:
            action = self._fallback(self._obs)
        obs, reward, terminated, truncated, info = self.env.step(action)
        verdict = self._verdict = self._monitor.update(obs, action)
        if self._on_alarm == "virtual":
            obs = verdict.obs.astype(np.asarray(obs).dtype)
        elif self._on_alarm == "stop":
            truncated = truncated or verdict.alarm
        elif callable(self._on_alarm) and verdict.raised:
            self._on_alarm(verdict)
        self._obs = obs
        return obs, reward, terminated, truncated, info | {"monitor": verdict}

    def rearm(self) -> None:
        """Ends the alarm."""
        self._monitor.rearm()


class VectorMonitorWrapper(gym.vector.VectorWrapper):
    """N environments watched by one monitor; `info["monitor"]` is the verdict on all of them.

    `on_alarm` is called with the verdict when any alarm is raised, or is `virtual`, or `note`. Where episodes
    begin again in the same step (SAME_STEP), the last observation of an episode is not looked at.
    """

    def __init__(
        self, env: gym.vector.VectorEnv, monitor: RolloutMonitor, on_alarm: OnAlarm = "note"
    ) -> None:
        """Raises InputError for an autoreset mode that hides where an episode begins."""
        super().__init__(env)
        _check(on_alarm, monitor)
        if on_alarm == "stop":
            raise InputError(
                "on_alarm is 'stop', expected another: a vector of environments stops as a whole"
            )
        self._mode = env.metadata.get("autoreset_mode")
        if self._mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
            raise InputError(f"the autoreset mode is {self._mode}, expected NEXT_STEP or SAME_STEP")
        self._monitor, self._on_alarm = monitor.apart(), on_alarm

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Starts all episodes, with no alarm."""
        obs, info = self.env.reset(**options)
        self._ended = np.zeros(self.num_envs, bool)
        return obs, info | {"monitor": self._monitor.update(obs)}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Acts in all; where an episode begins the monitor begins too."""
        obs, reward, terminated, truncated, info = self.env.step(actions)
        ended = terminated | truncated
        begins = ended if self._mode == AutoresetMode.SAME_STEP else self._ended
        verdict = self._monitor.update(obs, actions, begins)
        self._ended = ended
        if self._on_alarm == "virtual":
            obs = verdict.obs.astype(obs.dtype)
        elif callable(self._on_alarm) and verdict.raised.any():
            self._on_alarm(verdict)
        return obs, reward, terminated, truncated, info | {"monitor": verdict}

    def rearm(self) -> None:
        """Ends all alarms."""
        self._monitor.rearm()


def _check(on_alarm: OnAlarm, monitor: RolloutMonitor) -> None:
    if math.isinf(monitor.threshold):
        raise InputError("the monitor is not calibrated, expected monitor.calibrate(clean) before")
    if not callable(on_alarm) and on_alarm not in ("note", "stop", "virtual"):
        raise InputError(f"on_alarm is {on_alarm!r}, expected a function, note, stop or virtual")
