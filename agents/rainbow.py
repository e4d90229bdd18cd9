"""Rainbow: Hessel et al., 2018 (arXiv:1710.02298): six improvements of DQN in one agent, each of which can be
switched off: double Q-learning, dueling (`agents.parts.dueling`), prioritised replay
(`agents.parts.priorities`), n-step returns (`agents.parts.replay`; off: `--n-step 1`), noisy networks
(`agents.parts.noisy`; off: ε-greedy), and distributions of returns: C51, Bellemare et al., 2017
(arXiv:1707.06887). The network gives probabilities p_k of the returns z_k, evenly spaced; Q = Σ_k p_k z_k.

    m = projection onto z of p̄(s', a*) at R + d z,   a* = argmax_a Q(s', a)
    L = mean w KL(m ‖ p(s, a))     or, without distributions,     mean w (Q(s, a) − R − d Q̄(s', a*))²

w are the weights of the prioritised replay, and KL or |Q − y| the surprise that sets the next priority.

Differs from the paper: the value and the advantages share all hidden layers, of which the first, as the
paper's convolutions, has no noise; every row of a minibatch has noise of its own, and targets have none:
both make learning steadier. Several environments play `collect` steps, then `updates` minibatches follow at
once: rows, weights and targets are those before the first, priorities are set after the last. The learning
rate falls linearly to zero over the run. Rewards may be scaled by a constant, or by the deviation of their
discounted sums, and observations normalised; returns beyond the outermost atoms count as those.

    lab train rainbow --env CartPole-v1
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from agents.parts.explore import play, straight
from agents.parts.noisy import Noisy
from agents.parts.priorities import Priorities
from agents.parts.replay import Experience, Replay, Windows, check_replay
from agents.parts.values import ActionValues, greedy, of_action
from envs import Spaces, VectorEnv
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
    """Settings of Rainbow."""

    env: str = "CartPole-v1"  # a Gymnasium id with discrete actions
    num_envs: int = 16  # environments side by side
    collect: int = 8  # steps each environment plays between bouts of learning
    updates: int = 32  # minibatches of a bout
    batch: int = 128  # transitions of a minibatch
    replay: int = 100_000  # transitions that are remembered
    double: bool = True  # whether Q or the slow Q chooses the next action
    dueling: bool = True  # whether Q is made of the state's value and the actions' advantages
    n_step: int = 3  # rewards that a target sums before it asks Q
    prioritised: bool = True  # whether surprising transitions are drawn more often, or all evenly
    omega: float = 0.5  # how much more often: 0 evenly, 1 in proportion to the surprise
    beta: float = 0.4  # how much of that the weights undo at the start of the run; all of it in the end
    distributional: bool = True  # whether returns are distributions over atoms, or their means alone
    atoms: int = 51  # returns z that a distribution lies on
    low: float = -10.0  # the lowest of them, in scaled rewards
    high: float = 10.0  # and the highest
    noisy: bool = True  # whether weights are noisy where the agent explores, or actions ε-greedy
    sigma: float = 0.5  # size of the noise at the start
    epsilon: float = 1.0  # without noise: share of random actions at the start
    epsilon_end: float = 0.05  # and in the end
    explore_steps: int = 10_000  # environment steps on the way from one to the other
    warm_up: int = 1_000  # environment steps before the first update
    lr: float = 1e-3  # Adam's learning rate, falling linearly to zero over the run
    gamma: float = 0.99  # discount per step
    target_every: int = 2  # rollouts between copies of Q into the slow Q
    max_norm: float = 10.0  # gradients are clipped to this norm
    reward_scale: float = 1.0  # rewards are multiplied by this before learning
    hidden: tuple[int, ...] = (64, 64)  # sizes of the hidden layers
    activation: Activation = "relu"  # of the hidden layers
    normalise_obs: bool = False  # observations by their running mean and deviation
    normalise_reward: bool = False  # rewards by the deviation of their discounted sum
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_positive(self, "num_envs", "collect", "updates", "batch", "replay", "n_step", "atoms")
        check_positive(self, "lr", "sigma", "target_every", "max_norm", "reward_scale", "hidden")
        check_not_negative(self, "warm_up", "explore_steps")
        check_share(self, "gamma", "epsilon", "epsilon_end", "omega", "beta")
        check_replay(self.replay, self.num_envs, self.collect)
        if self.noisy and not self.hidden:
            raise InputError(
                "hidden is empty, expected a layer or more: the first has no noise to explore by"
            )
        if self.distributional and not (self.low < self.high and self.atoms > 1):
            raise InputError(
                f"{self.atoms} atoms from {self.low} to {self.high}, expected two or more, upwards"
            )


def project(
    probability: Float[Tensor, "B K"],
    reward: Float[Tensor, " B"],
    discount: Float[Tensor, " B"],
    support: Float[Tensor, " K"],
) -> Float[Tensor, "B K"]:
    """m of the module docstring: p̄_k goes to the two atoms beside R + d z_k, more to the nearer."""
    low, high, last = support[0], support[-1], len(support) - 1
    moved = (reward[:, None] + discount[:, None] * support).clamp(low, high)
    place = ((moved - low) * (last / (high - low))).clamp(0, last)
    below = place.floor()
    share = place - below
    index = below.long()
    projected = torch.zeros_like(probability).scatter_add_(1, index, probability * (1 - share))
    return projected.scatter_add_(1, (index + 1).clamp(max=last), probability * share)


def c51_loss(
    logits: Float[Tensor, "B A K"],
    action: Int[Tensor, " B"],
    target: Float[Tensor, "B K"],
    weight: Float[Tensor, " B"],
) -> tuple[Float[Tensor, ""], Float[Tensor, " B"], Metrics]:
    """L of the module docstring with distributions, `target` being m; and the surprises."""
    log_probability = of_action(logits, action).log_softmax(-1)
    divergence = (torch.xlogy(target, target) - target * log_probability).sum(-1)
    loss = (weight * divergence).mean()
    surprise = divergence.detach().clamp(min=0)  # rounding takes it below
    return loss, surprise, {"loss/c51": loss.detach(), "q/surprise": surprise.mean()}


def td_loss(
    q: Float[Tensor, "B A 1"],
    action: Int[Tensor, " B"],
    target: Float[Tensor, "B 1"],
    weight: Float[Tensor, " B"],
) -> tuple[Float[Tensor, ""], Float[Tensor, " B"], Metrics]:
    """L of the module docstring without distributions; and the surprises."""
    error = (of_action(q, action) - target)[:, 0]
    loss = (weight * error.square()).mean()
    surprise = error.detach().abs()
    return loss, surprise, {"loss/td": loss.detach(), "q/surprise": surprise.mean()}


class RainbowNetwork(ActionValues):
    """Numbers about all actions: (B, O) -> (B, A, K), logits of K returns or, with K = 1, values."""

    support: Tensor

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        numbers = cfg.atoms if cfg.distributional else 1
        more = {"dueling": cfg.dueling, "normalise": cfg.normalise_obs}
        super().__init__(spaces, cfg.hidden, cfg.activation, numbers=numbers, **more)
        self.register_buffer("support", torch.linspace(cfg.low, cfg.high, numbers), persistent=False)
        if cfg.noisy:
            assert isinstance(self.net, nn.Sequential)
            self.net = Noisy(self.net, cfg.sigma)

    def forward(
        self, obs: Float[Tensor, "B O"], noise: Float[Tensor, "B M"] | None = None
    ) -> Float[Tensor, "B A K"]:
        return super().forward(obs) if noise is None else self.shaped(self.net(self.seen(obs), noise))

    def worth(self, numbers: Float[Tensor, "B A K"]) -> Float[Tensor, "B A"]:
        """Q."""
        return numbers.softmax(-1) @ self.support if numbers.shape[-1] > 1 else numbers[..., 0]

    @torch.inference_mode()
    def explore(self, obs: Float[Tensor, "N O"], noises: Iterator[Tensor]) -> Int[Tensor, " N"]:
        """The action of the highest value under the next of the noises (N, M)."""
        return greedy(self.values(obs, self(obs, next(noises))))


class Learner:
    """Everything that learning changes: Q, its slow copy, optimizer, replay, counters, random generator."""

    STATE = ("model", "slow", "optimizer", "replay", "priorities", "generator", "step", "bouts")

    def __init__(self, cfg: Config, spaces: Spaces) -> None:
        self.cfg, self.spaces = cfg, spaces
        self.device = pick(cfg.run.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(cfg.run.seed, "weights"))
            self.model = RainbowNetwork(cfg, spaces).to(self.device)
            self.slow = RainbowNetwork(cfg, spaces).to(self.device)
        self.slow.load_state_dict(self.model.state_dict())
        self.slow.norm = self.model.norm  # both see the same
        self.optimizer = Adam(self.model.parameters(), lr=cfg.lr)
        windows = Windows(cfg.n_step, cfg.gamma, cfg.reward_scale)
        self.replay = Replay(cfg.replay, windows, self.device, spaces.picture, normalise=cfg.normalise_reward)
        self.priorities = Priorities(cfg.replay, cfg.omega, cfg.run.seed) if cfg.prioritised else None
        self.generator = torch_generator(cfg.run.seed, "rainbow", self.device)
        self.step = 0
        self.bouts = 0
        self.update = fast(self._update, cfg.run.mode, cfg.run.precision)

    @property
    def epsilon(self) -> float:
        """The share of random actions now; noisy weights need none."""
        cfg = self.cfg
        if cfg.noisy:
            return 0.0
        return straight(cfg.epsilon, cfg.epsilon_end, self.step / max(1, cfg.explore_steps))

    def collect(self, envs: VectorEnv) -> None:
        """Plays `cfg.collect` steps in every environment and remembers them."""
        steps, noises = self.cfg.collect, self.noise(self.cfg.collect, envs.num_envs)
        act = self.model.act if noises is None else partial(self.model.explore, noises=iter(noises))
        begins = envs.begins
        rollout = play(envs, act, steps, self.epsilon, self.generator)
        added = self.replay.add(rollout, begins)
        self.model.notice(rollout.obs)
        if self.priorities is not None:
            self.priorities.add(added)
        self.step += envs.num_envs * steps

    def learn(self) -> Metrics:
        """A bout of updates on fresh samples; the metrics are those of the last."""
        cfg, count = self.cfg, self.cfg.updates * self.cfg.batch
        index, weight = self.draw(count)
        rows = self.replay.take(index)
        target = self.target(rows)
        metrics: Metrics = {}
        surprises = []
        columns = (rows.obs, rows.action, target, weight)
        for obs, action, aim, share in zip(*(column.split(cfg.batch) for column in columns), strict=True):
            metrics, surprise = self.update(obs, action, aim, share, self.noise(cfg.batch))
            surprises.append(surprise)
        if self.priorities is not None:
            self.priorities.update(index, torch.cat(surprises))
        self.bouts += 1
        if self.bouts % cfg.target_every == 0:
            self.slow.load_state_dict(self.model.state_dict())
        return metrics

    def draw(self, count: int) -> tuple[Int[Tensor, " B"], Float[Tensor, " B"]]:
        """Places in the replay, and the weights of what is there in the loss."""
        if self.priorities is None:
            index = torch.randint(len(self.replay), (count,), generator=self.generator, device=self.device)
            return index, torch.ones(count, device=self.device)
        index = self.priorities.draw(count)
        beta = straight(self.cfg.beta, 1.0, self.step / self.cfg.run.steps)
        weight = self.priorities.weights(index, len(self.replay), beta)
        return index.to(self.device), weight.to(self.device)

    @torch.no_grad()
    def target(self, rows: Experience) -> Float[Tensor, "B K"]:
        """m of the module docstring, or y without distributions."""
        slow = self.slow(rows.next_obs)
        chooser = self.model(rows.next_obs) if self.cfg.double else slow
        judged = of_action(slow, self.model.values(rows.next_obs, chooser).argmax(-1))
        if self.cfg.distributional:
            return project(judged.softmax(-1), rows.reward, rows.discount, self.model.support)
        return rows.reward[:, None] + rows.discount[:, None] * judged

    def noise(self, *shape: int) -> Tensor | None:
        """Noise of that many weights; None where they have none."""
        if isinstance(self.model.net, Noisy):
            return self.model.net.noise(*shape, generator=self.generator)
        return None

    def _update(
        self, obs: Tensor, action: Tensor, target: Tensor, weight: Tensor, noise: Tensor | None
    ) -> tuple[Metrics, Tensor]:
        """One step of Adam on one minibatch; returns its surprises (B,) too."""
        loss_of = c51_loss if self.cfg.distributional else td_loss
        loss, surprise, metrics = loss_of(self.model(obs, noise), action, target, weight)
        metrics["grad/norm"] = self.optimizer.descend(loss, self.cfg.max_norm)
        return metrics, surprise


def train(cfg: Config, learner: Learner, envs: VectorEnv) -> Iterator[tuple[int, Metrics]]:
    """Play, remember, learn; yields after every bout."""
    while learner.step < cfg.run.steps:
        learner.optimizer.lr = cfg.lr * linear(learner.step / cfg.run.steps)
        learner.collect(envs)
        ready = learner.step >= cfg.warm_up and len(learner.replay)
        metrics = learner.learn() if ready else {}
        yield learner.step, metrics | envs.episodes() | {"explore/epsilon": learner.epsilon}
