"""Deep Q-learning: Mnih et al., 2015 (doi:10.1038/nature14236); double Q: van Hasselt et al., 2016
(arXiv:1509.06461).

    y = r + γ (1 − terminated) Q̄(s', argmax_a Q(s', a))
    L = mean (Q(s, a) − y)²

Differs from the papers: several environments play `collect` steps, then `updates` minibatches follow at
once. All their targets y come from one pass before the first, so that the choosing Q is as old as the
rollout; the slow Q̄ is a copy made every `target_every` rollouts. The learning rate falls linearly to zero
over the run. Rewards may be scaled by a constant.

    lab train dqn --env CartPole-v1
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from envs import Spaces, Transition, VectorEnv
from training.config import check_not_negative, check_positive, check_share
from training.device import fast, pick
from training.errors import InputError
from training.metrics import Metrics
from training.networks import Activation, mlp
from training.optim import Adam, linear
from training.run import RunConfig
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
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_positive(self, "num_envs", "collect", "updates", "batch", "replay", "lr", "target_every")
        check_positive(self, "max_norm", "reward_scale", "hidden")
        check_not_negative(self, "warm_up", "explore_steps")
        check_share(self, "gamma", "epsilon", "epsilon_end")
        if self.replay < self.num_envs * self.collect:
            raise InputError(f"replay is {self.replay}, expected num_envs · collect or more")


def td_target(
    q_next: Float[Tensor, "B A"],
    q_next_slow: Float[Tensor, "B A"],
    reward: Float[Tensor, " B"],
    terminated: Bool[Tensor, " B"],
    *,
    gamma: float,
) -> Float[Tensor, " B"]:
    """y of the module docstring: Q chooses, the slow Q judges; nothing follows a termination."""
    best = q_next.argmax(-1, keepdim=True)
    later = q_next_slow.gather(-1, best)[:, 0]
    return torch.where(terminated, reward, reward + gamma * later)


def td_loss(
    q: Float[Tensor, "B A"], action: Int[Tensor, " B"], target: Float[Tensor, " B"]
) -> tuple[Float[Tensor, ""], Metrics]:
    """L of the module docstring."""
    chosen = q.gather(-1, action[:, None])[:, 0]
    loss = F.mse_loss(chosen, target)
    return loss, {"loss/td": loss.detach(), "q/chosen": chosen.detach().mean()}


class Replay:
    """The last `capacity` transitions, each field one tensor; rows without an action are left out."""

    def __init__(self, capacity: int, device: torch.device | str = "cpu") -> None:
        self.capacity, self.device = capacity, device
        self.added = 0  # transitions ever added
        self.rows: Transition | None = None

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, rows: Transition) -> None:
        """Remembers (B, ...) rows over the oldest ones; B is at most the capacity."""
        rows = rows.map(lambda field: field[rows.valid])
        if self.rows is None:
            self._make(rows)
        assert self.rows is not None
        count = len(rows.obs)
        index = (torch.arange(count, device=rows.obs.device) + self.added) % self.capacity
        for store, new in zip(self.rows, rows, strict=True):
            store[index] = new
        self.added += count

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs: the rows so far, not copied."""
        filled = None if self.rows is None else [field[: len(self)] for field in self.rows]
        return {"added": self.added, "rows": filled}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave."""
        self.added, self.rows = 0, None
        if state["rows"] is not None:
            self._make(Transition(*state["rows"]))
            assert self.rows is not None
            self.added = state["added"]
            for store, filled in zip(self.rows, state["rows"], strict=True):
                store[: len(filled)] = filled.to(store.device)

    def _make(self, like: Transition) -> None:
        def room(field: Tensor) -> Tensor:
            return torch.zeros(self.capacity, *field.shape[1:], dtype=field.dtype, device=self.device)

        try:
            self.rows = like.map(room)
        except RuntimeError as error:  # what torch raises when memory does not suffice
            raise InputError(f"replay is {self.capacity}, expected what memory holds: {error}") from None

    def sample(self, count: int, generator: torch.Generator) -> Transition:
        """`count` rows drawn evenly, with replacement."""
        assert self.rows is not None
        index = torch.randint(len(self), (count,), generator=generator, device=generator.device)
        return self.rows.map(lambda field: field[index])


class QNetwork(nn.Module):
    """Values of all actions: (B, O) -> (B, A)."""

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        super().__init__()
        if not spaces.discrete:
            raise InputError(f"{cfg.env} has continuous actions, dqn expects discrete ones: try ppo")
        self.net = mlp(spaces.obs, cfg.hidden, spaces.actions, cfg.activation)

    def forward(self, obs: Float[Tensor, "B O"]) -> Float[Tensor, "B A"]:
        return self.net(obs)

    @torch.inference_mode()
    def act(self, obs: Float[Tensor, "N O"], generator: torch.Generator | None = None) -> Int[Tensor, " N"]:
        """The action of the highest value. A value function has nothing to draw from: no generator here.

        Raises:
            InputError: when a generator is given.
        """
        if generator is not None:
            raise InputError("dqn's policy is deterministic, expected a greedy evaluation")
        return self.net(obs).argmax(-1)


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
        self.optimizer = Adam(self.model.parameters(), lr=cfg.lr)
        self.replay = Replay(cfg.replay, self.device)
        self.generator = torch_generator(cfg.run.seed, "dqn", self.device)
        self.step = 0
        self.bouts = 0
        self.update = fast(self._update, cfg.run.mode)

    @property
    def epsilon(self) -> float:
        """The share of random actions now."""
        done = min(1.0, self.step / max(1, self.cfg.explore_steps))
        return self.cfg.epsilon + done * (self.cfg.epsilon_end - self.cfg.epsilon)

    def collect(self, envs: VectorEnv) -> None:
        """Plays `cfg.collect` steps in every environment and remembers them."""
        shape = (self.cfg.collect, envs.num_envs)
        coin = torch.rand(shape, generator=self.generator, device=self.device)
        guess = torch.randint(envs.spaces.actions, shape, generator=self.generator, device=self.device)
        explores = coin < self.epsilon
        rows = []
        for explore, other in zip(explores, guess, strict=True):
            rows.append(envs.step(torch.where(explore, other, self.model.act(envs.obs))))
        self.replay.add(Transition.stack(rows).map(lambda field: field.flatten(0, 1)))
        self.step += envs.num_envs * self.cfg.collect

    def learn(self) -> Metrics:
        """A bout of updates on fresh samples; the metrics are those of the last."""
        cfg = self.cfg
        rows = self.replay.sample(cfg.updates * cfg.batch, self.generator)
        with torch.no_grad():
            q_next, q_next_slow = self.model(rows.next_obs), self.slow(rows.next_obs)
            reward = rows.reward * cfg.reward_scale
            target = td_target(q_next, q_next_slow, reward, rows.terminated, gamma=cfg.gamma)
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
        metrics = learner.learn() if learner.step >= cfg.warm_up else {}
        yield learner.step, metrics | envs.episodes() | {"explore/epsilon": learner.epsilon}
