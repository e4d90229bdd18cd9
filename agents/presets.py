"""Tuned recipes by environment: what `lab train ALGORITHM --env ID` starts from.

Each says what it reached and the command that shows it.
"""

from agents import ppo

PPO = {
    # A mean greedy return of 475 within 0.3 s: `python -m benchmarks.agents --algo ppo`.
    "CartPole-v1": ppo.Config(env="CartPole-v1", lr=5e-3, reward_scale=0.05),
}
