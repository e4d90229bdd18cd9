"""Time to learn beside Stable-Baselines3: CPU seconds until a greedy policy is good enough.

That is a mean return of 475 on CartPole-v1, -100 on Acrobot-v1, 200 on LunarLander-v3. Every run is the same
race. About every 2,048 environment steps (20,000 on LunarLander) the greedy policy plays 20 episodes in
Gymnasium; a mean that is good enough is confirmed by 100 fresh ones, or training goes on. The clock stands
while the policy is judged, and runs while environments, networks and optimizers are built. Imports are done
before, `torch._dynamo` among them, which the first optimizer of a process would import. Rows take turns seed
by seed, on one thread.

Stable-Baselines3 has the settings its authors tuned for each environment (RL Baselines3 Zoo,
hyperparams/*.yml). With PPO's for CartPole, ours still differs in two things: ε stays where theirs falls to
zero, and the first weights have the gain 5/3 of tanh where theirs have √2, which learns more slowly. PQN has
no peer there: beside it runs our DQN. On Acrobot and LunarLander ours learns on EnvPool's environments, which
are C++, theirs on Gymnasium's: part of the gain is EnvPool's. On LunarLander ours then goes on, off the
clock, for as many steps as it took or to the end of the run, and 100 episodes tell whether it still can.

    taskset -c 0 python -m benchmarks.agents --algo ppo
"""

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from json import dumps
from pathlib import Path
from statistics import median
from typing import Literal

import torch
import torch._dynamo
import tyro
from rich.console import Console
from rich.table import Table
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from agents import ppo
from agents.registry import PRESETS
from benchmarks import jax_peers
from benchmarks.races import Result, Task, ours, theirs
from training.run import RunConfig

CARTPOLE = Task("CartPole-v1", 475.0)
ACROBOT = Task("Acrobot-v1", -100.0, budget=1_000_000)
LANDER = Task("LunarLander-v3", 200.0, budget=1_000_000, every=20_000, again=True)


Make = Callable[..., BaseAlgorithm]  # an algorithm of Stable-Baselines3 or SBX


