"""Environments that can be put back into the middle of an episode, and whose errors say where they are."""

import signal
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np

from envs.masks import MaskedBox, choices
from training.errors import InputError

T = TypeVar("T")

LARGEST = float(np.finfo(np.float32).max)  # of what is seen and paid
LIMIT_S = 60.0  # an environment that takes longer for a step or a reset hangs


def where(index: int, seed: int | None, episode: int, step: int) -> str:
    """Which environment it is, and how far it is; `seed` is that of its first reset."""
    return f"environment {index} (seed {seed}), episode {episode}, step {step}"


class Replayable(gym.Wrapper):
    """Remembers how its episode began and every action since; `load_state_dict` plays it again.

    Physics engines hide their state, but with the same generator at the reset and the same actions they do
    the same again. An episode without an end would be remembered without an end.

    What the environment raises, and what it returns that is no number or of another shape, becomes an
    InputError that names the environment by its `index`, its first seed, the episode and the step. So does a
    call that takes longer than `limit_s`, where an alarm can end it: in the main thread of a process whose
    SIGALRM is free, and not inside of compiled code (`envs.workers` can end that).
    """

    def __init__(self, env: gym.Env, index: int = 0, limit_s: float = LIMIT_S) -> None:
        super().__init__(env)
        self._limit_s, self._alarm = limit_s, _alarm()
        self._index, self._episode = index, -1
        acts = env.action_space
        self._cast = acts if isinstance(acts, gym.spaces.Box) and acts.dtype != np.float32 else None
        seen, forbids = env.observation_space, choices(acts) > 0
        self._no_mask = forbids and not isinstance(seen, MaskedBox)  # a reset's mask is part of what is seen
        self._first: int | None = None  # the seed of the first reset
        self._actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Starts an episode, and remembers the seed or the generator's state it starts from."""
        self._seed, self._episode = seed, self._episode + 1
        self._first = seed if self._first is None else self._first
        self._random = self.unwrapped.np_random.bit_generator.state if seed is None else None
        self._actions = []
        obs, info = self._named(lambda: self.env.reset(seed=seed, options=options))
        self._check(obs, 0.0)
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        """Acts, and remembers the action."""
        if (acts := self._cast) is not None:
            action = np.clip(
                np.asarray(action, acts.dtype), acts.low, acts.high
            )  # 32 bits rounded the bounds
        self._actions.append(action)
        found = self._named(lambda: self.env.step(action))
        if not isinstance(found, tuple) or len(found) != 5:
            count = len(found) if isinstance(found, tuple) else 1
            raise self._error(
                f"gives {count} things, expected 5: observation, reward, terminated, truncated, info"
            )
        obs, reward, terminated, truncated, info = found
        self._check(obs, reward)
        if not isinstance(reward, float):
            reward = float(np.asarray(reward).item())
        if self._no_mask and "action_mask" in info:
            raise self._error("gives an action_mask, which its reset did not, expected it in both")
        return obs, reward, bool(terminated), bool(truncated), info

    def _named(self, call: Callable[[], T]) -> T:
        # Signals go to the main thread: one that comes from another would end what that one does.
        alarm = self._alarm and threading.current_thread() is threading.main_thread()
        try:
            if alarm:
                signal.setitimer(signal.ITIMER_REAL, self._limit_s)
            return call()
        except _Hangs:
            raise self._error(f"did not answer within {self._limit_s:g} s") from None
        except (Exception, SystemExit) as error:  # whatever users' code raises
            at = traceback.extract_tb(error.__traceback__)[-1]
            place = f"({Path(at.filename).name}, line {at.lineno})"
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise self._error(f"raised {what} {place}") from error
        finally:
            if alarm:
                signal.setitimer(signal.ITIMER_REAL, 0.0)

    def _check(self, obs: Any, reward: Any) -> None:
        wanted = self.observation_space.shape
        found = np.asarray(obs)
        if found.shape != wanted or found.dtype.kind not in "fiub":
            raise self._error(f"shows {found.dtype} {found.shape}, expected numbers {wanted}")
        if found.dtype.kind == "f" and not (fits := np.abs(found) <= LARGEST).all():
            at = int((~fits).argmax())
            what = "NaN" if np.isnan(found.flat[at]) else str(found.flat[at])
            raise self._error(f"shows {what} in sensor {at}, expected finite numbers of 32 bits")
        if isinstance(reward, float) and abs(reward) <= LARGEST:
            return
        paid = np.asarray(reward)
        if paid.size != 1 or paid.dtype.kind not in "fiub" or not (np.abs(paid) <= LARGEST).all():
            raise self._error(f"pays {reward!r}, expected a finite number of 32 bits")

    def _error(self, what: str) -> InputError:
        place = where(self._index, self._first, self._episode, len(self._actions))
        return InputError(f"{place}: it {what}")

    def state_dict(self) -> dict[str, Any]:
        """How the episode began, and its actions (T,) or (T, A)."""
        return {
            "first": self._first,
            "seed": self._seed,
            "random": self._random,
            "actions": np.array(self._actions),
            "episode": self._episode,
        }

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Plays the episode of `state` up to where it was, and returns the observation there."""
        if state["random"] is not None:
            self.unwrapped.np_random.bit_generator.state = state["random"]
        obs, _ = self.reset(seed=state["seed"])
        for action in state["actions"]:
            obs, *_ = self.step(action)
        self._first, self._episode = state["first"], state["episode"]
        return obs


class _Hangs(BaseException):
    """The alarm went off; no `except Exception` of users' code stops it."""


def _ring(*_: object) -> None:
    raise _Hangs


def _alarm() -> bool:
    """Whether a call can be ended by SIGALRM here."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        return False
    if signal.getsignal(signal.SIGALRM) == signal.SIG_DFL:
        signal.signal(signal.SIGALRM, _ring)
    return signal.getsignal(signal.SIGALRM) is _ring
