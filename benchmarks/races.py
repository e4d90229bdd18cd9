"""Races to a return: learn until a greedy policy is good enough, and count CPU seconds."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from time import perf_counter, process_time
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from agents.registry import MODULES
from envs import make
from training.seeds import stream

GreedyPolicy = Callable[[np.ndarray], np.ndarray]  # observations (N, O) -> actions (N,)


@dataclass(frozen=True)
class Task:
    """What is to be learned."""

    env: str
    goal: float  # mean greedy return
    budget: int = 100_000  # environment steps before a run counts as not reached
    every: int = 2_048  # environment steps between evaluations
    again: bool = False  # whether ours goes on for as many steps as it took, and is judged once more


@dataclass(frozen=True)
class Result:
    """One run: what it took to reach the goal, or that the budget was spent in vain."""

    seed: int
    reached: bool
    steps: int  # of the environments
    wall_s: float
    cpu_s: float
    later: float | None = None  # mean greedy return after as many steps again, or at the end of the run

    @property
    def time_to_goal_s(self) -> float:
        """CPU seconds; infinite when the goal was not reached."""
        return self.cpu_s if self.reached else inf


class Race:
    """The clock and the finishing line of one run."""

    def __init__(self, task: Task, seed: int) -> None:
        gc.collect()
        self.task, self.seed = task, seed
        self.reached = False
        self.steps = 0
        self._wall_s = self._cpu_s = 0.0
        self._start()

    def finished(self, steps: int, policy: GreedyPolicy) -> bool:
        """Whether the goal is reached after `steps`; looks once past each multiple of `every`."""
        due = steps // self.task.every > self.steps // self.task.every
        self.steps = steps
        if due:
            self._stop()
            self.reached = self._judge(policy)
            self._start()
        return self.reached

    def result(self) -> Result:
        """Stops the clock for good."""
        self._stop()
        return Result(self.seed, self.reached, self.steps, self._wall_s, self._cpu_s)

    def _judge(self, policy: GreedyPolicy) -> bool:
        first, fresh = (stream(self.seed, f"{name} {self.steps}") for name in ("first", "fresh"))
        counts = ((20, first), (100, fresh))
        return all(mean_return(self.task.env, policy, *count) >= self.task.goal for count in counts)

    def _start(self) -> None:
        self._wall_at, self._cpu_at = perf_counter(), process_time()

    def _stop(self) -> None:
        self._wall_s += perf_counter() - self._wall_at
        self._cpu_s += process_time() - self._cpu_at


def mean_return(env: str, policy: GreedyPolicy, episodes: int, seed: int) -> float:
    """Mean return of as many of Gymnasium's environments as `episodes`, each of which plays one."""
    native = gym.spec(env).vector_entry_point is not None
    envs = gym.make_vec(env, episodes, vectorization_mode="vector_entry_point" if native else "sync")
    obs, _ = envs.reset(seed=seed)
    returns, playing = np.zeros(episodes), np.ones(episodes, np.bool_)
    while playing.any():
        obs, reward, terminated, truncated, _ = envs.step(policy(obs))
        returns += reward * playing
        playing &= ~(terminated | truncated)
    envs.close()
    return float(returns.mean())


def ours(task: Task, kind: str, cfg: Any, seed: int) -> Result:
    """A run of our algorithm called `kind`."""
    race = Race(task, seed)
    cfg = replace(cfg, run=replace(cfg.run, seed=seed, device="cpu"))
    envs = make(cfg.env, cfg.num_envs, stream(seed, "envs") % 2**31)
    learner = MODULES[kind].Learner(cfg, envs.spaces)

    def policy(obs: np.ndarray) -> np.ndarray:
        return learner.model.act(torch.from_numpy(obs)).numpy()

    training = MODULES[kind].train(cfg, learner, envs)
    for step, _ in training:
        if race.finished(step, policy):
            break
    result = race.result()
    if task.again and result.reached:
        for step, _ in training:
            if step >= 2 * result.steps:
                break
        result = replace(result, later=mean_return(task.env, policy, 100, stream(seed, "later")))
    envs.close()
    return result


class _Referee(BaseCallback):
    """Asks the race between two iterations of Stable-Baselines3."""

    def __init__(self, race: Race) -> None:
        super().__init__()
        self._race = race

    def _policy(self, obs: np.ndarray) -> np.ndarray:
        if isinstance(self.training_env, VecNormalize):
            obs = np.asarray(self.training_env.normalize_obs(obs))
        return self.model.predict(obs, deterministic=True)[0]

    def _on_rollout_start(self) -> None:
        self._race.finished(self.num_timesteps, self._policy)

    def _on_step(self) -> bool:
        return not self._race.reached

    def _on_training_end(self) -> None:
        if not self._race.reached:
            self._race.finished(self.num_timesteps, self._policy)


def theirs(task: Task, make_model: Callable[[int], BaseAlgorithm], seed: int) -> Result:
    """A run of Stable-Baselines3's."""
    race = Race(task, seed)
    make_model(seed).learn(task.budget, callback=_Referee(race))
    return race.result()
