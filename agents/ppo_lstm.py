"""PPO with a memory, for what one look does not show: Schulman et al., 2017 (arXiv:1707.06347), with the LSTM
of Hochreiter and Schmidhuber, 1997 (doi:10.1162/neco.1997.9.8.1735).

    (h_t, c_t) = LSTM(s_t, (h_{t−1}, c_{t−1})),   zero before the first step of an episode
    π(a|h_t), V(h_t);   L = L_π + c_V mean (V − R)² − c_H H(π)       (equation 9 of PPO)

Minibatches are whole sequences: the rollouts of some of the environments, each from the memory it began with,
and with memories emptied where episodes end, as when it was played.

Differs from the paper: as `agents.ppo` does; later epochs begin with memories of the first one's weights.

    lab train ppo_lstm --env lab/CartPoleStill-v1
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from agents.parts.clipped import clipped
from agents.parts.gae import gae
from agents.parts.heads import allowed, head
from agents.parts.memory import Memory, Player
from agents.parts.normalised import Normalised
from agents.parts.reward_norm import RewardNorm
from envs import Spaces, Transition, VectorEnv
from training.config import check_not_negative, check_positive, check_share
from training.device import fast, pick
from training.errors import InputError
from training.metrics import Metrics
from training.networks import Activation, mlp, recurrent
from training.normalise import normalised
from training.optim import Adam
from training.run import RunConfig
from training.schedules import linear
from training.seeds import stream, torch_generator


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of PPO with a memory."""

    env: str = "lab/CartPoleStill-v1"  # a Gymnasium id
    num_envs: int = 16  # environments side by side
    rollout: int = 64  # steps each environment plays between updates
    epochs: int = 4  # passes over a rollout
    minibatches: int = 4  # updates of a pass, each on the rollouts of some environments
    lr: float = 3e-3  # Adam's learning rate, falling linearly to zero over the run
    gamma: float = 0.99  # discount per step
    lam: float = 0.95  # λ of the advantage estimate
    clip: float = 0.2  # ε, how far the policy's ratio may move
    value_coef: float = 0.5  # c_V, weight of the value loss
    entropy_coef: float = 0.0  # c_H, weight of the entropy bonus
    max_norm: float = 0.5  # gradients are clipped to this norm
    reward_scale: float = 1.0  # rewards are multiplied by this before learning
    memory: int = 64  # numbers in h and in c
    hidden: tuple[int, ...] = (64,)  # sizes of the hidden layers after the memory
    activation: Activation = "tanh"  # of the hidden layers
    normalise_obs: bool = False  # observations by their running mean and deviation
    normalise_reward: bool = False  # rewards by the deviation of their discounted sum
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_positive(self, "num_envs", "rollout", "epochs", "minibatches", "lr", "clip", "max_norm")
        check_positive(self, "reward_scale", "memory", "hidden")
        check_not_negative(self, "value_coef", "entropy_coef")
        check_share(self, "gamma", "lam")
        if self.minibatches > self.num_envs:
            raise InputError(f"minibatches is {self.minibatches}, expected at most num_envs: {self.num_envs}")


def ppo_lstm_loss(
    log_prob: Float[Tensor, " B"],
    old_log_prob: Float[Tensor, " B"],
    advantage: Float[Tensor, " B"],
    value: Float[Tensor, " B"],
    value_target: Float[Tensor, " B"],
    entropy: Float[Tensor, " B"],
    *,
    clip: float,
    value_coef: float,
    entropy_coef: float,
) -> tuple[Float[Tensor, ""], Metrics]:
    """L of the module docstring, over the rows in which an action was taken."""
    policy_loss = clipped(log_prob, old_log_prob, advantage, clip)
    value_loss = F.mse_loss(value, value_target)
    entropy_mean = entropy.mean()
    loss = policy_loss + value_coef * value_loss - entropy_coef * entropy_mean
    return loss, {
        "loss/policy": policy_loss.detach(),
        "loss/value": value_loss.detach(),
        "policy/entropy": entropy_mean.detach(),
    }


class RecurrentActorCritic(Normalised):
    """The policy and its value: sequences (T, N, O) -> outputs (T, N, A) for the head, values (T, N)."""

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        super().__init__(spaces, cfg.normalise_obs)
        self.head = head(spaces)
        self.actions, self.masked = spaces.actions, spaces.masked
        self.lstm = recurrent("lstm", spaces.obs, cfg.memory)
        self.net = mlp(cfg.memory, cfg.hidden, spaces.actions + 1, cfg.activation, output_gain=0.01)

    def forward(
        self, obs: Float[Tensor, "T N O"], begins: Bool[Tensor, "T N"], memory: Memory
    ) -> tuple[Float[Tensor, "T N A"], Float[Tensor, "T N"], Memory]:
        """Outputs, values and the memory afterwards; memories are emptied before rows that begin episodes."""
        cuts = [0, len(obs)]
        if len(obs) > 1:  # a step of play need not wait for the device
            cuts[1:1] = (begins[1:].any(1).nonzero()[:, 0] + 1).tolist()
        seen, remembered = self.seen(obs), []
        for start, end in pairwise(cuts):  # no episode begins within a piece
            piece = tuple(field[None] for field in memory.emptied(begins[start]))
            h, (last_h, last_c) = self.lstm(seen[start:end], piece)
            remembered.append(h)
            memory = Memory(last_h[0], last_c[0])
        outputs, value = self.net(torch.cat(remembered)).split((self.actions, 1), -1)
        if self.masked:
            outputs = allowed(outputs, obs[..., -self.actions :])
        return outputs, value[..., 0], memory

    @property
    def act(self) -> Player:
        """A new player: what one remembers, no other knows."""
        return Player(self)

    def decide(
        self, obs: Float[Tensor, "N O"], memory: Memory, generator: torch.Generator | None
    ) -> tuple[Tensor, Memory]:
        """The likeliest actions, or drawn ones, and the memories afterwards."""
        none = torch.zeros(1, len(obs), dtype=torch.bool, device=obs.device)
        (outputs,), _, memory = self(obs[None], none, memory)
        if generator is None:
            return self.head.best(outputs), memory
        return self.head.sample(outputs, self.head.noise(len(obs), generator=generator)), memory

    def blank(self, count: int) -> Memory:
        """What is remembered before an episode: (count, H)."""
        zeros = next(self.parameters()).new_zeros(count, self.lstm.hidden_size)
        return Memory(zeros, zeros)


