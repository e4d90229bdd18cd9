"""Soft actor-critic: Haarnoja et al., 2018 (arXiv:1812.05905), with the temperature α learned.

    y    = r + γ (1 − terminated) (min_i Q̄_i(s', a') − α log π(a'|s')),   a' ~ π(s')
    L_Q  = Σ_i mean (Q_i(s, a) − y)²                                       (equation 5)
    L_π  = mean (α log π(a|s) − min_i Q_i(s, a)),   a ~ π(s)               (equation 9)
    L_α  = −log α · mean (log π(a|s) + H̄)                                  (equation 18, with log α for α)

with a squashed normal policy, and H̄ = −(numbers of an action). Q̄ follows Q: Q̄ ← Q̄ + τ (Q − Q̄).

Differs from the paper: several environments play `collect` steps, then `updates` minibatches follow; rewards
may be scaled by a constant, and observations normalised; gradients are clipped by norm; both Q are one
batched network.

    lab train sac --env Pendulum-v1
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from agents.parts.heads import SquashedGaussian
from agents.parts.normalised import Normalised
from agents.parts.replay import Experience, Replay, Windows, check_replay
from envs import Spaces, Transition, VectorEnv
from training.config import check_positive, check_share
from training.device import fast, pick
from training.errors import InputError
from training.metrics import Metrics
from training.networks import Activation, Twins, mlp
from training.optim import Adam
from training.run import RunConfig
from training.seeds import stream, torch_generator


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of SAC."""

    env: str = "Pendulum-v1"  # a Gymnasium id with continuous actions
    num_envs: int = 4  # environments side by side
    collect: int = 4  # steps each environment plays between bouts of learning
    updates: int = 8  # minibatches of a bout
    batch: int = 256  # transitions of a minibatch
    replay: int = 100_000  # transitions that are remembered
    warm_up: int = 1_000  # steps of uniformly random actions before the first update
    lr: float = 1e-3  # Adam's learning rate, of all three losses
    gamma: float = 0.99  # discount per step
    tau: float = 0.005  # share of the way from Q̄ to Q after each update
    temperature: float = 1.0  # α at the start
    max_norm: float = 10.0  # gradients are clipped to this norm
    reward_scale: float = 1.0  # rewards are multiplied by this before learning
    hidden: tuple[int, ...] = (64, 64)  # sizes of the hidden layers
    activation: Activation = "relu"  # of the hidden layers
    normalise_obs: bool = False  # observations by their running mean and deviation
    normalise_reward: bool = False  # rewards by the deviation of their discounted sum
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_positive(self, "num_envs", "collect", "updates", "batch", "replay", "lr", "temperature")
        check_positive(self, "max_norm", "reward_scale", "hidden", "warm_up")
        check_share(self, "gamma", "tau")
        check_replay(self.replay, self.num_envs, self.collect)


def critic_loss(
    q: Float[Tensor, "2 B"],
    q_next_slow: Float[Tensor, "2 B"],
    log_prob_next: Float[Tensor, " B"],
    reward: Float[Tensor, " B"],
    discount: Float[Tensor, " B"],
    temperature: Float[Tensor, ""],
) -> tuple[Float[Tensor, ""], Metrics]:
    """L_Q of the module docstring; `discount` is γ, or 0 after a termination."""
    target = reward + discount * (q_next_slow.amin(0) - temperature * log_prob_next)
    loss = (q - target.detach()).square().mean(1).sum()
    return loss, {"loss/td": loss.detach(), "q/chosen": q.detach().mean()}


def policy_loss(
    log_prob: Float[Tensor, " B"], q: Float[Tensor, "2 B"], temperature: Float[Tensor, ""]
) -> tuple[Float[Tensor, ""], Metrics]:
    """L_π of the module docstring."""
    loss = (temperature * log_prob - q.amin(0)).mean()
    return loss, {"loss/policy": loss.detach(), "policy/entropy": -log_prob.detach().mean()}


def temperature_loss(
    log_temperature: Float[Tensor, ""], log_prob: Float[Tensor, " B"], target_entropy: float
) -> tuple[Float[Tensor, ""], Metrics]:
    """L_α of the module docstring: α grows while the policy is surer than H̄ asks for."""
    loss = -log_temperature * (log_prob.detach() + target_entropy).mean()
    return loss, {"explore/temperature": log_temperature.detach().exp()}


