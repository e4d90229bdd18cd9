"""What an algorithm starts from on an environment that shows rows of numbers and has no preset.

Figures are in docs/agents.md, by `python -m benchmarks.returns --general ENV...`. With the defaults of the
algorithms, which normalise nothing, PPO ends at 150 of 1,000 on InvertedPendulum-v5 and at -650 on
LunarLander-v3, DQN at -30 there and at -200 on MountainCar-v0 (two seeds). SAC with rewards normalised too
was at -221 on LunarLanderContinuous-v3 after 30,000 steps, where it was at -24 without (one seed).
Rainbow's noise found no way out of MountainCar-v0 in 100,000 steps with a sigma of 0.3 or more, ε-greedy
play did; with 0.1 it was at -15 on LunarLander-v3. PPO with ReLU ended at 257 there (two seeds), and one of
two at -500 on Acrobot-v1.
"""

from typing import Any

from agents import a2c, dqn, ppo, ppo_lstm, pqn, qr_dqn, rainbow, sac

NORMALISING: dict[str, Any] = {  # a value method for any environment
    "num_envs": 8,
    "collect": 32,
    "batch": 256,
    "n_step": 5,
    "lr": 2e-3,
    "explore_steps": 12_000,
    "hidden": (128, 128),
    "activation": "tanh",
    "normalise_obs": True,
    "normalise_reward": True,
}

GENERAL: dict[str, Any] = {
    "ppo": ppo.Config(
        rollout=128,
        epochs=10,
        activation="tanh",
        shared=False,
        normalise_obs=True,
        normalise_reward=True,
    ),
    "dqn": dqn.Config(**NORMALISING),
    "qr_dqn": qr_dqn.Config(**NORMALISING, quantiles=16),
    "rainbow": rainbow.Config(**NORMALISING, noisy=False),
    "pqn": pqn.Config(
        rollout=32,
        minibatch=256,
        lr=1e-3,
        explore_steps=50_000,
        hidden=(128, 128),
        normalise_obs=True,
        normalise_reward=True,
    ),
    "a2c": a2c.Config(
        num_envs=8,
        optimizer="rmsprop",
        lam=0.9,
        entropy_coef=0.003,
        shared=False,
        normalise_obs=True,
        normalise_reward=True,
    ),
    "ppo_lstm": ppo_lstm.Config(
        num_envs=8,
        rollout=128,
        epochs=8,
        lr=1e-3,
        normalise_obs=True,
        normalise_reward=True,
    ),
    "sac": sac.Config(updates=16, batch=128, temperature=0.2, hidden=(128, 128), normalise_obs=True),
}
