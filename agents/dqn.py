"""Deep Q-learning: Mnih et al., 2015 (doi:10.1038/nature14236); double Q: van Hasselt et al., 2016
(arXiv:1509.06461); n-step returns R with their discount d as in `agents.parts.replay`; dueling as in
`agents.parts.dueling`.

    y = R + d Q̄(s', argmax_a Q(s', a))
    L = mean (Q(s, a) − y)²

Differs from the papers: several environments play `collect` steps, then `updates` minibatches follow at
once. All their targets y come from one pass before the first, so that the choosing Q is as old as the
rollout; the slow Q̄ is a copy made every `target_every` rollouts. The learning rate falls linearly to zero
over the run. Adam takes the place of RMSProp; errors are not clipped, gradients are, by norm. Rewards may be
scaled by a constant or by the deviation of their discounted sums, and observations normalised. Rewards of n
steps are those of the actions that were taken, explored ones too, and are not corrected for it.

    lab train dqn --env CartPole-v1
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from agents.parts.explore import play, straight
from agents.parts.replay import Replay, Windows, check_replay
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
    """Settings of DQN."""

    env: str = "CartPole-v1"  # a Gymnasium id with discrete actions
    num_envs: int = 16  # environments side by side
    collect: int = 8  # steps each environment plays between bouts of learning
    updates: int = 32  # minibatches of a bout
    batch: int = 128  # transitions of a minibatch
    replay: int = 100_000  # transitions that are remembered
    n_step: int = 1  # rewards that a target sums before it asks Q
    dueling: bool = False  # whether Q is made of the state's value and the actions' advantages
    warm_up: int = 1_000  # environment steps before the first update
    lr: float = 1e-3  # Adam's learning rate, falling linearly to zero over the run
    gamma: float = 0.99  # discount per step
    target_every: int = 2  # rollouts between copies of Q into the slow Q
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
        check_positive(
            self, "num_envs", "collect", "updates", "batch", "replay", "lr", "target_every", "n_step"
        )
        check_positive(self, "max_norm", "reward_scale", "hidden")
        check_not_negative(self, "warm_up", "explore_steps")
        check_share(self, "gamma", "epsilon", "epsilon_end")
        check_replay(self.replay, self.num_envs, self.collect)


def td_target(
    q_next: Float[Tensor, "B A"],
    q_next_slow: Float[Tensor, "B A"],
    reward: Float[Tensor, " B"],
    discount: Float[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """y of the module docstring: Q chooses, the slow Q judges."""
    best = q_next.argmax(-1, keepdim=True)
    return reward + discount * q_next_slow.gather(-1, best)[:, 0]


class QNetwork(ActionValues):
    """Values of all actions: (B, O) -> (B, A, 1)."""

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        more = {"dueling": cfg.dueling, "normalise": cfg.normalise_obs}
        super().__init__(spaces, cfg.hidden, cfg.activation, **more)


class Learner:
    """Everything that learning changes: Q, its slow copy, optimizer, replay, counters, random generator."""

    STATE = ("model", "slow", "optimizer", "replay", "generator", "step", "bouts")

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        self.cfg, self.spaces = cfg, spaces
        self.device = pick(cfg.run.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(cfg.run.seed, "weights"))
            self.model = QNetwork(cfg, spaces).to(self.device)
            self.slow = QNetwork(cfg, spaces).to(self.device)
        self.slow.load_state_dict(self.model.state_dict())
        self.slow.norm = self.model.norm  # both see the same
        self.optimizer = Adam(self.model.parameters(), lr=cfg.lr)
        windows = Windows(cfg.n_step, cfg.gamma, cfg.reward_scale)
        self.replay = Replay(cfg.replay, windows, self.device, spaces.picture, normalise=cfg.normalise_reward)
        self.generator = torch_generator(cfg.run.seed, "dqn", self.device)
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
            q_next_slow = self.slow(rows.next_obs)[..., 0]
            target = td_target(q_next, q_next_slow, rows.reward, rows.discount)
        metrics: Metrics = {}
        for batch in zip(*(row.split(cfg.batch) for row in (rows.obs, rows.action, target)), strict=True):
            metrics = self.update(*batch)
        self.bouts += 1
        if self.bouts % cfg.target_every == 0:
            self.slow.load_state_dict(self.model.state_dict())
        return metrics

    def _update(self, obs: Tensor, action: Tensor, target: Tensor) -> Metrics:
        """One step of Adam on one minibatch."""
        loss, metrics = td_loss(self.model(obs), action, target)
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
