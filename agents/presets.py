"""Tuned recipes by environment: what `lab train ALGORITHM --env ID` starts from.

Each says what it reached and the command that shows it.
"""

from agents import a2c, dqn, ppo, ppo_lstm, pqn, qr_dqn, reinforce, sac
from training.run import RunConfig

PPO = {
    # A mean greedy return of 475 after a median of 0.19 CPU seconds over 15 seeds, 0.30 at worst, 1/23 of
    # Stable-Baselines3: `python -m benchmarks.agents --algo ppo --seeds 15`. 500.0 at the end of each of five
    # whole runs: `python -m benchmarks.returns`. With λ = 0.95 one run in twenty collapsed near its end.
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
    # -85.0 at the end of 5 runs, -86.9 the worst, 5.8 CPU seconds:
    # `python -m benchmarks.returns --only ppo --env Acrobot-v1 --backend envpool`.
    "Acrobot-v1": ppo.Config(
        env="Acrobot-v1",
        num_envs=32,
        rollout=128,
        lam=0.94,
        activation="silu",
        reward_scale=0.03,
        run=RunConfig(steps=200_000),
    ),
    # Two runs by hand on EnvPool, 50 greedy episodes in Gymnasium each: 275.9 and 192.6, 50 CPU seconds.
    # `python -m benchmarks.returns --only ppo --env LunarLander-v3 --backend envpool` tells more.
    "LunarLander-v3": ppo.Config(
        env="LunarLander-v3",
        num_envs=64,
        minibatch=512,
        lr=2e-3,
        gamma=0.999,
        lam=0.98,
        entropy_coef=0.01,
        reward_scale=0.02,
        run=RunConfig(steps=1_000_000),
    ),
}

DQN = {
    # 499.3 at the end of 5 runs, 496.5 the worst: `python -m benchmarks.returns`.
    "CartPole-v1": dqn.Config(
        env="CartPole-v1",
        collect=64,
        updates=16,
        batch=256,
        n_step=10,
        lr=4e-3,
        target_every=1,
        reward_scale=0.1,
        replay=10_000,
        epsilon_end=0.1,
        explore_steps=4_000,
        activation="tanh",
        run=RunConfig(steps=60_000),
    ),
}

A2C = {
    # 500.0 at the end of 5 runs, 500.0 the worst: `python -m benchmarks.returns`.
    "CartPole-v1": a2c.Config(
        env="CartPole-v1",
        num_envs=16,
        rollout=16,
        lam=0.97,
        entropy_coef=0.0,
        max_norm=1.0,
        reward_scale=0.05,
        run=RunConfig(steps=200_000),
    ),
}

PQN = {
    "CartPole-v1": pqn.Config(env="CartPole-v1", reward_scale=0.1, run=RunConfig(steps=100_000)),
}

QR_DQN = {
    "CartPole-v1": qr_dqn.Config(
        env="CartPole-v1",
        collect=64,
        updates=16,
        batch=256,
        n_step=10,
        quantiles=16,
        lr=4e-3,
        target_every=1,
        reward_scale=0.1,
        replay=10_000,
        epsilon_end=0.1,
        explore_steps=4_000,
        activation="tanh",
        run=RunConfig(steps=60_000),
    ),
}

REINFORCE = {
    # 499.9 at the end of 5 runs, 499.7 the worst: `python -m benchmarks.returns`.
    "CartPole-v1": reinforce.Config(env="CartPole-v1", entropy_coef=0.01, reward_scale=0.05),
}

SAC = {
    # -238.9 at the end of 3 runs, -150.9 the best and -410.8 the worst, 33.5 CPU seconds:
    # `python -m benchmarks.returns --only sac --seeds 3`.
    "Pendulum-v1": sac.Config(env="Pendulum-v1", run=RunConfig(steps=20_000)),
}

PPO_LSTM = {
    # 475.6 at the end of 3 runs, 426.8 the worst: `python -m benchmarks.returns --only ppo_lstm --seeds 3`.
    # PPO without a memory reached 43, 40 and 42 in three runs with its settings for CartPole-v1.
    "lab/CartPoleStill-v1": ppo_lstm.Config(env="lab/CartPoleStill-v1", reward_scale=0.05),
}
