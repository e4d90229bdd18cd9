"""Advantage actor-critic: Mnih et al., 2016 (arXiv:1602.01783), in its synchronous form.

    L = −mean log π(a|s) A + c_V mean (V(s) − R)² − c_H H(π),   R = A + V_old(s)

with advantages by `agents.parts.gae`: one step on each rollout, all of its rows at once.

Differs from the paper: environments step side by side instead of in threads; advantages are those of λ
instead of n steps; Adam may take the place of RMSprop; rewards may be scaled by a constant, or by the
deviation of their discounted sums, and observations normalised.

    lab train a2c --env CartPole-v1
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from agents.parts.actor_critic import ActorCritic
from agents.parts.reward_norm import RewardNorm
from envs import Spaces, VectorEnv
from training.config import check_not_negative, check_positive, check_share
from training.device import fast, pick
from training.metrics import Metrics
from training.networks import Activation
from training.optim import Adam, RMSprop
from training.run import RunConfig
from training.schedules import linear
from training.seeds import stream, torch_generator


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of A2C."""

    env: str = "CartPole-v1"  # a Gymnasium id
    num_envs: int = 64  # environments side by side
    rollout: int = 8  # steps each environment plays between updates
    optimizer: Literal["adam", "rmsprop"] = "adam"  # the paper has rmsprop
    lr: float = 2e-3  # learning rate, falling linearly to zero over the run
    gamma: float = 0.99  # discount per step
    lam: float = 0.95  # λ of the advantage estimate
    value_coef: float = 0.5  # c_V, weight of the value loss
    entropy_coef: float = 0.01  # c_H, weight of the entropy bonus
    max_norm: float = 0.5  # gradients are clipped to this norm
    reward_scale: float = 1.0  # rewards are multiplied by this before learning
    hidden: tuple[int, ...] = (64, 64)  # sizes of the hidden layers
    activation: Activation = "tanh"  # of the hidden layers
    shared: bool = True  # one network for policy and value, or one for each
    normalise_obs: bool = False  # observations by their running mean and deviation
    normalise_reward: bool = False  # rewards by the deviation of their discounted sum
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_positive(self, "num_envs", "rollout", "lr", "max_norm", "reward_scale", "hidden")
        check_not_negative(self, "value_coef", "entropy_coef")
        check_share(self, "gamma", "lam")


def a2c_loss(
    log_prob: Float[Tensor, " B"],
    advantage: Float[Tensor, " B"],
    value: Float[Tensor, " B"],
    value_target: Float[Tensor, " B"],
    entropy: Float[Tensor, " B"],
    *,
    value_coef: float,
    entropy_coef: float,
) -> tuple[Float[Tensor, ""], Metrics]:
    """L of the module docstring."""
    policy_loss = -(log_prob * advantage).mean()
    value_loss = F.mse_loss(value, value_target)
    entropy_mean = entropy.mean()
    loss = policy_loss + value_coef * value_loss - entropy_coef * entropy_mean
    return loss, {
        "loss/policy": policy_loss.detach(),
        "loss/value": value_loss.detach(),
        "policy/entropy": entropy_mean.detach(),
    }


class Learner:
    """Everything that learning changes: policy, optimizer, scale of rewards, counter, random generator."""

    STATE = ("model", "optimizer", "rewards", "generator", "step")

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        self.cfg, self.spaces = cfg, spaces
        self.device = pick(cfg.run.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(cfg.run.seed, "weights"))
            self.model = ActorCritic(cfg, spaces).to(self.device)
        rule = RMSprop if cfg.optimizer == "rmsprop" else Adam
        self.optimizer = rule(self.model.parameters(), lr=cfg.lr, eps=1e-5)
        self.rewards = RewardNorm(cfg.gamma, self.device)
        self.generator = torch_generator(cfg.run.seed, "a2c", self.device)
        self.step = 0
        self.update = fast(self._update, cfg.run.mode, cfg.run.precision)

    def collect(self, envs: VectorEnv) -> tuple[Tensor, ...]:
        """Rows to learn from: obs, action, advantage and value target, each (B, ...)."""
        cfg, begins = self.cfg, envs.begins
        rollout = self.model.play(envs, cfg.rollout, self.generator)
        self.step += envs.num_envs * cfg.rollout
        reward = self.rewards.scaled(rollout, begins) if cfg.normalise_reward else rollout.reward
        obs, action, _, advantage, target = self.model.judge(
            rollout, reward * cfg.reward_scale, gamma=cfg.gamma, lam=cfg.lam
        )
        return obs, action, advantage, target

    def _update(self, obs: Tensor, action: Tensor, advantage: Tensor, value_target: Tensor) -> Metrics:
        """One step on all rows of a rollout."""
        cfg, head = self.cfg, self.model.head
        outputs, value = self.model(obs)
        loss, metrics = a2c_loss(
            head.log_prob(outputs, action),
            advantage,
            value,
            value_target,
            head.entropy(outputs),
            value_coef=cfg.value_coef,
            entropy_coef=cfg.entropy_coef,
        )
        metrics["grad/norm"] = self.optimizer.descend(loss, cfg.max_norm)
        return metrics


def train(cfg: Config, learner: Learner, envs: VectorEnv) -> Iterator[tuple[int, Metrics]]:
    """Play a rollout, judge it, learn from it; yields after every update."""
    while learner.step < cfg.run.steps:
        learner.optimizer.lr = cfg.lr * linear(learner.step / cfg.run.steps)
        rows = learner.collect(envs)
        metrics = learner.update(*rows) if len(rows[0]) else {}  # else a rollout of resets only
        learner.model.notice(rows[0])
        yield learner.step, metrics | envs.episodes()
