"""Environments in processes of their own: for those that take milliseconds a step, that hang, or that crash.

What is said to a worker, and how it answers:

    ("reset", seed)        the first observation, and how the episode began (`Replayable.state_dict`)
    ("play", state)        the observation after the actions of `state`
    ("step", action)       observation, reward, terminated, truncated; at an episode's end also the next one's
                           first observation and how that began

So this process knows how every episode began and what was done in it since. A worker that dies is started
again and plays its episode again: whoever learns does not notice.
"""

import multiprocessing as mp
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from envs.replayable import LIMIT_S, Replayable, where
from training.errors import InputError
from training.seeds import seed_global

ALONE_S = 2.0  # seconds without an order after which a worker asks whether who started it still lives
RESTARTS = 3  # a worker that dies more often has a cause that does not go away


class Workers(gym.vector.VectorEnv):
    """A vector of environments, one a process, each made there by `make(index)`.

    Raises:
        InputError: when one raises, shows nonsense, hangs for `limit_s` or has died more than 3 times; with
            its index, seed, episode and step.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012  (as Gymnasium has it)

    def __init__(self, make: Callable[[int], Replayable], num_envs: int, limit_s: float = LIMIT_S) -> None:
        self._make, self._limit_s, self.num_envs = make, limit_s, num_envs
        one = make(0)
        self.spec = one.spec
        self.single_observation_space, self.single_action_space = one.observation_space, one.action_space
        one.close()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._began: list[dict[str, Any]] = [{} for _ in range(num_envs)]
        self._actions: list[list[Any]] = [[] for _ in range(num_envs)]
        self._deaths = [0] * num_envs
        self._workers = [_Worker(make, i) for i in range(num_envs)]

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins all episodes, environment i with seed + i."""
        seeds = [None if seed is None else seed + i for i in range(self.num_envs)]  # type: ignore[operator]
        self._began = [{} for _ in seeds]
        found = self._ask([("reset", one) for one in seeds])
        for i, (_, began) in enumerate(found):
            self._began[i], self._actions[i] = began, []
        return np.stack([obs for obs, _ in found]), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Acts in every environment; what ended has its last observation in `info["final_obs"]`."""
        found = self._ask([("step", action) for action in actions])
        shown, last = [], np.full(self.num_envs, None, object)
        for i, (obs, *_, following) in enumerate(found):
            self._actions[i].append(actions[i])
            if following is not None:
                last[i] = obs
                obs, self._began[i] = following
                self._actions[i] = []
            shown.append(obs)
        reward, terminated, truncated = (np.array(column) for column in list(zip(*found, strict=True))[1:4])
        ended = terminated | truncated
        info = {"final_obs": last, "_final_obs": ended} if ended.any() else {}
        return np.stack(shown), reward.astype(float), terminated, truncated, info

    def state_dicts(self) -> list[dict[str, Any]]:
        """How the episode of each environment began, and its actions."""
        pairs = zip(self._began, self._actions, strict=True)
        return [{**began, "actions": np.array(actions)} for began, actions in pairs]

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> list[np.ndarray]:
        """Plays the episodes of `states` again; returns where that led."""
        self._began = list(states)
        self._actions = [list(state["actions"]) for state in states]
        return self._ask([("play", state) for state in states])

    def close(self, **kwargs: Any) -> None:
        """Ends all processes."""
        for worker in self._workers:
            worker.end()

    def _ask(self, orders: list[tuple[str, Any]]) -> list[Any]:
        """The answers of all workers to one order each, which they work on side by side."""
        for worker, order in zip(self._workers, orders, strict=True):
            worker.tell(order)
        deadlines = [time.monotonic() + self._patience(order) for order in orders]
        return [self._answer(i, order, deadlines[i]) for i, order in enumerate(orders)]

    def _answer(self, i: int, order: tuple[str, Any], deadline: float) -> Any:
        while True:
            try:
                done, answer = self._workers[i].hear(deadline)
            except TimeoutError:
                raise self._error(i, f"did not answer within {self._patience(order):g} s") from None
            except (EOFError, OSError):
                self._start_again(i, order)
                deadline = time.monotonic() + self._patience(order)
                continue
            if not done:
                self.close()
                raise InputError(answer)
            return answer

    def _patience(self, order: tuple[str, Any]) -> float:
        """Seconds that an order may take: the limit for each step, and for the reset before them."""
        return self._limit_s * (1 + len(order[1]["actions"]) if order[0] == "play" else 1)

    def _start_again(self, i: int, order: tuple[str, Any]) -> None:
        """Puts a new worker in the place of one that died, to where the old one was, with the same order."""
        ended = self._workers[i].end(patience_s=1.0)  # it is about to
        self._deaths[i] += 1
        died = f"its process died (exit code {ended})"
        if self._deaths[i] > RESTARTS:
            raise self._error(i, f"{died} {self._deaths[i]} times, expected {RESTARTS} at most")
        warnings.warn(f"{self._where(i)}: {died}: started again, it plays its episode again", stacklevel=2)
        self._workers[i] = worker = _Worker(self._make, i)
        if order[0] == "step":
            again = ("play", self.state_dicts()[i])
            worker.tell(again)
            self._answer(i, again, time.monotonic() + self._patience(again))
            worker = self._workers[i]
        worker.tell(order)

    def _where(self, i: int) -> str:
        began = self._began[i]
        return where(i, began.get("first"), began.get("episode", 0), len(self._actions[i]) + 1)

    def _error(self, i: int, what: str) -> InputError:
        self.close()
        return InputError(f"{self._where(i)}: {what}")


class _Worker:
    """This end of a process that plays one environment."""

    def __init__(self, make: Callable[[int], Replayable], index: int) -> None:
        self._pipe, theirs = mp.Pipe()
        self._process = mp.Process(target=_serve, args=(make, index, theirs), daemon=True)
        self._process.start()
        theirs.close()  # so that the death of the process ends the pipe

    def tell(self, order: tuple[str, Any]) -> None:
        """Gives an order; that nobody is there to hear it is noticed when the answer is missing."""
        with suppress(OSError):
            self._pipe.send(order)

    def hear(self, deadline: float) -> tuple[bool, Any]:
        """Whether the order was done, and the answer; else what was wrong.

        Raises:
            TimeoutError: when there is none at the deadline.
            EOFError, OSError: when the process died.
        """
        if not self._pipe.poll(max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        return self._pipe.recv()

    def end(self, patience_s: float = 0.0) -> int | None:
        """Ends the process, if it does not end by itself in time; returns its exit code."""
        self._process.join(patience_s)
        self._pipe.close()
        self._process.kill()
        self._process.join()
        return self._process.exitcode


def _serve(make: Callable[[int], Replayable], index: int, pipe: Connection) -> None:
    """Does what comes through the pipe until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that learns
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not what that process does, should it have forked late
    try:
        env = make(index)
        for order in _orders(pipe):
            pipe.send((True, _do(env, *order)))
    except (EOFError, OSError):
        return
    except InputError as error:
        pipe.send((False, str(error)))


def _orders(pipe: Connection) -> Iterator[tuple[str, Any]]:
    """Orders until the pipe ends, or who started this process does: later workers hold its pipe open."""
    learner = os.getppid()
    while True:
        while not pipe.poll(ALONE_S):
            if os.getppid() != learner:
                return
        yield pipe.recv()


def _do(env: Replayable, order: str, told: Any) -> Any:
    if order == "reset":
        if told is not None:
            seed_global(told)  # else forked processes would all draw the same from what is nobody's own
        return env.reset(seed=told)[0], env.state_dict()
    if order == "play":
        if told["first"] is not None:
            seed_global(told["first"])
        return env.load_state_dict(told)
    obs, reward, terminated, truncated, _ = env.step(told)
    following = (env.reset()[0], env.state_dict()) if terminated or truncated else None
    return obs, reward, terminated, truncated, following
