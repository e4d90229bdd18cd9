"""Time to learn beside Stable-Baselines3: CPU seconds until a greedy policy scores 475 on CartPole-v1.

Every run is the same race. About every 2,048 environment steps the greedy policy plays 20 episodes; a mean of
475 is confirmed by 100 fresh ones, or training goes on. The clock stands while the policy is judged, and runs
while environments, networks and optimizers are built. Imports are done before, `torch._dynamo` among them,
which the first optimizer of a process would import. Rows take turns seed by seed, on one thread.

Stable-Baselines3 has the settings its authors tuned for CartPole-v1 (RL Baselines3 Zoo, hyperparams/*.yml).
With PPO's, ours still differs in two things: ε stays where theirs falls to zero, and the first weights have
the gain 5/3 of tanh where theirs have √2, which learns more slowly. PQN has no peer there: beside it runs
our DQN.

    taskset -c 0 python -m benchmarks.agents --algo ppo
"""

import gc
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from json import dumps
from math import inf
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
import torch._dynamo
import tyro
from rich.console import Console
from rich.table import Table
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from agents import ppo
from agents.registry import MODULES, PRESETS
from envs import make
from training.seeds import stream

ENV = "CartPole-v1"
GOAL = 475.0  # mean return, Gymnasium's threshold for "solved"
BUDGET = 100_000  # environment steps before a run counts as not reached
EVERY = 2_048  # environment steps between evaluations

GreedyPolicy = Callable[[np.ndarray], np.ndarray]  # observations (N, O) -> actions (N,)


@dataclass(frozen=True)
class Result:
    """One run: what it took to reach the goal, or that the budget was spent in vain."""

    seed: int
    reached: bool
    steps: int  # of the environments
    wall_s: float
    cpu_s: float

    @property
    def time_to_goal_s(self) -> float:
        """CPU seconds; infinite when the goal was not reached."""
        return self.cpu_s if self.reached else inf


class Race:
    """The clock and the finishing line of one run."""

    def __init__(self, seed: int) -> None:
        gc.collect()
        self.seed = seed
        self.reached = False
        self.steps = 0
        self._wall_s = self._cpu_s = 0.0
        self._start()

    def finished(self, steps: int, policy: GreedyPolicy) -> bool:
        """Whether the goal is reached after `steps`; looks at the first call past each multiple of EVERY."""
        due = steps // EVERY > self.steps // EVERY
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
        return mean_return(policy, 20, first) >= GOAL and mean_return(policy, 100, fresh) >= GOAL

    def _start(self) -> None:
        self._wall_at, self._cpu_at = perf_counter(), process_time()

    def _stop(self) -> None:
        self._wall_s += perf_counter() - self._wall_at
        self._cpu_s += process_time() - self._cpu_at


def mean_return(policy: GreedyPolicy, episodes: int, seed: int) -> float:
    """Mean return of as many environments as `episodes`, each of which plays one."""
    envs = gym.make_vec(ENV, episodes, vectorization_mode="vector_entry_point")
    obs, _ = envs.reset(seed=seed)
    returns, playing = np.zeros(episodes), np.ones(episodes, np.bool_)
    while playing.any():
        obs, reward, terminated, truncated, _ = envs.step(policy(obs))
        returns += reward * playing
        playing &= ~(terminated | truncated)
    envs.close()
    return float(returns.mean())


def ours(kind: str, cfg: Any, seed: int) -> Result:
    """A run of our algorithm called `kind`."""
    race = Race(seed)
    cfg = replace(cfg, run=replace(cfg.run, seed=seed, device="cpu"))
    envs = make(cfg.env, cfg.num_envs, stream(seed, "envs"))
    learner = MODULES[kind].Learner(cfg, envs.spaces)

    def policy(obs: np.ndarray) -> np.ndarray:
        return learner.model.act(torch.from_numpy(obs)).numpy()

    for step, _ in MODULES[kind].train(cfg, learner, envs):
        if race.finished(step, policy):
            break
    return race.result()


class _Referee(BaseCallback):
    """Asks the race between two iterations of Stable-Baselines3."""

    def __init__(self, race: Race) -> None:
        super().__init__()
        self._race = race

    def _policy(self, obs: np.ndarray) -> np.ndarray:
        return self.model.predict(obs, deterministic=True)[0]

    def _on_rollout_start(self) -> None:
        self._race.finished(self.num_timesteps, self._policy)

    def _on_step(self) -> bool:
        return not self._race.reached

    def _on_training_end(self) -> None:
        if not self._race.reached:
            self._race.finished(self.num_timesteps, self._policy)


