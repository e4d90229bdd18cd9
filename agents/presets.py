"""Tuned recipes by environment: what `lab train ALGORITHM --env ID` starts from.

Each says what it reached and the command that shows it.
"""

from dataclasses import replace

from agents import a2c, dqn, general, ppo, ppo_lstm, pqn, qr_dqn, rainbow, reinforce, sac
from training.run import RunConfig

LANDER = ppo.Config(
    env="LunarLander-v3",
    num_envs=64,
    minibatch=512,
    lr=2e-3,
    gamma=0.999,
    lam=0.98,
    entropy_coef=0.01,
    reward_scale=0.02,
    average=0.9,
    run=RunConfig(steps=1_000_000, evaluate_every=50_000),
)

WALKER = ppo.Config(  # what robots that walk have in common
    num_envs=32,
    epochs=8,
    minibatch=512,
    shared=False,
    normalise_obs=True,
    normalise_reward=True,
    run=RunConfig(steps=1_000_000, evaluate_every=50_000),
)

HOPPER = replace(
    WALKER,
    env="Hopper-v5",
    num_envs=16,
    rollout=128,
    epochs=10,
    minibatch=256,
    lr=5e-4,
    deviation=0.6,
    activation="tanh",
)

PPO = {
    # A mean greedy return of 475 after a median of 0.12 CPU seconds over 9 seeds, 0.30 at worst, 1/19 of
    # Stable-Baselines3: `python -m benchmarks.agents --algo ppo --seeds 9`. 500.0 at the end of each of five
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
    # -78.8 at the end of 5 runs, -80.6 the worst, 7.3 CPU seconds; with minibatches of 256 and a lr of 1e-3
    # two runs as long ended at -80.7 and -78.3:
    # `python -m benchmarks.returns --only ppo --env Acrobot-v1 --backend envpool`.
    "Acrobot-v1": ppo.Config(
        env="Acrobot-v1",
        num_envs=32,
        rollout=256,
        epochs=8,
        minibatch=1_024,
        lr=3e-3,
        lam=0.94,
        activation="silu",
        reward_scale=0.03,
        run=RunConfig(steps=500_000),
    ),
    # -160.6 at the end of 5 runs, -165.2 the worst, 5.8 CPU seconds. Short rollouts or γ = 0.9 ended between
    # -165 and -230: `python -m benchmarks.returns --only ppo --env Pendulum-v1 --backend tensor`.
    "Pendulum-v1": ppo.Config(
        env="Pendulum-v1",
        rollout=128,
        epochs=15,
        lr=2e-3,
        gamma=0.95,
        reward_scale=0.1,
        activation="tanh",
        shared=False,
        run=RunConfig(steps=100_000),
    ),
    # 268.5 at the end of 5 runs, 247.3 the worst, 28 CPU seconds:
    # `python -m benchmarks.returns --only ppo --env LunarLander-v3 --backend envpool --seeds 5`. A mean
    # greedy return of 200 after 5.5, the median of 5 runs: `python -m benchmarks.agents --algo lander`.
    # Without averaged weights three runs were at 180, 161 and 227 after as many steps again.
    "LunarLander-v3": LANDER,
    # 281.2 at the end of one run, 43 CPU seconds:
    # `python -m benchmarks.returns --only ppo --env LunarLanderContinuous-v3 --backend envpool --seeds 1`.
    "LunarLanderContinuous-v3": replace(LANDER, env="LunarLanderContinuous-v3", entropy_coef=0.0),
    # 5,845 at the end of 3 runs, 5,530 the worst, 83 CPU seconds:
    # `python -m benchmarks.returns --only ppo --env HalfCheetah-v5 --backend envpool --seeds 3`. Actions that
    # spread little at first did it: with a deviation of 1 and other settings a run ended at 1,583.
    "HalfCheetah-v5": replace(
        WALKER, env="HalfCheetah-v5", lr=5e-4, gamma=0.98, lam=0.92, deviation=0.15, hidden=(128, 128)
    ),
    # 296.8 at the end of 3 runs, 288.0 the worst, 145 CPU seconds:
    # `python -m benchmarks.returns --only ppo --env BipedalWalker-v3 --backend envpool --seeds 3`. With a
    # deviation of 0.5 one of three learned to stand.
    "BipedalWalker-v3": replace(
        WALKER,
        env="BipedalWalker-v3",
        rollout=128,
        lr=7e-4,
        deviation=1.0,
        run=RunConfig(steps=2_000_000, evaluate_every=50_000),
    ),
    # 2,984 at the end of 3 runs, 2,390 the worst, 105 CPU seconds:
    # `python -m benchmarks.returns --only ppo --env Hopper-v5 --backend envpool --seeds 3`. With ReLU and a
    # deviation of 0.15 a run (seed 100) stood still at 1,005.
    "Hopper-v5": HOPPER,
    # 4,551 at the end of 3 runs, 3,663 the worst, 150 CPU seconds:
    # `python -m benchmarks.returns --only ppo --env Walker2d-v5 --backend envpool --seeds 3`.
    "Walker2d-v5": replace(HOPPER, env="Walker2d-v5", average=0.9),
}