class Actor(Normalised):
    """The policy: (*N, O) -> means and logarithms of deviations (*N, 2 A), before squashing."""

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        super().__init__(spaces, cfg.normalise_obs)
        if not spaces.low:
            raise InputError(f"{cfg.env} has discrete actions, sac expects continuous ones: try ppo")
        if not spaces.bounded:
            raise InputError(f"{cfg.env} has actions without bounds, sac expects bounds on all: try ppo")
        self.head = SquashedGaussian(spaces.actions)
        self.net = mlp(spaces.obs, cfg.hidden, 2 * spaces.actions, cfg.activation, output_gain=0.01)

    def forward(self, obs: Float[Tensor, "*N O"]) -> Float[Tensor, "*N P"]:
        return self.net(self.seen(obs))

    @torch.inference_mode()
    def act(
        self, obs: Float[Tensor, "N O"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "N A"]:
        """The squashed mean, or an action drawn with `generator`."""
        outputs = self(obs)
        if generator is None:
            return self.head.best(outputs)
        return self.head.sample(outputs, self.head.noise(len(obs), generator=generator))


class Critic(nn.Module):
    """Both values of observations and actions: (B, O), (B, A) -> (2, B)."""

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        super().__init__()
        sizes = spaces.obs + spaces.actions, cfg.hidden, 1
        self.net = Twins(*sizes, cfg.activation, output_gains=(1.0, 1.0))

    def forward(self, obs: Float[Tensor, "B O"], action: Float[Tensor, "B A"]) -> Float[Tensor, "2 B"]:
        return self.net(torch.cat([obs, action], -1))[..., 0]


class Temperature(nn.Module):
    """α, by its logarithm."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(start).log())


class Learner:
    """Everything that learning changes: policy, critics, temperature, optimizers, replay, counter."""

    STATE = (
        *("model", "critic", "slow", "temperature"),
        *("policy_optimizer", "critic_optimizer", "temperature_optimizer"),
        *("replay", "generator", "step"),
    )

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        self.cfg, self.spaces = cfg, spaces
        self.device = pick(cfg.run.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(cfg.run.seed, "weights"))
            self.model = Actor(cfg, spaces).to(self.device)
            self.critic, self.slow = (Critic(cfg, spaces).to(self.device) for _ in range(2))
        self.slow.load_state_dict(self.critic.state_dict())
        self.temperature = Temperature(cfg.temperature).to(self.device)
        self.policy_optimizer = Adam(self.model.parameters(), cfg.lr)
        self.critic_optimizer = Adam(self.critic.parameters(), cfg.lr)
        self.temperature_optimizer = Adam(self.temperature.parameters(), cfg.lr)
        windows = Windows(1, cfg.gamma, cfg.reward_scale)
        self.replay = Replay(cfg.replay, windows, self.device, normalise=cfg.normalise_reward)
        self.generator = torch_generator(cfg.run.seed, "sac", self.device)
        self.step = 0
        self.update = fast(self._update, cfg.run.mode, cfg.run.precision)

    def collect(self, envs: VectorEnv) -> None:
        """Plays `cfg.collect` steps in every environment and remembers them."""
        shape = (self.cfg.collect, envs.num_envs)
        even = torch.rand(*shape, self.spaces.actions, generator=self.generator, device=self.device) * 2 - 1
        drawn = self.model.head.noise(*shape, generator=self.generator)
        rows, begins = [], envs.begins
        for guess, noise in zip(even, drawn, strict=True):
            with torch.inference_mode():
                chosen = self.model.head.sample(self.model(envs.obs), noise)
            rows.append(envs.step(guess if self.step < self.cfg.warm_up else chosen))
        rollout = Transition.stack(rows)
        self.replay.add(rollout, begins)
        self.model.notice(rollout.obs)
        self.step += envs.num_envs * self.cfg.collect

    def learn(self) -> Metrics:
        """A bout of updates on fresh samples; the metrics are those of the last."""
        metrics: Metrics = {}
        for _ in range(self.cfg.updates):
            rows = self.replay.sample(self.cfg.batch, self.generator)
            noise = self.model.head.noise(2, self.cfg.batch, generator=self.generator)
            metrics = self.update(rows, noise)
        return metrics

    def _update(self, rows: Experience, noise: Float[Tensor, "2 B A"]) -> Metrics:
        """One step of Adam on each loss."""
        metrics = self._learn_critic(rows, noise[0])
        action, log_prob = self.model.head.draw(self.model(rows.obs), noise[1])
        q = self.critic(self.model.seen(rows.obs), action)
        loss, said = policy_loss(log_prob, q, self.temperature.log.detach().exp())
        said["grad/norm"] = self.policy_optimizer.descend(loss, self.cfg.max_norm)
        loss, more = temperature_loss(self.temperature.log, log_prob, -float(self.spaces.actions))
        self.temperature_optimizer.descend(loss, self.cfg.max_norm)
        with torch.no_grad():
            for slow, new in zip(self.slow.parameters(), self.critic.parameters(), strict=True):
                slow.lerp_(new, self.cfg.tau)
        return metrics | said | more

    def _learn_critic(self, rows: Experience, noise: Float[Tensor, "B A"]) -> Metrics:
        temperature = self.temperature.log.detach().exp()
        with torch.no_grad():
            action, log_prob = self.model.head.draw(self.model(rows.next_obs), noise)
            q_next_slow = self.slow(self.model.seen(rows.next_obs), action)
        q = self.critic(self.model.seen(rows.obs), rows.action)
        loss, metrics = critic_loss(q, q_next_slow, log_prob, rows.reward, rows.discount, temperature)
        self.critic_optimizer.descend(loss, self.cfg.max_norm)
        return metrics


def train(cfg: Config, learner: Learner, envs: VectorEnv) -> Iterator[tuple[int, Metrics]]:
    """Play, remember, learn; yields after every bout."""
    while learner.step < cfg.run.steps:
        learner.collect(envs)
        metrics = learner.learn() if learner.step >= cfg.warm_up else {}
        yield learner.step, metrics | envs.episodes()
