"""Peers of the races that are written in JAX, on CartPole-v1: SBX and rejax.

SBX is Stable-Baselines3's algorithms with the update in JAX; it gets the same settings. rejax compiles a
whole iteration, environments (gymnax) and all, and gets its authors' settings (configs/gymnax/cartpole.yaml).
JAX compiles a function when it is first called; for rejax that is done before the clock starts, for SBX it is
in the time, as it is in that of a user. Both come by `pip install sbx-rl rejax`. One thread each:

    XLA_FLAGS="--xla_cpu_multi_thread_eigen=false" taskset -c 0 python -m benchmarks.agents --peer rejax
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from benchmarks.races import Race, Result, Task

PPO: dict[str, Any] = {
    "agent_kwargs": {"activation": "tanh"},
    "num_envs": 5,
    "num_steps": 100,
    "num_epochs": 5,
    "num_minibatches": 5,
    "learning_rate": 7.5e-4,
    "max_grad_norm": 0.5,
    "ent_coef": 0.01,
}
PQN: dict[str, Any] = {
    "num_envs": 16,
    "num_steps": 128,
    "num_epochs": 5,
    "num_minibatches": 16,
    "learning_rate": 3e-4,
    "max_grad_norm": 10.0,
    "td_lambda": 0.9,
    "eps_end": 0.05,
    "exploration_fraction": 0.5,
    "total_timesteps": 524_288,
}


def sbx(algo: str, *args: Any, **settings: Any) -> BaseAlgorithm:
    """An algorithm of SBX by its name."""
    import sbx

    made: BaseAlgorithm = getattr(sbx, algo)(*args, **settings)
    return made


def rejax_ppo(task: Task, seed: int) -> Result:
    """A run of rejax's PPO."""

    def scores(algo: Any, state: Any, obs: Any) -> Any:
        return algo.actor.apply(state.actor_ts.params, obs, method="_action_dist").logits

    return _rejax("PPO", PPO, scores, task, seed)


def rejax_pqn(task: Task, seed: int) -> Result:
    """A run of rejax's PQN."""

    def scores(algo: Any, state: Any, obs: Any) -> Any:
        return algo.agent.apply(state.q_ts.params, obs)

    return _rejax("PQN", PQN, scores, task, seed)


def _rejax(name: str, settings: dict[str, Any], scores: Callable[..., Any], task: Task, seed: int) -> Result:
    """Iterations of an algorithm of rejax; `scores` are of actions, (N, O) -> (N, A)."""
    import jax
    import rejax

    algo = getattr(rejax, name).create(env=task.env, **settings)
    state = algo.init_state(jax.random.PRNGKey(seed))
    iterate = jax.jit(algo.train_iteration).lower(state).compile()
    best = jax.jit(lambda state, obs: scores(algo, state, obs).argmax(-1))
    race, steps = Race(task, seed), 0

    def policy(obs: np.ndarray) -> np.ndarray:
        return np.asarray(best(state, obs))

    while steps < task.budget and not race.reached:
        state = jax.block_until_ready(iterate(state))
        steps += algo.num_envs * algo.num_steps
        race.finished(steps, policy)
    return race.result()