DQN = {
    # 500.0 at the end of each of 12 runs: `python -m benchmarks.returns --only dqn --seeds 12`. A mean greedy
    # return of 475 in 1/82 of Stable-Baselines3's CPU seconds, 5 seeds: `python -m benchmarks.agents --algo
    # dqn`. Long windows and tanh did it: with 3 steps and ReLU most runs stayed between 150 and 350.
    "CartPole-v1": dqn.Config(
        env="CartPole-v1",
        collect=64,
        updates=16,
        batch=256,
        n_step=10,
        lr=3e-3,
        target_every=1,
        reward_scale=0.1,
        replay=20_000,
        epsilon_end=0.1,
        explore_steps=4_000,
        activation="tanh",
        run=RunConfig(steps=100_000),
    ),
    # -87.6 at the end of 3 runs, -88.4 the worst: `python -m benchmarks.returns --only dqn --seeds 3`.
    "Acrobot-v1": dqn.Config(
        env="Acrobot-v1",
        collect=16,
        updates=16,
        batch=256,
        n_step=5,
        lr=2e-3,
        reward_scale=0.05,
        replay=50_000,
        explore_steps=15_000,
        activation="tanh",
        run=RunConfig(steps=60_000),
    ),
    # 198.0 at the end of 3 runs, 188.0 the worst: `python -m benchmarks.returns --only dqn --seeds 3`.
    # Without normalisation, rewards a twentieth as large and γ = 0.995 three runs ended at 181.5.
    "LunarLander-v3": dqn.Config(env="LunarLander-v3", **general.NORMALISING, run=RunConfig(steps=100_000)),
    # -107.4 at the end of 3 runs on tensors, -109.3 the worst, 14.8 CPU seconds:
    # `python -m benchmarks.returns --only dqn --env MountainCar-v0 --backend tensor --seeds 3`.
    "MountainCar-v0": dqn.Config(
        env="MountainCar-v0",
        num_envs=8,
        collect=32,
        updates=16,
        batch=256,
        n_step=5,
        lr=2e-3,
        reward_scale=0.05,
        explore_steps=24_000,
        hidden=(128, 128),
        activation="tanh",
        run=RunConfig(steps=120_000),
    ),
}

A2C = {
    # 499.5 at the end of 5 runs: `python -m benchmarks.returns --only a2c`. A mean greedy return of 475 in
    # 1/8 of Stable-Baselines3's CPU seconds: `python -m benchmarks.agents --algo a2c --seeds 15`. Two layers
    # of 32 learn as well as those of 64, sooner; with 1e-2 the end is worse, with γ = 0.97 much worse.
    "CartPole-v1": a2c.Config(
        env="CartPole-v1",
        num_envs=64,
        rollout=8,
        optimizer="rmsprop",
        lr=7e-3,
        gamma=0.98,
        entropy_coef=0.01,
        reward_scale=0.1,
        hidden=(32, 32),
        activation="tanh",
        run=RunConfig(steps=200_000),
    ),
}

