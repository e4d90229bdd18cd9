"""Generative adversarial networks: Goodfellow et al., 2014 (arXiv:1406.2661), and what made them steady.

With D the critic's logit, x rows, g = G(z) samples, z ~ N(0, 1):

    nonsaturating   L_D = E softplus(−D(x)) + E softplus(D(g)) + γ/2 E|∇D(x)|²,   L_G = E softplus(−D(g))
    hinge           L_D = E max(0, 1 − D(x)) + E max(0, 1 + D(g)),                L_G = −E D(g)
    wasserstein     L_D = E D(g) − E D(x) + λ E(|∇D(x̃)| − 1)²,                    L_G = −E D(g)

The first has the R1 penalty (Mescheder et al., 2018, arXiv:1801.04406), at every few updates only and weighed
up for it (Karras et al., 2020, arXiv:1912.04958); the second a critic with spectral normalisation (Miyato et
al., arXiv:1802.05957); the third the penalty of Gulrajani et al. (arXiv:1704.00028), x̃ lying between x and g.
A label enters G beside z and D as a projection (Miyato and Koyama, arXiv:1802.05637).

Samples come from the moving average of G. A guard measures how much of the data they cover, and takes G back
to the average that covered most when more than half of that is lost. In bf16, penalties stay in fp32.

    lab train gan --data digits
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn
from torch.nn import functional as F

from generative.parts.adversaries import Critic, Generator
from generative.parts.manifold import manifold
from generative.parts.networks import Network, check_form
from generative.parts.rows import Form, Kept, Order, Scale, watched
from training.average import Average
from training.config import check_not_negative, check_positive, check_share
from training.device import fast, pick
from training.distributed import first, mine
from training.errors import InputError
from training.metrics import Metrics
from training.optim import Adam
from training.run import RunConfig
from training.schedules import cosine
from training.seeds import stream, torch_generator

Loss = Literal["nonsaturating", "hinge", "wasserstein"]
MAX_NORM = 1e3  # of gradients: far above what healthy ones have
WATCHED = 500  # rows that the guard and evaluations compare samples with
EPS = 1e-12  # under the root of a norm: its slope at zero is infinite


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the GAN."""

    data: str = "digits"  # digits, a file (.csv .parquet .npy .npz IDX), or a folder of pictures
    loss: Loss = "nonsaturating"  # with R1; hinge: with spectral normalisation; wasserstein: with its penalty
    network: Literal["auto", "dense", "conv"] = "auto"  # auto: conv for pictures, dense for the rest
    conditional: bool = False  # samples of a label one asks for
    latent: int = 64  # numbers in z
    hidden: tuple[int, ...] = (256, 256)  # dense layers, which the generator mirrors; last of a critic
    width: int = 32  # channels of a convolutional critic's first layer
    batch: int = 64  # rows of an update
    lr: float = 1e-3  # Adam's, of both networks, falling to zero as a cosine
    betas: tuple[float, ...] = (0.0, 0.99)  # Adam's two decay rates
    critic_steps: int = 1  # updates of the critic for one of the generator
    r1: float = 1.0  # γ, weight of the R1 penalty
    r1_every: int = 8  # critic updates from one R1 penalty to the next
    penalty: float = 10.0  # λ, weight of the penalty of Wasserstein critics; 0.1 suits rows of few columns
    decay: float = 0.999  # of the moving average that samples
    guard_every: int = 500  # updates between looks at the coverage; 0: none
    run: RunConfig = field(default_factory=lambda: RunConfig(steps=5_000, evaluate_every=500, log_every=100))

    def __post_init__(self) -> None:
        if self.run.precision == "fp16":
            raise InputError("precision is fp16, expected fp32, tf32 or bf16: losses would have to be scaled")
        if self.run.mode == "compile":
            raise InputError("mode is compile, expected eager: penalties are differentiated twice")
        check_positive(self, "latent", "hidden", "width", "batch", "lr", "critic_steps", "r1_every")
        check_not_negative(self, "r1", "penalty", "guard_every")
        check_share(self, "decay")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas) or not self.hidden:
            found = " ".join(map(str, self.betas if self.hidden else self.hidden)) or "none"
            raise InputError(f"betas or hidden is {found}, expected two rates below 1, one layer or more")


def critic_loss(
    true: Float[Tensor, " B"], false: Float[Tensor, " B"], kind: Loss
) -> tuple[Float[Tensor, ""], Metrics]:
    """L_D of the module docstring without penalties, from logits of rows and of samples."""
    if kind == "nonsaturating":
        loss = F.softplus(-true).mean() + F.softplus(false).mean()
    elif kind == "hinge":
        loss = F.relu(1 - true).mean() + F.relu(1 + false).mean()
    else:
        loss = false.mean() - true.mean()
    gap = true.detach().mean() - false.detach().mean()
    return loss, {"loss/critic": loss.detach(), "critic/logit_gap": gap}


def generator_loss(false: Float[Tensor, " B"], kind: Loss) -> tuple[Float[Tensor, ""], Metrics]:
    """L_G of the module docstring, from logits of samples."""
    loss = F.softplus(-false).mean() if kind == "nonsaturating" else -false.mean()
    return loss, {"loss/generator": loss.detach()}


