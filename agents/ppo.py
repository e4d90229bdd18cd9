"""Proximal policy optimisation: Schulman et al., 2017 (arXiv:1707.06347).

    ρ      = π(a|s) / π_old(a|s)
    L_π    = −mean min(ρ Â, clip(ρ, 1 − ε, 1 + ε) Â)                  (equation 7)
           = −mean min(ρ Â, (1 + ε sign Â) Â)
    L_V    = mean (V(s) − R)²,   R = A + V_old(s)
    L      = L_π + c_V L_V − c_H H(π)                                  (equation 9)

with advantages by `agents.parts.gae`, normalised to Â within a rollout.

Differs from the paper: learning rate and nothing else falls linearly to zero over the run; gradients are
clipped by norm; rewards may be scaled by a constant, or by the deviation of their discounted sums, and
observations normalised; epochs may end early when the policy has moved far; values and old
log-probabilities of a rollout are computed in one batched pass after it, not step by step. Statistics of
observations change between iterations only, so that every ratio starts at 1, but for the rounding of
updates in bf16 or fp16.

    lab train ppo --env CartPole-v1
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from agents.parts.actor_critic import ActorCritic
from agents.parts.clipped import clipped
from agents.parts.reward_norm import RewardNorm
from envs import Spaces, VectorEnv
from training import distributed
from training.average import Average
from training.config import check_not_negative, check_positive, check_share
from training.device import fast, pick
from training.metrics import Metrics
from training.networks import Activation
from training.normalise import normalised
from training.optim import Adam
from training.run import RunConfig
from training.schedules import linear
from training.seeds import stream, torch_generator


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of PPO."""

    env: str = "CartPole-v1"  # a Gymnasium id
    num_envs: int = 16  # environments side by side
    rollout: int = 64  # steps each environment plays between updates
    epochs: int = 4  # passes over a rollout
    minibatch: int = 256  # rows of an update, about: a rollout is cut evenly
    lr: float = 1e-3  # Adam's learning rate, falling linearly to zero over the run
    gamma: float = 0.99  # discount per step
    lam: float = 0.95  # λ of the advantage estimate
    clip: float = 0.2  # ε, how far the policy's ratio may move
    value_coef: float = 0.5  # c_V, weight of the value loss
    entropy_coef: float = 0.0  # c_H, weight of the entropy bonus
    deviation: float = 1.0  # of continuous actions at the start, whose range is ±1
    max_norm: float = 0.5  # gradients are clipped to this norm
    reward_scale: float = 1.0  # rewards are multiplied by this before learning
    hidden: tuple[int, ...] = (64, 64)  # sizes of the hidden layers
    activation: Activation = "relu"  # of the hidden layers
    shared: bool = True  # one network for policy and value, or one for each
    normalise_obs: bool = False  # observations by their running mean and deviation
    normalise_reward: bool = False  # rewards by the deviation of their discounted sum
    kl_stop: float = 0.0  # no more epochs on a rollout when KL(π_old | π) is past this; 0: always all
    average: float = 0.0  # decay per iteration of averaged weights, for evaluations; 0: the last weights
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_positive(self, "num_envs", "rollout", "epochs", "minibatch", "lr", "clip", "max_norm")
        check_positive(self, "deviation", "reward_scale", "hidden")
        check_not_negative(self, "value_coef", "entropy_coef", "kl_stop")
        check_share(self, "gamma", "lam", "average")


def ppo_loss(
    log_prob: Float[Tensor, " B"],
    old_log_prob: Float[Tensor, " B"],
    advantage: Float[Tensor, " B"],
    value: Float[Tensor, " B"],
    value_target: Float[Tensor, " B"],
    entropy: Float[Tensor, " B"] | None = None,
    *,
    clip: float,
    value_coef: float,
    entropy_coef: float = 0.0,
) -> tuple[Float[Tensor, ""], Metrics]:
    """L of the module docstring; advantages come normalised, entropy where it has a weight."""
    policy_loss = clipped(log_prob, old_log_prob, advantage, clip)
    value_loss = F.mse_loss(value, value_target)
    loss = policy_loss + value_coef * value_loss
    if entropy is not None:
        loss = loss - entropy_coef * entropy.mean()
    return loss, {"loss/policy": policy_loss.detach(), "loss/value": value_loss.detach()}


def policy(cfg: Config, spaces: Spaces) -> ActorCritic:
    """The network that `cfg` describes."""
    return ActorCritic(cfg, spaces, cfg.deviation, averaged=cfg.average > 0)


