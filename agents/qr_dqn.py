"""Quantile regression DQN: Dabney et al., 2018 (arXiv:1710.10044). The network gives K numbers θ_i(s, a), the
quantiles of the return at τ_i = (2i − 1) / 2K; their mean is Q(s, a).

    y_j = R + d θ̄_j(s', argmax_a Q(s', a)),   u_ij = y_j − θ_i(s, a)
    L = mean_B Σ_i mean_j |τ_i − 1{u_ij < 0}| h(u_ij),   h(u) = u² / 2, or |u| − 1/2 where |u| > 1

(equations 9 and 10 with κ = 1), R and d being those of `agents.parts.replay`.

Differs from the paper: Q chooses and the slow θ̄ judges, as in double Q-learning; several environments play
`collect` steps, then `updates` minibatches follow at once, whose targets come from one pass before the first.
The learning rate falls linearly to zero over the run; gradients are clipped by norm. Rewards may be scaled by
a constant or by the deviation of their discounted sums, and observations normalised.

    lab train qr_dqn --env CartPole-v1
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from agents.parts.explore import play, straight
from agents.parts.replay import Replay, Windows, check_replay
from agents.parts.values import ActionValues, of_action
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
    """Settings of QR-DQN."""

    env: str = "CartPole-v1"  # a Gymnasium id with discrete actions
    num_envs: int = 16  # environments side by side
    collect: int = 8  # steps each environment plays between bouts of learning
    updates: int = 32  # minibatches of a bout
    batch: int = 128  # transitions of a minibatch
    replay: int = 100_000  # transitions that are remembered
    n_step: int = 1  # rewards that a target sums before it asks θ̄
    quantiles: int = 32  # K; time and memory of an update grow with its square
    dueling: bool = False  # whether θ is made of the state's value and the actions' advantages
    warm_up: int = 1_000  # environment steps before the first update
    lr: float = 1e-3  # Adam's learning rate, falling linearly to zero over the run
    gamma: float = 0.99  # discount per step
    target_every: int = 2  # rollouts between copies of θ into the slow θ̄
    epsilon: float = 1.0  # share of random actions at the start
    epsilon_end: float = 0.05  # and in the end
    explore_steps: int = 10_000  # environment steps on the way from one to the other
    max_norm: float = 10.0  # gradients are clipped to this norm
    reward_scale: float = 1.0  # rewards are multiplied by this before learning
    hidden: tuple[int, ...] = (64, 64)  # sizes of the hidden layers
    activation: Activation = "relu"  # of the hidden layers
    normalise_obs: bool = False  # observations by their running mean and deviation
    normalise_reward: bool = False  # rewards by the deviation of their discounted sum
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_positive(self, "num_envs", "collect", "updates", "batch", "replay", "n_step", "quantiles")
        check_positive(self, "lr", "target_every", "max_norm", "reward_scale", "hidden")
        check_not_negative(self, "warm_up", "explore_steps")
        check_share(self, "gamma", "epsilon", "epsilon_end")
        check_replay(self.replay, self.num_envs, self.collect)


def quantile_target(
    q_next: Float[Tensor, "B A"],
    theta_next_slow: Float[Tensor, "B A K"],
    reward: Float[Tensor, " B"],
    discount: Float[Tensor, " B"],
) -> Float[Tensor, "B K"]:
    """y of the module docstring."""
    return reward[:, None] + discount[:, None] * of_action(theta_next_slow, q_next.argmax(-1))


def quantile_loss(
    theta: Float[Tensor, "B A K"], action: Int[Tensor, " B"], target: Float[Tensor, "B J"]
) -> tuple[Float[Tensor, ""], Metrics]:
    """L of the module docstring; every target counts for every quantile."""
    chosen = of_action(theta, action)
    count = chosen.shape[1]
    tau = (torch.arange(count, device=theta.device) + 0.5) / count
    mine, other = torch.broadcast_tensors(chosen[:, :, None], target[:, None, :])
    weight = torch.where(other < mine, 1 - tau[:, None], tau[:, None])
    loss = (weight * F.huber_loss(mine, other, reduction="none")).mean((0, 2)).sum()
    return loss, {"loss/quantile": loss.detach(), "q/chosen": chosen.detach().mean()}


class QuantileNetwork(ActionValues):
    """Quantiles of all actions' returns: (B, O) -> (B, A, K)."""

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        more = {"dueling": cfg.dueling, "normalise": cfg.normalise_obs}
        super().__init__(spaces, cfg.hidden, cfg.activation, numbers=cfg.quantiles, **more)


