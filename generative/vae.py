"""The variational autoencoder: Kingma and Welling, 2014 (arXiv:1312.6114); β: Higgins et al., 2017.

    q(z|x) = N(μ(x), σ²(x)),  p(z) = N(0, 1),   z = μ + σ ε
    L = mean over rows of  −log p(x|z) + β KL(q(z|x) ‖ p(z))
    KL = ½ Σ (μ² + σ² − 1 − log σ²)                                   (appendix B)

p(x|z) is normal with one learned deviation a column, after Rybkin et al., 2021 (arXiv:2006.13202), on
columns of mean 0 and deviation 1; or Bernoulli, on values stretched to 0 .. 1, for images.

    lab train vae --data digits
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from generative.parts.rows import Order, Scale
from training.config import check_not_negative, check_positive
from training.device import fast, pick
from training.distributed import mine
from training.metrics import Metrics
from training.networks import Activation, LayerConfig, mlp
from training.optim import OptimConfig
from training.run import RunConfig
from training.seeds import stream, torch_generator

MIN_LOG_SIGMA = math.log(1e-3)  # a column that z explains exactly would take the density to infinity


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the VAE."""

    data: str = "digits"  # digits, or a file: .csv .parquet .npy .npz
    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"  # p(x|z): any numbers, or images
    latent: int = 8  # numbers in z
    hidden: tuple[int, ...] = (128, 64)  # sizes of the encoder's hidden layers; the decoder mirrors them
    activation: Activation = "silu"  # of the hidden layers
    beta: float = 1.0  # β, weight of the KL term
    warm_up: int = 500  # updates over which β rises from 0
    layer: LayerConfig = field(default_factory=LayerConfig)
    batch: int = 128  # rows of an update
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(max_norm=100.0))
    run: RunConfig = field(default_factory=lambda: RunConfig(steps=3_000, evaluate_every=500, log_every=100))

    def __post_init__(self) -> None:
        check_positive(self, "latent", "hidden", "batch")
        check_not_negative(self, "beta", "warm_up")


def gaussian_nll(
    x: Float[Tensor, "B D"], x_hat: Float[Tensor, "B D"], log_sigma: Float[Tensor, " D"]
) -> Float[Tensor, " B"]:
    """−log N(x; x̂, σ²), summed over columns, in nats."""
    z = (x - x_hat) * (-log_sigma).exp()
    return (0.5 * z.square() + log_sigma + 0.5 * math.log(2 * math.pi)).sum(-1)