class Learner:
    """Everything that learning changes: policy, optimizer, scale of rewards, counter, random generator."""

    STATE = ("model", "average", "optimizer", "rewards", "generator", "step")

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        self.cfg, self.spaces = cfg, spaces
        self.device = pick(cfg.run.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(cfg.run.seed, "weights"))
            self.model = policy(cfg, spaces).to(self.device)
        learned = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = Adam(learned, lr=cfg.lr, eps=1e-5)
        self.average = Average(self.model.net, cfg.average) if cfg.average else None
        if self.average is not None:
            self.model.smooth = self.average.model
        self.rewards = RewardNorm(cfg.gamma, self.device)
        self.generator = torch_generator(cfg.run.seed, distributed.own("ppo"), self.device)
        self.step = 0
        self.update = fast(self._update, cfg.run.mode, cfg.run.precision)

    def collect(self, envs: VectorEnv) -> tuple[Tensor, ...]:
        """Rows to learn from: obs, action, old log-probability, advantage and value target, each (B, ...)."""
        cfg = self.cfg
        begins = envs.begins
        rollout = self.model.play(envs, cfg.rollout, self.generator)
        self.step += envs.num_envs * cfg.rollout * distributed.world()
        reward = self.rewards.scaled(rollout, begins) if cfg.normalise_reward else rollout.reward
        obs, action, outputs, advantage, target = self.model.judge(
            rollout, reward * cfg.reward_scale, gamma=cfg.gamma, lam=cfg.lam
        )
        advantage = normalised(advantage)
        with torch.no_grad():
            old_log_prob = self.model.head.log_prob(outputs, action)
        return obs, action, old_log_prob, advantage, target

    def learn(self, rows: tuple[Tensor, ...]) -> Metrics:
        """`cfg.epochs` passes over the rows; returns the metrics of the last minibatch and of the policy."""
        count = int(distributed.least(len(rows[0])))
        if not count:  # a rollout of resets only
            return {}
        minibatches = max(1, round(count / self.cfg.minibatch))
        metrics: Metrics = {}
        for _ in range(self.cfg.epochs):
            if minibatches > 1:
                order = torch.randperm(len(rows[0]), generator=self.generator, device=self.device)
                rows = tuple(row[order] for row in rows)
            for minibatch in zip(*(row.tensor_split(minibatches) for row in rows), strict=True):
                metrics = self.update(*minibatch)
            if self.cfg.kl_stop and distributed.mean(self.compare(*rows[:3])["policy/kl"]) > self.cfg.kl_stop:
                break
        metrics |= self.compare(*rows[:3])
        self.model.notice(rows[0])
        if self.average is not None:
            self.average.update(self.model.net)
        return metrics

    @torch.no_grad()
    def compare(self, obs: Tensor, action: Tensor, old_log_prob: Tensor) -> dict[str, Tensor]:
        """The policy's entropy, and its divergence KL(π_old | π) estimated by mean(ρ − 1 − log ρ)."""
        outputs, _ = self.model.learned(obs)
        log_ratio = self.model.head.log_prob(outputs, action) - old_log_prob
        return {
            "policy/entropy": self.model.head.entropy(outputs).mean(),
            "policy/kl": (log_ratio.expm1() - log_ratio).mean(),
        }

    def _update(
        self,
        obs: Tensor,
        action: Tensor,
        old_log_prob: Tensor,
        advantage: Tensor,
        value_target: Tensor,
    ) -> Metrics:
        """One step of Adam on one minibatch."""
        cfg, head = self.cfg, self.model.head
        outputs, value = self.model.learned(obs)
        loss, metrics = ppo_loss(
            head.log_prob(outputs, action),
            old_log_prob,
            advantage,
            value,
            value_target,
            head.entropy(outputs) if cfg.entropy_coef else None,  # which costs time
            clip=cfg.clip,
            value_coef=cfg.value_coef,
            entropy_coef=cfg.entropy_coef,
        )
        metrics["grad/norm"] = self.optimizer.descend(loss, cfg.max_norm)
        return metrics


def train(cfg: Config, learner: Learner, envs: VectorEnv) -> Iterator[tuple[int, Metrics]]:
    """Play a rollout, judge it, learn from it; yields after every iteration."""
    while learner.step < cfg.run.steps:
        learner.optimizer.lr = cfg.lr * linear(learner.step / cfg.run.steps)
        metrics = learner.learn(learner.collect(envs))
        yield learner.step, metrics | envs.episodes()