class Rows(NamedTuple):
    """A rollout to learn from; fields (T, N, ...)."""

    obs: Tensor
    action: Tensor
    begins: Tensor
    valid: Tensor
    old_log_prob: Tensor
    advantage: Tensor
    value_target: Tensor


class Learner:
    """Everything that learning changes: policy, optimizer, scale of rewards, memories of the play, counter,
    generator."""

    STATE = ("model", "optimizer", "rewards", "h", "c", "generator", "step")

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        self.cfg, self.spaces = cfg, spaces
        self.device = pick(cfg.run.device)
        if cfg.run.precision == "fp16" and self.device.type == "cpu":
            raise InputError("precision is fp16 on a CPU, whose LSTMs expect fp32 or bf16")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(cfg.run.seed, "weights"))
            self.model = RecurrentActorCritic(cfg, spaces).to(self.device)
        self.optimizer = Adam(self.model.parameters(), lr=cfg.lr, eps=1e-5)
        self.rewards = RewardNorm(cfg.gamma, self.device)
        self.h, self.c = self.model.blank(cfg.num_envs)
        self.generator = torch_generator(cfg.run.seed, "ppo_lstm", self.device)
        self.step = 0
        self.update = fast(self._update, cfg.run.mode, cfg.run.precision)

    @torch.no_grad()
    def collect(self, envs: VectorEnv) -> tuple[Rows, Memory]:
        """A rollout, judged, and the memories it began with."""
        cfg, head = self.cfg, self.model.head
        first = memory = Memory(self.h, self.c)
        rows: list[Transition] = []
        begins, seen = [], []
        for noise in head.noise(cfg.rollout, envs.num_envs, generator=self.generator).unbind():
            begins.append(envs.begins)
            outputs, value, memory = self.model(envs.obs[None], envs.begins[None], memory)
            seen.append((outputs, value, *memory))
            rows.append(envs.step(head.sample(outputs[0], noise)))
        self.h, self.c = memory
        self.step += envs.num_envs * cfg.rollout
        rollout = Transition.stack(rows)
        outputs, value, *after = (torch.cat(field) for field in zip(*seen, strict=True))
        next_value = self.beyond(rollout.next_obs, Memory(*after))
        reward = self.rewards.scaled(rollout, begins[0]) if cfg.normalise_reward else rollout.reward
        reward = reward * cfg.reward_scale
        ends = rollout.terminated, rollout.truncated
        advantage = gae(reward, value, next_value, *ends, gamma=cfg.gamma, lam=cfg.lam)
        log_prob = head.log_prob(outputs.flatten(0, 1), rollout.action.flatten(0, 1)).view_as(value)
        target = advantage + value
        advantage = advantage.masked_scatter(rollout.valid, normalised(advantage[rollout.valid]))
        told = (rollout.obs, rollout.action, torch.stack(begins), rollout.valid)
        return Rows(*told, log_prob, advantage, target), first

    def beyond(self, next_obs: Float[Tensor, "T N O"], after: Memory) -> Float[Tensor, "T N"]:
        """The value of where each action led, seen with the memory (T N, H) of the step before."""
        flat = next_obs.flatten(0, 1)[None]
        none = torch.zeros(flat.shape[:2], dtype=torch.bool, device=self.device)
        return self.model(flat, none, after)[1].view(next_obs.shape[:2])

    def learn(self, rows: Rows, first: Memory) -> Metrics:
        """`cfg.epochs` passes over the rollout; returns the metrics of the last minibatch."""
        metrics: Metrics = {}
        for _ in range(self.cfg.epochs):
            order = torch.randperm(len(first.h), generator=self.generator, device=self.device)
            for which in order.tensor_split(self.cfg.minibatches):
                part = Rows(*(row[:, which] for row in rows))
                if part.valid.any():  # else a rollout of resets only
                    metrics = self.update(part, Memory(first.h[which], first.c[which]))
        return metrics

    def _update(self, rows: Rows, first: Memory) -> Metrics:
        """One step of Adam on one minibatch of sequences."""
        cfg, head, valid = self.cfg, self.model.head, rows.valid
        outputs, value, _ = self.model(rows.obs, rows.begins, first)
        log_prob = head.log_prob(outputs[valid], rows.action[valid])
        loss, metrics = ppo_lstm_loss(
            log_prob,
            rows.old_log_prob[valid],
            rows.advantage[valid],
            value[valid],
            rows.value_target[valid],
            head.entropy(outputs[valid]),
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
        rows, first = learner.collect(envs)
        metrics = learner.learn(rows, first)
        learner.model.notice(rows.obs[rows.valid])
        yield learner.step, metrics | envs.episodes()
