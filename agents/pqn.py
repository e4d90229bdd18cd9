"""Parallelised Q-learning: Gallici et al., 2024 (arXiv:2407.04811): no replay and no slow network, but many
environments and layer normalisation, which keeps Q from running away.

    G_t = r_t + γ (1 − terminated_t) [(1 − λ) max_a Q(s'_t, a) + λ G_{t+1}]
    L = mean (Q(s, a) − G)²

with max_a Q in the place of G_{t+1} at the end of a rollout and of a truncated episode. This is the recursion
of `agents.parts.gae` with V = max_a Q: G = A + V.

Differs from the paper: Adam takes the place of RAdam; rewards may be scaled by a constant, or by the
deviation of their discounted sums, and observations normalised.

    lab train pqn --env CartPole-v1
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from agents.parts.explore import play, straight
from agents.parts.gae import gae
from agents.parts.reward_norm import RewardNorm
from agents.parts.values import ActionValues, td_loss
from envs import Spaces, VectorEnv
from training.config import check_not_negative, check_positive, check_share
from training.device import fast, pick
from training.metrics import Metrics
from training.networks import Activation
from training.optim import Adam
from training.run import RunConfig
from training.schedules import linear
from training.seeds import stream, torch_generator


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of PQN."""

    env: str = "CartPole-v1"  # a Gymnasium id with discrete actions
    num_envs: int = 32  # environments side by side
    rollout: int = 16  # steps each environment plays between bouts of learning
    epochs: int = 4  # passes over a rollout
    minibatch: int = 512  # transitions of an update
    lr: float = 2.5e-3  # Adam's learning rate, falling linearly to zero over the run
    gamma: float = 0.99  # discount per step
    lam: float = 0.9  # λ of the targets: 0 asks Q after one step, 1 at the end of the rollout
    epsilon: float = 1.0  # share of random actions at the start
    epsilon_end: float = 0.04  # and in the end
    explore_steps: int = 10_000  # environment steps on the way from one to the other
    max_norm: float = 10.0  # gradients are clipped to this norm
    reward_scale: float = 1.0  # rewards are multiplied by this before learning
    hidden: tuple[int, ...] = (64, 64)  # sizes of the hidden layers
    activation: Activation = "relu"  # of the hidden layers
    layer_norm: bool = True  # whether hidden layers are normalised
    normalise_obs: bool = False  # observations by their running mean and deviation
    normalise_reward: bool = False  # rewards by the deviation of their discounted sum
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_positive(self, "num_envs", "rollout", "epochs", "minibatch", "lr", "max_norm")
        check_positive(self, "reward_scale", "hidden")
        check_not_negative(self, "explore_steps")
        check_share(self, "gamma", "lam", "epsilon", "epsilon_end")


def q_lambda(
    reward: Float[Tensor, "T N"],
    best: Float[Tensor, "T N"],
    best_next: Float[Tensor, "T N"],
    terminated: Bool[Tensor, "T N"],
    truncated: Bool[Tensor, "T N"],
    *,
    gamma: float,
    lam: float,
) -> Float[Tensor, "T N"]:
    """G of the module docstring; `best` and `best_next` are max_a Q before and after each action."""
    return best + gae(reward, best, best_next, terminated, truncated, gamma=gamma, lam=lam)


class QNetwork(ActionValues):
    """Values of all actions: (B, O) -> (B, A, 1)."""

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        more = {"layer_norm": cfg.layer_norm, "normalise": cfg.normalise_obs}
        super().__init__(spaces, cfg.hidden, cfg.activation, **more)


class Learner:
    """Everything that learning changes: Q, optimizer, scale of rewards, step counter, random generator."""

    STATE = ("model", "optimizer", "rewards", "generator", "step")

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        self.cfg, self.spaces = cfg, spaces
        self.device = pick(cfg.run.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(cfg.run.seed, "weights"))
            self.model = QNetwork(cfg, spaces).to(self.device)
        self.optimizer = Adam(self.model.parameters(), lr=cfg.lr)
        self.rewards = RewardNorm(cfg.gamma, self.device)
        self.generator = torch_generator(cfg.run.seed, "pqn", self.device)
        self.step = 0
        self.update = fast(self._update, cfg.run.mode, cfg.run.precision)

    @property
    def epsilon(self) -> float:
        """The share of random actions now."""
        cfg = self.cfg
        return straight(cfg.epsilon, cfg.epsilon_end, self.step / max(1, cfg.explore_steps))

    @torch.no_grad()
    def collect(self, envs: VectorEnv) -> tuple[Tensor, ...]:
        """Rows to learn from: obs, action and target, each (B, ...)."""
        cfg, begins = self.cfg, envs.begins
        rollout = play(envs, self.model.act, cfg.rollout, self.epsilon, self.generator)
        self.step += envs.num_envs * cfg.rollout
        best, best_next = map(self.best, (rollout.obs, rollout.next_obs))
        reward = self.rewards.scaled(rollout, begins) if cfg.normalise_reward else rollout.reward
        reward = reward * cfg.reward_scale
        ends = rollout.terminated, rollout.truncated
        target = q_lambda(reward, best, best_next, *ends, gamma=cfg.gamma, lam=cfg.lam)
        obs, action, target = (row[rollout.valid] for row in (rollout.obs, rollout.action, target))
        return obs, action, target

    def best(self, obs: Float[Tensor, "T N O"]) -> Float[Tensor, "T N"]:
        """max_a Q."""
        rows = obs.flatten(0, 1)
        return self.model.values(rows, self.model(rows)).amax(-1).unflatten(0, obs.shape[:2])

    def learn(self, rows: tuple[Tensor, ...]) -> Metrics:
        """`cfg.epochs` passes over the rows; returns the metrics of the last minibatch."""
        count = len(rows[0])
        if not count:
            return {}
        minibatches = max(1, round(count / self.cfg.minibatch))
        metrics: Metrics = {}
        for _ in range(self.cfg.epochs):
            if minibatches > 1:
                order = torch.randperm(count, generator=self.generator, device=self.device)
                rows = tuple(row[order] for row in rows)
            for minibatch in zip(*(row.tensor_split(minibatches) for row in rows), strict=True):
                metrics = self.update(*minibatch)
        return metrics

    def _update(self, obs: Tensor, action: Tensor, target: Tensor) -> Metrics:
        """One step of Adam on one minibatch."""
        loss, metrics = td_loss(self.model(obs), action, target)
        metrics["grad/norm"] = self.optimizer.descend(loss, self.cfg.max_norm)
        return metrics


def train(cfg: Config, learner: Learner, envs: VectorEnv) -> Iterator[tuple[int, Metrics]]:
    """Play a rollout, judge it, learn from it; yields after every iteration."""
    while learner.step < cfg.run.steps:
        learner.optimizer.lr = cfg.lr * linear(learner.step / cfg.run.steps)
        rows = learner.collect(envs)
        metrics = learner.learn(rows)
        learner.model.notice(rows[0])
        yield learner.step, metrics | envs.episodes() | {"explore/epsilon": learner.epsilon}
