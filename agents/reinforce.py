"""REINFORCE with a learned baseline: Williams, 1992 (doi:10.1007/BF00992696), section 6.

    G_t = r_t + γ r_{t+1} + γ² r_{t+2} + ...   to the end of the episode
    L   = −mean (G − V(s)) log π(a|s) + c_V mean (G − V(s))² − c_H H(π)

V is taken as a number in the first term. Only whole episodes are learned from: rows of an episode that goes
on wait until it has ended.

Differs from the paper: one step of Adam on the rows of all episodes that ended in a rollout; the baseline is
a network; where a time limit cut an episode off, G goes on with V of the state it was cut off in; rewards may
be scaled by a constant, and observations normalised. An episode longer than a rollout was begun by a slightly
older policy.

    lab train reinforce --env CartPole-v1
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from agents.parts.actor_critic import ActorCritic
from envs import Spaces, Transition, VectorEnv
from training.config import check_not_negative, check_positive, check_share
from training.device import fast, pick
from training.errors import InputError
from training.metrics import Metrics
from training.networks import Activation
from training.optim import Adam
from training.run import RunConfig
from training.schedules import linear
from training.seeds import stream, torch_generator


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of REINFORCE."""

    env: str = "CartPole-v1"  # a Gymnasium id
    num_envs: int = 16  # environments side by side
    rollout: int = 32  # steps each environment plays between updates
    lr: float = 5e-3  # Adam's learning rate, falling linearly to zero over the run
    gamma: float = 0.99  # discount per step
    value_coef: float = 0.5  # c_V, weight of the baseline's loss
    entropy_coef: float = 0.0  # c_H, weight of the entropy bonus
    max_norm: float = 0.5  # gradients are clipped to this norm
    reward_scale: float = 1.0  # rewards are multiplied by this before learning
    hidden: tuple[int, ...] = (64, 64)  # sizes of the hidden layers
    activation: Activation = "tanh"  # of the hidden layers
    shared: bool = False  # one network for policy and baseline, or one for each
    normalise_obs: bool = False  # observations by their running mean and deviation
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_positive(self, "num_envs", "rollout", "lr", "max_norm", "reward_scale", "hidden")
        check_not_negative(self, "value_coef", "entropy_coef")
        check_share(self, "gamma")


def reinforce_loss(
    log_prob: Float[Tensor, " B"],
    value: Float[Tensor, " B"],
    ret: Float[Tensor, " B"],
    entropy: Float[Tensor, " B"],
    *,
    value_coef: float,
    entropy_coef: float,
) -> tuple[Float[Tensor, ""], Metrics]:
    """L of the module docstring; `ret` is G."""
    away = ret - value
    policy_loss = -(away.detach() * log_prob).mean()
    value_loss = away.square().mean()
    loss = policy_loss + value_coef * value_loss - entropy_coef * entropy.mean()
    return loss, {
        "loss/policy": policy_loss.detach(),
        "loss/value": value_loss.detach(),
        "policy/entropy": entropy.detach().mean(),
    }


def returns(
    rollout: Transition, next_value: Float[Tensor, "T N"], *, gamma: float
) -> tuple[Float[Tensor, "T N"], Bool[Tensor, "T N"]]:
    """G of every row, and whether its episode has ended: until then G is only what came so far."""
    later, ended = torch.zeros_like(next_value[0]), torch.zeros_like(rollout.terminated[0])
    rows = (rollout.reward, next_value, rollout.terminated, rollout.truncated)
    found = []
    for reward, beyond, terminated, truncated in zip(*(row.flip(0) for row in rows), strict=True):
        after = torch.where(terminated, 0.0, torch.where(truncated, beyond, later))
        later, ended = reward + gamma * after, ended | terminated | truncated
        found.append((later, ended))
    ret, whole = zip(*found[::-1], strict=True)
    return torch.stack(ret), torch.stack(whole)


class Learner:
    """Everything that learning changes: policy, optimizer, unfinished episodes, counter, generator."""

    STATE = ("model", "optimizer", "waiting", "generator", "step")

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        self.cfg, self.spaces = cfg, spaces
        self.device = pick(cfg.run.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(cfg.run.seed, "weights"))
            self.model = ActorCritic(cfg, spaces).to(self.device)
        self.optimizer = Adam(self.model.parameters(), lr=cfg.lr, eps=1e-5)
        self.waiting: list[Tensor] | None = None  # a Transition (T, N): rows whose episodes go on
        self.generator = torch_generator(cfg.run.seed, "reinforce", self.device)
        self.step = 0
        self.update = fast(self._update, cfg.run.mode, cfg.run.precision)

    def collect(self, envs: VectorEnv) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of the episodes that ended in a rollout: obs, action and G, each (B, ...)."""
        begins = envs.begins  # what waits there was cut off by a restart, and never ends
        rollout = self.model.play(envs, self.cfg.rollout, self.generator)
        self.step += envs.num_envs * self.cfg.rollout
        if self.waiting is not None:
            waiting = Transition(*(field.to(self.device) for field in self.waiting))
            waiting = waiting._replace(valid=waiting.valid & ~begins)
            rollout = Transition(*map(torch.cat, zip(waiting, rollout, strict=True)))
        with torch.no_grad():
            next_value = self.model(rollout.next_obs)[1]
        scaled = rollout._replace(reward=rollout.reward * self.cfg.reward_scale)
        ret, whole = returns(scaled, next_value, gamma=self.cfg.gamma)
        learned = whole & rollout.valid
        self._keep(rollout._replace(valid=rollout.valid & ~whole))
        return rollout.obs[learned], rollout.action[learned], ret[learned]

    def _keep(self, rollout: Transition) -> None:
        """Lets rows wait, from the first on whose episode has not ended."""
        going = rollout.valid.any(1).int()
        first = int(going.argmax()) if going.any() else len(going)
        self.waiting = [field[first:] for field in rollout]
        broken = (~rollout.valid).any(1).nonzero()
        quiet = len(going) - (int(broken.max()) + 1 if len(broken) else 0)  # steps since an episode ended
        if (steps := quiet * rollout.valid.shape[1]) > self.cfg.run.steps / 2:
            raise InputError(
                f"no episode has ended in {steps} steps, more than half of the run, and reinforce learns from"
                " whole ones: expected an environment with a time limit, or another algorithm, such as a2c"
            )

    def _update(self, obs: Tensor, action: Tensor, ret: Tensor) -> Metrics:
        """One step of Adam on all rows."""
        cfg, head = self.cfg, self.model.head
        outputs, value = self.model(obs)
        loss, metrics = reinforce_loss(
            head.log_prob(outputs, action),
            value,
            ret,
            head.entropy(outputs),
            value_coef=cfg.value_coef,
            entropy_coef=cfg.entropy_coef,
        )
        metrics["grad/norm"] = self.optimizer.descend(loss, cfg.max_norm)
        return metrics


def train(cfg: Config, learner: Learner, envs: VectorEnv) -> Iterator[tuple[int, Metrics]]:
    """Play a rollout, learn from the episodes that ended in it; yields after every rollout."""
    while learner.step < cfg.run.steps:
        learner.optimizer.lr = cfg.lr * linear(learner.step / cfg.run.steps)
        rows = learner.collect(envs)
        metrics = learner.update(*rows) if len(rows[0]) else {}  # else no episode has ended
        learner.model.notice(rows[0])
        yield learner.step, metrics | envs.episodes()