def slope(logit: Float[Tensor, " B"], x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    """∇D at each row of x, itself differentiable."""
    return torch.autograd.grad(logit.sum(), x, create_graph=True)[0]


def r1_loss(gradient: Float[Tensor, "B D"], *, gamma: float) -> tuple[Float[Tensor, ""], Metrics]:
    """γ/2 E|∇D(x)|²."""
    square = gradient.square().sum(-1).mean()
    return 0.5 * gamma * square, {"critic/r1": square.detach()}


def lipschitz_loss(gradient: Float[Tensor, "B D"], *, weight: float) -> tuple[Float[Tensor, ""], Metrics]:
    """λ E(|∇D(x̃)| − 1)²."""
    norm = (gradient.square().sum(-1) + EPS).sqrt()
    return weight * (norm - 1).square().mean(), {"critic/slope": norm.detach().mean()}


class GAN(nn.Module):
    """A generator, its moving average `smooth`, and the critic; rows (B, D) in the data's own units."""

    def __init__(self, cfg: Config, form: Form) -> None:
        super().__init__()
        network: Network = "conv" if len(form.shape) == 3 else "dense"
        if cfg.network != "auto":
            network = cfg.network
        check_form(network, form)
        if network == "conv" and len(form.shape) == 2:
            raise InputError("a row is a sequence, the convolutions of a GAN expect pictures")
        if cfg.conditional and form.classes < 2:
            raise InputError(f"data has {form.classes} labels, a conditional GAN expects 2: --no-conditional")
        self.register_buffer("form", form.pack())
        self.latent, self.classes = cfg.latent, form.classes if cfg.conditional else 0
        self.scale = Scale(form.columns)
        sizes = (network, form, cfg.hidden, cfg.width, self.classes)
        self.generator = Generator(*sizes, latent=cfg.latent)
        self.critic = Critic(*sizes, spectral=cfg.loss == "hinge")
        self.smooth = Average(self.generator, cfg.decay).model

    def fit_scale(self, x: Num[Tensor, "B D"]) -> None:
        """Pictures are stretched to 0 .. 1, columns of a table standardised."""
        (self.scale.stretch if self.generator.bounded else self.scale.standardise)(x)

    def scaled(self, x: Num[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Rows as the networks see them, on their device."""
        return self.scale(x).to(next(self.critic.parameters()).device)

    def decode(self, z: Float[Tensor, "B Z"], y: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B D"]:
        """Rows, in the data's units, that the averaged generator makes of z, and of labels."""
        return self.scale.back(self.smooth.eval()(z, y))

    @torch.no_grad()
    def sample(
        self, count: int, seed: int, y: Int[Tensor, " count"] | None = None
    ) -> Float[Tensor, "count D"]:
        """Rows for z drawn from its prior; the same seed draws the same. Labels go round unless told."""
        device = next(self.critic.parameters()).device
        z = torch.randn(count, self.latent, generator=torch_generator(seed, "sample", device), device=device)
        if self.classes:
            y = torch.arange(count) % self.classes if y is None else y
            y = y.to(device)
        return self.decode(z, y if self.classes else None)

    @torch.no_grad()
    def features(self, x: Num[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        """What the critic's last hidden layer says of rows."""
        return self.critic.features(self.scaled(x))

    @torch.inference_mode()
    def score(self, x: Num[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """How strange rows are to the critic: its logit with the other sign, no label told."""
        return -self.critic(self.scaled(x))

    def measure(self, x: Num[Tensor, "B D"], y: Int[Tensor, " B"] | None) -> tuple[float, dict[str, float]]:
        """The share of rows that as many samples cover, on scaled columns, and its kin; of WATCHED rows."""
        rows = watched(len(x), WATCHED).to(x.device)
        x, y = x[rows], y if y is None else y[rows]
        found = manifold(self.scaled(x), self.scaled(self.sample(len(x), 0, y)))
        return found.coverage, found.row("eval")


class Learner:
    """Everything that learning changes: both networks, optimizers, average, guard, order of rows, noise."""

    STATE = (
        "model", "critic_optimizer", "generator_optimizer", "average", "order", "random", "step",
        "coverage", "best", "rescues",
    )  # fmt: skip

    def __init__(
        self,
        cfg: Config,
        x: Num[Tensor, "rows D"],
        y: Int[Tensor, " rows"] | None = None,
        form: Form | None = None,
    ) -> None:
        self.cfg = cfg
        self.device = pick(cfg.run.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(cfg.run.seed, "weights"))
            self.model = GAN(cfg, form or Form(x.shape[1])).to(self.device)
        self.model.fit_scale(x)
        self.x = Kept(self.model, x, self.device)
        self.y = y.to(self.device) if y is not None and cfg.conditional else None
        rows = watched(len(x), WATCHED)
        self.watched = x[rows.to(x.device)], None if self.y is None else self.y[rows.to(self.device)]
        betas = (cfg.betas[0], cfg.betas[1])
        self.critic_optimizer = Adam(self.model.critic.parameters(), cfg.lr, betas)
        self.generator_optimizer = Adam(self.model.generator.parameters(), cfg.lr, betas)
        self.average = Average(self.model.generator, cfg.decay)
        self.model.smooth = self.average.model
        self.order = Order(torch_generator(cfg.run.seed, "gan", self.device))
        self.random = torch_generator(cfg.run.seed, "noise", self.device)
        self.step = self.rescues = 0
        self.coverage = 0.0  # the best that the guard has seen
        self.best: dict[str, Tensor] = {}  # the averaged generator that reached it
        self.regular = cfg.loss == "nonsaturating" and cfg.r1 > 0  # whether R1 comes now and then
        mode, precision = cfg.run.mode, cfg.run.precision
        self.draw = fast(lambda z, y: self.model.generator(z, y).float(), mode, precision)
        self.improve = fast(self._improve, mode, precision)
        self.criticise = fast(self._criticise, mode, precision)
        self.penalise = fast(self._criticise, mode)  # penalties need the digits of fp32

    def update(self) -> Metrics:
        """Steps of the critic, then one of the generator with the critic's last samples."""
        metrics: Metrics = {}
        for n in range(self.cfg.critic_steps):
            index = self.order.draw(len(self.x), self.cfg.batch)
            z = torch.randn(len(index), self.cfg.latent, generator=self.random, device=self.device)
            y = None if self.y is None else self.y[index]
            samples = mine(self.draw(z, y))  # batch normalisation sees the rows of all processes
            x, y = self.x[mine(index)], None if y is None else mine(y)
            due = self.regular and (self.step * self.cfg.critic_steps + n) % self.cfg.r1_every == 0
            share = self._share(len(index))
            criticise = self.penalise if due or share is not None else self.criticise
            metrics |= criticise(x, samples.detach(), y, due, share)
        metrics |= self.improve(samples, y)
        self.average.update(self.model.generator)
        return metrics

    def _criticise(
        self, x: Float[Tensor, "B D"], samples: Float[Tensor, "B D"], y: Int[Tensor, " B"] | None, due: bool,
        share: Float[Tensor, "B 1"] | None,
    ) -> Metrics:  # fmt: skip
        """One step of the critic; `due` says whether R1 is, `share` how far x̃ is on the way from g to x."""
        cfg, critic = self.cfg, self.model.critic
        x = x.requires_grad_(due)
        true, false = critic(torch.cat([x, samples]), None if y is None else y.repeat(2)).float().chunk(2)
        loss, metrics = critic_loss(true, false, cfg.loss)
        if due:
            extra, more = r1_loss(slope(true, x), gamma=cfg.r1 * cfg.r1_every)
            loss, metrics = loss + extra, metrics | more
        if share is not None:
            between = torch.lerp(samples, x, share).requires_grad_()
            extra, more = lipschitz_loss(slope(critic(between, y), between), weight=cfg.penalty)
            loss, metrics = loss + extra, metrics | more
        metrics["grad/critic_norm"] = self.critic_optimizer.descend(loss, MAX_NORM)
        return metrics

    def _share(self, count: int) -> Float[Tensor, "B 1"] | None:
        """This process's part of `count` numbers in 0 .. 1; None for a loss that needs none."""
        if self.cfg.loss != "wasserstein":
            return None
        return mine(torch.rand(count, 1, generator=self.random, device=self.device))

    def _improve(self, samples: Float[Tensor, "B D"], y: Int[Tensor, " B"] | None) -> Metrics:
        """One step of the generator that made these samples."""
        loss, metrics = generator_loss(self.model.critic(samples, y).float(), self.cfg.loss)
        metrics["grad/generator_norm"] = self.generator_optimizer.descend(loss, MAX_NORM)
        return metrics

    def guard(self) -> Metrics:
        """Remembers the average that covers most; goes back to it when more than half of that is lost."""
        covered = first([self.model.measure(*self.watched)[0]])[0]
        if covered >= self.coverage:
            self.coverage = covered
            self.best = {name: value.clone() for name, value in self.model.smooth.state_dict().items()}
        elif covered < 0.5 * self.coverage:
            self.rescues += 1
            for network in (self.model.generator, self.model.smooth):
                network.load_state_dict(self.best)
            for optimizer in (self.critic_optimizer, self.generator_optimizer):
                optimizer.mean.zero_()  # where it was going is what led astray
        return {"sample/coverage": covered, "sample/rescues": float(self.rescues)}


def train(cfg: Config, learner: Learner) -> Iterator[tuple[int, Metrics]]:
    """Updates on random batches; yields after every one."""
    while learner.step < cfg.run.steps:
        rate = cfg.lr * cosine(learner.step / cfg.run.steps)
        learner.critic_optimizer.lr = learner.generator_optimizer.lr = rate
        metrics = learner.update()
        learner.step += 1
        if cfg.guard_every and learner.step % cfg.guard_every == 0:
            metrics |= learner.guard()
        yield learner.step, metrics
