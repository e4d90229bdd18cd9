"""Tuned recipes by environment: what `lab train ALGORITHM --env ID` starts from.

Each says what it reached and the command that shows it.
"""

from agents import dqn, ppo
from training.run import RunConfig

PPO = {
    # A mean greedy return of 475 after a median of 0.16 CPU seconds, 0.23 at worst, 1/31 of what
    # Stable-Baselines3 takes: `python -m benchmarks.agents --algo ppo`. With 44 other seeds 0.21, and 0.42 at
    # worst. Of 86 whole runs the worst ended at 495 over 100 episodes.
    "CartPole-v1": ppo.Config(
        env="CartPole-v1",
        num_envs=32,
        rollout=32,
        minibatch=512,
        lr=1e-2,
        lam=0.97,
        max_norm=1.0,
        reward_scale=0.05,
    ),
}

DQN = {
    "CartPole-v1": dqn.Config(
        env="CartPole-v1",
        lr=4e-3,
        target_every=1,
        reward_scale=0.1,
        replay=10_000,
        epsilon_end=0.1,
        explore_steps=4_000,
        run=RunConfig(steps=60_000),
    ),
}