def peer(make_model: Callable[[int], BaseAlgorithm], seed: int) -> Result:
    """A run of Stable-Baselines3's."""
    race = Race(seed)
    make_model(seed).learn(BUDGET, callback=_Referee(race))
    return race.result()


def their_ppo(seed: int) -> PPO:
    """Stable-Baselines3's PPO with its zoo's settings."""
    return PPO(
        "MlpPolicy",
        make_vec_env(ENV, n_envs=8, seed=seed),
        n_steps=32,
        batch_size=256,
        n_epochs=20,
        gae_lambda=0.8,
        gamma=0.98,
        ent_coef=0.0,
        learning_rate=lambda remaining: 1e-3 * remaining,
        clip_range=lambda remaining: 0.2 * remaining,
        seed=seed,
        device="cpu",
    )


def their_a2c(seed: int) -> A2C:
    """Stable-Baselines3's A2C with its zoo's settings."""
    return A2C("MlpPolicy", make_vec_env(ENV, n_envs=8, seed=seed), ent_coef=0.0, seed=seed, device="cpu")


def their_dqn(seed: int) -> DQN:
    """Stable-Baselines3's DQN with its zoo's settings."""
    return DQN(
        "MlpPolicy",
        make_vec_env(ENV, seed=seed),
        learning_rate=2.3e-3,
        batch_size=64,
        buffer_size=100_000,
        learning_starts=1_000,
        gamma=0.99,
        target_update_interval=10,
        train_freq=256,
        gradient_steps=128,
        exploration_fraction=0.16 * 50_000 / BUDGET,  # the zoo trains for 50,000 steps
        exploration_final_eps=0.04,
        policy_kwargs={"net_arch": [256, 256]},
        seed=seed,
        device="cpu",
    )


ZOO = ppo.Config(
    env=ENV,
    num_envs=8,
    rollout=32,
    epochs=20,
    minibatch=256,
    lr=1e-3,
    gamma=0.98,
    lam=0.8,
    activation="tanh",
    shared=False,
)


def preset(kind: str) -> Callable[[int], Result]:
    """Runs of our preset for as long as the budget lets them."""
    cfg = PRESETS[kind][ENV]
    return partial(ours, kind, replace(cfg, run=replace(cfg.run, steps=min(cfg.run.steps, BUDGET))))


PEER = "Stable-Baselines3"
ROWS: dict[str, dict[str, Callable[[int], Result]]] = {
    "ppo": {
        "ours, preset": preset("ppo"),
        "ours, SB3's settings but clip and first weights": partial(ours, "ppo", ZOO),
        PEER: partial(peer, their_ppo),
    },
    "a2c": {"ours, preset": preset("a2c"), PEER: partial(peer, their_a2c)},
    "dqn": {"ours, preset": preset("dqn"), PEER: partial(peer, their_dqn)},
    "pqn": {"ours, preset": preset("pqn"), "our DQN, preset": preset("dqn")},
}


def show(results: dict[str, list[Result]]) -> Table:
    """A line for each row; ratios are to the last row."""
    title = f"{ENV}: CPU seconds to a mean greedy return of {GOAL:.0f}, confirmed by 100 episodes"
    table = Table(title=title, title_justify="left")
    for name in ("", "by seed", "median", "min-max", "wall s", "steps", "ratio"):
        table.add_column(name, justify="right" if name else "left")
    peer_s = median(run.time_to_goal_s for run in list(results.values())[-1])
    for name, runs in results.items():
        seconds = [run.time_to_goal_s for run in runs]
        table.add_row(
            name,
            " ".join(
                f"{s:.2f}" if run.reached else "not reached" for s, run in zip(seconds, runs, strict=True)
            ),
            f"{median(seconds):.3f}",
            f"{min(seconds):.2f}-{max(seconds):.2f}",
            f"{median(run.wall_s for run in runs):.3f}",
            f"{median(run.steps for run in runs):,.0f}",
            f"1/{peer_s / median(seconds):.1f}",
        )
    return table


def main(algo: Literal["ppo", "a2c", "dqn", "pqn"] = "ppo", seeds: int = 5, json: Path | None = None) -> None:
    """Runs every row with seeds 0, 1, ... and prints the table.

    Args:
        algo: whose table.
        seeds: runs of each row.
        json: a file for the single results.
    """
    torch.set_num_threads(1)
    results: dict[str, list[Result]] = {name: [] for name in ROWS[algo]}
    for seed in range(seeds):
        for name, run in ROWS[algo].items():
            results[name].append(run(seed))
    Console(width=140).print(show(results))
    if json is not None:
        json.write_text(
            dumps({name: [asdict(run) for run in runs] for name, runs in results.items()}, indent=1)
        )


if __name__ == "__main__":
    tyro.cli(main)