def their_ppo(make: Make, seed: int) -> BaseAlgorithm:
    """PPO with the zoo's settings."""
    return make(
        "MlpPolicy",
        make_vec_env(CARTPOLE.env, n_envs=8, seed=seed),
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
    return A2C(
        "MlpPolicy", make_vec_env(CARTPOLE.env, n_envs=8, seed=seed), ent_coef=0.0, seed=seed, device="cpu"
    )


def their_dqn(make: Make, seed: int) -> BaseAlgorithm:
    """DQN with the zoo's settings."""
    return make(
        "MlpPolicy",
        make_vec_env(CARTPOLE.env, seed=seed),
        learning_rate=2.3e-3,
        batch_size=64,
        buffer_size=100_000,
        learning_starts=1_000,
        gamma=0.99,
        target_update_interval=10,
        train_freq=256,
        gradient_steps=128,
        exploration_fraction=0.16 * 50_000 / CARTPOLE.budget,  # the zoo trains for 50,000 steps
        exploration_final_eps=0.04,
        policy_kwargs={"net_arch": [256, 256]},
        seed=seed,
        device="cpu",
    )


def their_acrobot(seed: int) -> PPO:
    """Stable-Baselines3's PPO with its zoo's settings for Acrobot-v1."""
    envs = VecNormalize(make_vec_env(ACROBOT.env, n_envs=16, seed=seed))
    return PPO("MlpPolicy", envs, n_steps=256, n_epochs=4, gae_lambda=0.94, seed=seed, device="cpu")


def their_lander(seed: int) -> PPO:
    """Stable-Baselines3's PPO with its zoo's settings for LunarLander."""
    return PPO(
        "MlpPolicy",
        make_vec_env(LANDER.env, n_envs=16, seed=seed),
        n_steps=1_024,
        n_epochs=4,
        gae_lambda=0.98,
        gamma=0.999,
        ent_coef=0.01,
        seed=seed,
        device="cpu",
    )


ZOO = ppo.Config(
    env=CARTPOLE.env,
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


ACROBOT_FAST = ppo.Config(  # the preset learns from more at once, which is better in the end, not sooner
    env="envpool/Acrobot-v1",
    num_envs=32,
    rollout=128,
    lam=0.94,
    activation="silu",
    reward_scale=0.03,
    run=RunConfig(steps=200_000),
)


def preset(kind: str, task: Task = CARTPOLE, backend: str = "") -> Callable[[int], Result]:
    """Runs of our preset for as long as the budget lets them."""
    cfg = PRESETS[kind][task.env]
    run = replace(cfg.run, steps=min(cfg.run.steps, task.budget))
    return partial(ours, task, kind, replace(cfg, env=backend + task.env, run=run))


TASKS = {"acrobot": ACROBOT, "lander": LANDER}
Row = Callable[[int], Result]
OURS: dict[str, dict[str, Row]] = {
    "ppo": {
        "ours, preset": preset("ppo"),
        "ours, SB3's settings but clip and first weights": partial(ours, CARTPOLE, "ppo", ZOO),
    },
    "a2c": {"ours, preset": preset("a2c")},
    "dqn": {"ours, preset": preset("dqn")},
    "pqn": {"ours, preset": preset("pqn"), "our DQN, preset": preset("dqn")},
    "acrobot": {"our PPO, EnvPool": partial(ours, ACROBOT, "ppo", ACROBOT_FAST)},
    "lander": {"our PPO, preset, EnvPool": preset("ppo", LANDER, "envpool/")},
}
PEERS: dict[str, dict[str, Row]] = {
    "Stable-Baselines3": {
        "ppo": partial(theirs, CARTPOLE, partial(their_ppo, PPO)),
        "a2c": partial(theirs, CARTPOLE, their_a2c),
        "dqn": partial(theirs, CARTPOLE, partial(their_dqn, DQN)),
        "acrobot": partial(theirs, ACROBOT, their_acrobot),
        "lander": partial(theirs, LANDER, their_lander),
    },
    "SBX": {
        "ppo": partial(theirs, CARTPOLE, partial(their_ppo, partial(jax_peers.sbx, "PPO"))),
        "dqn": partial(theirs, CARTPOLE, partial(their_dqn, partial(jax_peers.sbx, "DQN"))),
    },
    "rejax": {
        "ppo": partial(jax_peers.rejax_ppo, CARTPOLE),
        "pqn": partial(jax_peers.rejax_pqn, replace(CARTPOLE, budget=524_288)),
    },
}


def show(algo: str, results: dict[str, list[Result]]) -> Table:
    """A line for each row; ratios are to the last row."""
    task = TASKS.get(algo, CARTPOLE)
    title = f"{task.env}: CPU seconds to a mean greedy return of {task.goal:.0f}, confirmed by 100 episodes"
    table = Table(title=title, title_justify="left")
    for name in ("", "by seed", "median", "min-max", "wall s", "steps", "ratio", "return later")[
        : 7 + task.again
    ]:
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
            *([" ".join(f"{run.later:.0f}" for run in runs if run.later is not None)] if task.again else []),
        )
    return table


def main(
    algo: Literal["ppo", "a2c", "dqn", "pqn", "acrobot", "lander"] = "ppo",
    seeds: int = 5,
    peer_seeds: int | None = None,
    peer: Literal["sb3", "sbx", "rejax"] = "sb3",
    json: Path | None = None,
) -> None:
    """Runs every row with seeds 0, 1, ... and prints the table.

    Args:
        algo: whose table; that of PPO on another environment by the environment's name.
        seeds: runs of each row.
        peer_seeds: runs of the peer, if fewer; 0 leaves it out.
        peer: against whom; sbx and rejax are raced where they are installed (`pip install sbx-rl rejax`).
        json: a file for the single results.
    """
    torch.set_num_threads(1)
    name = {"sb3": "Stable-Baselines3", "sbx": "SBX", "rejax": "rejax"}[peer]
    rows = dict(OURS[algo])
    if algo in PEERS[name]:
        rows[name] = PEERS[name][algo]
    elif peer != "sb3":
        sys.exit(f"{name} is not raced for {algo}, expected one of {', '.join(PEERS[name])}")
    results: dict[str, list[Result]] = {row: [] for row in rows}
    for seed in range(seeds):
        for row, run in rows.items():
            if row != name or peer_seeds is None or seed < peer_seeds:
                results[row].append(run(seed))
    results = {row: runs for row, runs in results.items() if runs}
    Console(width=140).print(show(algo, results))
    if json is not None:
        json.write_text(
            dumps({row: [asdict(run) for run in runs] for row, runs in results.items()}, indent=1)
        )


if __name__ == "__main__":
    tyro.cli(main)