def bernoulli_nll(x: Float[Tensor, "B D"], logits: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """−log Bernoulli(x; sigmoid(logits)), summed over columns, in nats; x lies in 0 .. 1."""
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


def kl_divergence(mean: Float[Tensor, "B Z"], log_var: Float[Tensor, "B Z"]) -> Float[Tensor, " B"]:
    """KL(N(mean, exp log_var) ‖ N(0, 1)), summed over z, in nats."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)


def vae_loss(
    nll: Float[Tensor, " B"], kl: Float[Tensor, " B"], *, beta: float
) -> tuple[Float[Tensor, ""], Metrics]:
    """L of the module docstring."""
    reconstruction, divergence = nll.mean(), kl.mean()
    loss = reconstruction + beta * divergence
    return loss, {
        "loss/negative_elbo": (reconstruction + divergence).detach(),
        "loss/reconstruction": reconstruction.detach(),
        "latent/kl": divergence.detach(),
    }


class VAE(nn.Module):
    """Rows (B, D), in the data's own units, to distributions of z (B, Z) and back."""

    def __init__(self, cfg: Config, columns: int) -> None:
        super().__init__()
        self.likelihood = cfg.likelihood
        self.latent = cfg.latent
        self.scale = Scale(columns)
        self.encoder = mlp(columns, cfg.hidden, 2 * cfg.latent, cfg.activation, layer=cfg.layer)
        self.decoder = mlp(cfg.latent, cfg.hidden[::-1], columns, cfg.activation, layer=cfg.layer)
        self.log_sigma = nn.Parameter(torch.zeros(columns), requires_grad=cfg.likelihood == "gaussian")

    def fit_scale(self, x: Float[Tensor, "B D"]) -> None:
        """Learns the columns' scale: deviation 1, or 0 .. 1 for the Bernoulli likelihood."""
        if self.likelihood == "gaussian":
            self.scale.standardise(x)
        else:
            self.scale.stretch(x)

    def scaled(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Rows as the networks see them, on their device; for the Bernoulli likelihood clipped to 0 .. 1."""
        scaled = self.scale(x).to(self.log_sigma.device)
        return scaled if self.likelihood == "gaussian" else scaled.clamp(0, 1)

    def posterior(self, scaled: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B Z"], Float[Tensor, "B Z"]]:
        """Mean and log-variance of q(z|x); the variance is kept within e^±10."""
        mean, log_var = self.encoder(scaled).chunk(2, -1)
        return mean, log_var.clamp(-10, 10)

    def nll(self, scaled: Float[Tensor, "B D"], z: Float[Tensor, "B Z"]) -> Float[Tensor, " B"]:
        """−log p(x|z) of each row, x scaled."""
        if self.likelihood == "bernoulli":
            return bernoulli_nll(scaled, self.decoder(z))
        return gaussian_nll(scaled, self.decoder(z), self.log_sigma.clamp(min=MIN_LOG_SIGMA))

    def encode(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B Z"]:
        """The mean of q(z|x)."""
        return self.posterior(self.scaled(x))[0]

    def decode(self, z: Float[Tensor, "B Z"]) -> Float[Tensor, "B D"]:
        """The mean of p(x|z), in the data's units."""
        out = self.decoder(z)
        return self.scale.back(out.sigmoid() if self.likelihood == "bernoulli" else out)

    def sample(self, count: int, seed: int) -> Float[Tensor, "count D"]:
        """Means of p(x|z) for z drawn from p(z); the same seed draws the same."""
        device = self.log_sigma.device
        return self.decode(
            torch.randn(count, self.latent, generator=torch_generator(seed, "sample", device), device=device)
        )

    def reconstruction_error(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Mean squared error of each row through the mean of q(z|x), columns scaled."""
        return (self.scale(x) - self.scale(self.decode(self.encode(x)))).square().mean(-1)

    @torch.inference_mode()
    def score(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """How strange rows are: the negative bound with z at its mean, in nats; nothing random in it."""
        scaled = self.scaled(x)
        mean, log_var = self.posterior(scaled)
        return self.nll(scaled, mean) + kl_divergence(mean, log_var)


class Learner:
    """Everything that learning changes: model, optimizer, order of the rows, step counter, noise."""

    STATE = ("model", "optimizer", "generator", "order", "step")

    def __init__(self, cfg: Config, x: Float[Tensor, "rows D"]) -> None:
        self.cfg = cfg
        self.device = pick(cfg.run.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(cfg.run.seed, "weights"))
            self.model = VAE(cfg, x.shape[1]).to(self.device)
        self.model.fit_scale(x)
        self.x = self.model.scaled(x)
        learned = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = cfg.optim.make(learned)
        self.generator = torch_generator(cfg.run.seed, "vae", self.device)
        self.order = Order(self.generator)
        self.step = 0
        self.update = fast(self._update, cfg.run.mode, cfg.run.precision)

    @property
    def beta(self) -> float:
        """The weight of the KL term now."""
        return self.cfg.beta * min(1.0, (self.step + 1) / max(1, self.cfg.warm_up))

    def _update(self, x: Float[Tensor, "B D"], noise: Float[Tensor, "B Z"], beta: float) -> Metrics:
        """One step on scaled rows."""
        mean, log_var = self.model.posterior(x)
        nll = self.model.nll(x, mean + (0.5 * log_var).exp() * noise)
        loss, metrics = vae_loss(nll, kl_divergence(mean, log_var), beta=beta)
        metrics["grad/norm"] = self.cfg.optim.descend(self.optimizer, loss)
        return metrics


def train(cfg: Config, learner: Learner) -> Iterator[tuple[int, Metrics]]:
    """Updates on random batches; yields after every one."""
    while learner.step < cfg.run.steps:
        learner.optimizer.lr = cfg.optim.lr_at(learner.step / cfg.run.steps)
        rows = learner.order.draw(len(learner.x), cfg.batch)
        noise = torch.randn(len(rows), cfg.latent, generator=learner.generator, device=learner.device)
        metrics = learner.update(learner.x[mine(rows)], mine(noise), learner.beta)
        learner.step += 1
        yield learner.step, metrics