class Learner:
    """Everything that learning changes: θ, its slow copy, optimizer, replay, counters, random generator."""

    STATE = ("model", "slow", "optimizer", "replay", "generator", "step", "bouts")

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        self.cfg, self.spaces = cfg, spaces
        self.device = pick(cfg.run.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(cfg.run.seed, "weights"))
            self.model = QuantileNetwork(cfg, spaces).to(self.device)
            self.slow = QuantileNetwork(cfg, spaces).to(self.device)
        self.slow.load_state_dict(self.model.state_dict())
        self.slow.norm = self.model.norm  # both see the same
        self.optimizer = Adam(self.model.parameters(), lr=cfg.lr)
        windows = Windows(cfg.n_step, cfg.gamma, cfg.reward_scale)
        self.replay = Replay(cfg.replay, windows, self.device, spaces.picture, normalise=cfg.normalise_reward)
        self.generator = torch_generator(cfg.run.seed, "qr_dqn", self.device)
        self.step = 0
        self.bouts = 0
        self.update = fast(self._update, cfg.run.mode, cfg.run.precision)

    @property
    def epsilon(self) -> float:
        """The share of random actions now."""
        cfg = self.cfg
        return straight(cfg.epsilon, cfg.epsilon_end, self.step / max(1, cfg.explore_steps))

    def collect(self, envs: VectorEnv) -> None:
        """Plays `cfg.collect` steps in every environment and remembers them."""
        begins = envs.begins
        rollout = play(envs, self.model.act, self.cfg.collect, self.epsilon, self.generator)
        self.replay.add(rollout, begins)
        self.model.notice(rollout.obs)
        self.step += envs.num_envs * self.cfg.collect

    def learn(self) -> Metrics:
        """A bout of updates on fresh samples; the metrics are those of the last."""
        cfg = self.cfg
        rows = self.replay.sample(cfg.updates * cfg.batch, self.generator)
        with torch.no_grad():
            q_next = self.model.values(rows.next_obs, self.model(rows.next_obs))
            target = quantile_target(q_next, self.slow(rows.next_obs), rows.reward, rows.discount)
        metrics: Metrics = {}
        for batch in zip(*(row.split(cfg.batch) for row in (rows.obs, rows.action, target)), strict=True):
            metrics = self.update(*batch)
        self.bouts += 1
        if self.bouts % cfg.target_every == 0:
            self.slow.load_state_dict(self.model.state_dict())
        return metrics

    def _update(self, obs: Tensor, action: Tensor, target: Tensor) -> Metrics:
        """One step of Adam on one minibatch."""
        loss, metrics = quantile_loss(self.model(obs), action, target)
        metrics["grad/norm"] = self.optimizer.descend(loss, self.cfg.max_norm)
        return metrics


def train(cfg: Config, learner: Learner, envs: VectorEnv) -> Iterator[tuple[int, Metrics]]:
    """Play, remember, learn; yields after every bout."""
    while learner.step < cfg.run.steps:
        learner.optimizer.lr = cfg.lr * linear(learner.step / cfg.run.steps)
        learner.collect(envs)
        ready = learner.step >= cfg.warm_up and len(learner.replay)
        metrics = learner.learn() if ready else {}
        yield learner.step, metrics | envs.episodes() | {"explore/epsilon": learner.epsilon}