PQN = {
    # 500.0 at the end of each of 5 runs: `python -m benchmarks.returns --only pqn`. A mean greedy return of
    # 475 after a median of 0.21 CPU seconds over 5 seeds: `python -m benchmarks.agents --algo pqn --seeds 5`.
    "CartPole-v1": pqn.Config(
        env="CartPole-v1",
        lam=0.97,
        lr=2e-3,
        gamma=0.995,
        epsilon_end=0.1,
        reward_scale=0.1,
        activation="tanh",
        run=RunConfig(steps=100_000),
    ),
}

QR_DQN = {
    # 499.8 at the end of 5 runs, 498.9 the worst: `python -m benchmarks.returns --only qr_dqn`.
    "CartPole-v1": qr_dqn.Config(
        env="CartPole-v1",
        collect=64,
        updates=16,
        batch=256,
        n_step=10,
        quantiles=16,
        lr=3e-3,
        target_every=1,
        reward_scale=0.1,
        replay=20_000,
        epsilon_end=0.1,
        explore_steps=4_000,
        activation="tanh",
        run=RunConfig(steps=100_000),
    ),
    # 229.4 at the end of 3 runs, 217.0 the worst: `python -m benchmarks.returns --only qr_dqn --seeds 3`.
    # A run whose ε fell to 0.03, with a lower lr and more updates, hovered to its end.
    "LunarLander-v3": qr_dqn.Config(
        env="LunarLander-v3",
        num_envs=8,
        collect=32,
        batch=256,
        n_step=5,
        quantiles=16,
        lr=2e-3,
        gamma=0.995,
        reward_scale=0.05,
        epsilon_end=0.1,
        explore_steps=12_000,
        hidden=(128, 128),
        activation="tanh",
        run=RunConfig(steps=100_000),
    ),
}

RAINBOW = {
    # 499.5 at the end of 5 runs, 497.7 the worst: `python -m benchmarks.returns --only rainbow`. C51 wants
    # many updates: with a quarter of them runs ended between 100 and 240.
    "CartPole-v1": rainbow.Config(
        env="CartPole-v1",
        collect=32,
        n_step=10,
        batch=256,
        low=0.0,
        high=5.0,
        sigma=0.1,
        lr=3e-3,
        gamma=0.98,
        target_every=1,
        reward_scale=0.1,
        replay=20_000,
        activation="tanh",
        run=RunConfig(steps=60_000),
    ),
}

REINFORCE = {
    # 500.0 at the end of each of 5 runs: `python -m benchmarks.returns --only reinforce`.
    "CartPole-v1": reinforce.Config(env="CartPole-v1", entropy_coef=0.01, reward_scale=0.05),
}

SAC = {
    # -146.6 at the end of 3 runs, -151.5 the worst, 47.8 CPU seconds:
    # `python -m benchmarks.returns --only sac --seeds 3`. One update a step and rewards a tenth as large;
    # an update every second step and whole rewards left one of three at -411; which of both did is not known.
    "Pendulum-v1": sac.Config(
        env="Pendulum-v1", updates=16, batch=128, reward_scale=0.1, run=RunConfig(steps=20_000)
    ),
    # 9,293 at the end of 3 runs, 8,668 the worst, 1,166 CPU seconds on a busy machine:
    # `python -m benchmarks.returns --only sac --env HalfCheetah-v5 --backend envpool --seeds 3`.
    "HalfCheetah-v5": sac.Config(
        env="HalfCheetah-v5",
        num_envs=8,
        updates=24,
        batch=128,
        replay=300_000,
        warm_up=5_000,
        tau=0.007,
        temperature=0.1,
        reward_scale=0.1,
        hidden=(256, 256),
        run=RunConfig(steps=300_000, evaluate_every=50_000),
    ),
}

PPO_LSTM = {
    # 500.0 at the end of 3 runs, 500.0 the worst: `python -m benchmarks.returns --only ppo_lstm --seeds 3`.
    # PPO without a memory reached 43, 40 and 42 in three runs with its settings for CartPole-v1.
    "lab/CartPoleStill-v1": ppo_lstm.Config(env="lab/CartPoleStill-v1", reward_scale=0.05),
}
