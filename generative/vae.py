"""The variational autoencoder: Kingma and Welling, 2014 (arXiv:1312.6114); β: Higgins et al., 2017.

    q(z|x) = N(μ(x), σ²(x)),  p(z) = N(0, 1),   z = μ + σ ε
    L = mean over rows of  −log p(x|z) + β KL(q(z|x) ‖ p(z))
    KL = ½ Σ (μ² + σ² − 1 − log σ²)                                   (appendix B)

With free bits λ a latent dimension whose KL is below λ nats is not pressed further (Kingma et al., 2016,
arXiv:1606.04934). With k importance samples (Burda et al., 2016, arXiv:1509.00519)

    L = −log 1/k Σ w_i,   w = p(x|z) (p(z) / q(z|x))^β

p(x|z) is normal with one learned deviation a column, after Rybkin et al., 2021 (arXiv:2006.13202), on
columns of mean 0 and deviation 1; Bernoulli, on values stretched to 0 .. 1, for images, which may be drawn
black and white anew at every update; a choice among the values of each column; or what suits each column.

    lab train vae --data digits
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from generative.parts import bounds
from generative.parts.likelihoods import Likelihood, Mixed, bernoulli_nll, gaussian_nll, values_of
from generative.parts.networks import Network, Plan, decoder, encoder
from generative.parts.rows import Form, Kept, Order, Scale, beside, one_hot, watched
from training.config import check_not_negative, check_positive
from training.device import fast, pick
from training.distributed import mine
from training.errors import InputError
from training.metrics import Metrics
from training.networks import Activation, LayerConfig, evaluating
from training.optim import OptimConfig
from training.run import RunConfig
from training.seeds import stream, torch_generator

MIN_LOG_SIGMA = math.log(1e-3)  # a column that z explains exactly would take the density to infinity
WATCHED = 1_000  # rows on which it is judged whether z carries anything
BLOCK = 200  # rows whose bound is sampled at once


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the VAE."""

    data: str = "digits"  # digits, a file (.csv .parquet .npy .npz IDX), or a folder of pictures
    likelihood: Likelihood = "gaussian"  # p(x|z); bernoulli by the presets of digits and MNIST alone
    binarise: bool = False  # bernoulli: pixels are drawn black or white by their brightness at every update
    conditional: bool = False  # encoder and decoder are told a row's label
    network: Network = "dense"  # conv for pictures and sequences, lstm for sequences
    latent: int = 8  # numbers in z
    hidden: tuple[int, ...] = (128, 64)  # layers of a dense encoder, which the decoder mirrors; of an lstm
    width: int = 32  # channels of a convolutional encoder's first layer
    activation: Activation = "silu"  # of the hidden layers
    beta: float = 1.0  # β, weight of the KL term
    warm_up: int = 500  # updates over which β rises from 0
    free_bits: float = 0.0  # λ, nats of a latent dimension that cost nothing
    samples: int = 1  # k, importance samples of a row; 1: the plain bound
    batch: int = 128  # rows of an update
    layer: LayerConfig = field(default_factory=LayerConfig)
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(max_norm=100.0))
    run: RunConfig = field(default_factory=lambda: RunConfig(steps=3_000, evaluate_every=500, log_every=100))

    def __post_init__(self) -> None:
        check_positive(self, "latent", "hidden", "width", "samples", "batch")
        check_not_negative(self, "beta", "warm_up", "free_bits")
        if self.choices and self.network != "dense":
            raise InputError(f"network is {self.network!r}, the likelihood {self.likelihood!r} expects dense")
        if self.binarise and self.likelihood != "bernoulli":
            raise InputError(f"likelihood is {self.likelihood!r}, --binarise expects bernoulli")
        if self.samples > 1 and self.free_bits:
            raise InputError(f"free_bits is {self.free_bits} with {self.samples} samples, expected 0")

    @property
    def choices(self) -> bool:
        """Whether columns are choices among values."""
        return self.likelihood in ("categorical", "mixed")


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
    """Rows (B, D), in the data's own units, to distributions of z (B, Z) and back.

    What the networks see are scaled rows (B, E); E is D but where columns are choices. A conditional model
    takes labels y (B,); where scores need them and none are told, the likeliest label counts.
    """

    def __init__(self, cfg: Config, form: Form) -> None:
        super().__init__()
        if cfg.conditional and form.classes < 2:
            raise InputError(f"the data has {form.classes} labels, a conditional VAE expects 2 or more")
        self.register_buffer("form", form.pack())
        self.likelihood, self.binarise = cfg.likelihood, cfg.binarise
        self.latent, self.classes = cfg.latent, form.classes if cfg.conditional else 0
        self.scale = Scale(form.columns)
        self.mixed = Mixed(form) if cfg.choices else None
        seen = form if self.mixed is None else Form(self.mixed.columns)
        plan = Plan(cfg.network, cfg.hidden, cfg.width, cfg.activation, cfg.layer)
        self.encoder = encoder(plan, seen, 2 * cfg.latent, extra=self.classes)
        self.decoder = decoder(plan, seen, cfg.latent + self.classes)
        learned = cfg.likelihood == "gaussian" or (cfg.likelihood == "mixed" and not all(form.values))
        self.log_sigma = nn.Parameter(torch.zeros(form.columns), requires_grad=learned)

    def fit_scale(self, x: Num[Tensor, "B D"]) -> None:
        """Learns the columns' scale: deviation 1, or 0 .. 1 for the Bernoulli likelihood."""
        (self.scale.stretch if self.likelihood == "bernoulli" else self.scale.standardise)(x)

    def scaled(self, x: Num[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        """Rows as the networks see them, on their device; for the Bernoulli likelihood clipped to 0 .. 1."""
        scaled = self.scale(x) if self.mixed is None else self.mixed.scaled(x, self.scale)
        scaled = scaled.to(self.log_sigma.device)
        return scaled.clamp(0, 1) if self.likelihood == "bernoulli" else scaled

    def drawn(self, scaled: Float[Tensor, "B E"], generator: torch.Generator) -> Float[Tensor, "B E"]:
        """Rows as one update sees them: black and white if the model binarises."""
        return torch.bernoulli(scaled, generator=generator) if self.binarise else scaled

    def posterior(
        self, scaled: Float[Tensor, "B E"], y: Int[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B Z"], Float[Tensor, "B Z"]]:
        """Mean and log-variance of q(z|x); the variance is kept within e^±10."""
        mean, log_var = self.encoder(beside(scaled, one_hot(y, self.classes))).float().chunk(2, -1)
        return mean, log_var.clamp(-10, 10)

    def nll(
        self, scaled: Float[Tensor, "B E"], z: Float[Tensor, "*k B Z"], y: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "*k B"]:
        """−log p(x|z) of each row, x scaled; of each of k draws of z when there are some."""
        labels = None if y is None else y.expand(z.shape[:-1]).flatten()
        out = self.decoder(beside(z.flatten(0, -2), one_hot(labels, self.classes))).unflatten(0, z.shape[:-1])
        log_sigma = self.log_sigma.clamp(min=MIN_LOG_SIGMA)
        scaled = scaled.expand_as(out)
        if self.mixed is not None:
            return self.mixed.nll(scaled, out, log_sigma)
        if self.likelihood == "bernoulli":
            return bernoulli_nll(scaled, out)
        return gaussian_nll(scaled, out, log_sigma)

    def encode(self, x: Num[Tensor, "B D"], y: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B Z"]:
        """The mean of q(z|x)."""
        return self.posterior(self.scaled(x), y)[0]

    def decode(self, z: Float[Tensor, "B Z"], y: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B D"]:
        """The mean of p(x|z), in the data's units; of choices the likeliest."""
        out = self.decoder(beside(z, one_hot(y, self.classes)))
        if self.mixed is not None:
            return self.mixed.back(out, self.scale)
        return self.scale.back(out.sigmoid() if self.likelihood == "bernoulli" else out)

    @torch.no_grad()
    def sample(self, count: int, seed: int, y: Int[Tensor, " B"] | None = None) -> Float[Tensor, "count D"]:
        """Means of p(x|z), z drawn from p(z); the same seed draws the same. Labels go round unless told."""
        device = self.log_sigma.device
        y = torch.arange(count) % self.classes if self.classes and y is None else y
        z = torch.randn(count, self.latent, generator=torch_generator(seed, "sample", device), device=device)
        return self.decode(z, None if y is None else y.to(device))

    @torch.no_grad()
    def log_likelihood(
        self, x: Num[Tensor, "B D"], k: int, seed: int = 0, y: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, " B"]:
        """The lower bound of log p(x) with k importance samples, in nats, of scaled rows.

        It tightens as k grows. A model that binarises draws x black and white once, by the seed.
        """
        generator = torch_generator(seed, "bound", self.log_sigma.device)
        found = []
        for n, part in enumerate(x.split(BLOCK)):
            labels = None if y is None else y[n * BLOCK : (n + 1) * BLOCK]
            rows = self.drawn(self.scaled(part), generator)
            nll = partial(self.nll, rows, y=labels)
            mean, log_var = self.posterior(rows, labels)
            found.append(bounds.importance_bound(nll, mean, log_var, k=k, generator=generator))
        return torch.cat(found)

    def reconstruction_error(
        self, x: Num[Tensor, "B D"], y: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, " B"]:
        """Mean squared error of each row through the mean of q(z|x), columns scaled."""
        return self._least(
            x, y, lambda y: (self.scale(x) - self.scale(self.decode(self.encode(x, y), y))).square().mean(-1)
        )

    @torch.inference_mode()
    def score(self, x: Num[Tensor, "B D"], y: Int[Tensor, " B"] | None = None) -> Float[Tensor, " B"]:
        """How strange rows are: the negative bound with z at its mean, in nats; nothing random in it."""
        scaled = self.scaled(x)

        def bound(y: Tensor | None) -> Tensor:
            mean, log_var = self.posterior(scaled, y)
            return self.nll(scaled, mean, y) + bounds.kl_divergence(mean, log_var)

        return self._least(x, y, bound)

    @torch.no_grad()
    def measure(self, x: Num[Tensor, "B D"], y: Int[Tensor, " B"] | None) -> tuple[float, dict[str, float]]:
        """How well rows are explained (higher is better), and what each latent dimension carries."""
        y = y if self.classes else None
        score, error = float(self.score(x, y).mean()), float(self.reconstruction_error(x, y).mean())
        told = {"eval/score": score, "eval/reconstruction_error": error}
        return -score, told | bounds.latent_metrics(*self.posterior(self.scaled(x), y))

    def _least(self, x: Tensor, y: Tensor | None, of: Callable[[Tensor | None], Tensor]) -> Tensor:
        """`of` the labels y; for a conditional model that is told none, the least of it over all labels."""
        if y is not None or not self.classes:
            return of(y)
        device = self.log_sigma.device
        return torch.stack([of(torch.full((len(x),), c, device=device)) for c in range(self.classes)]).amin(0)


class Learner:
    """Everything that learning changes: model, optimizer, order of the rows, step counter, noise."""

    STATE = ("model", "optimizer", "generator", "order", "step")

    def __init__(
        self, cfg: Config, x: Num[Tensor, "rows D"], y: Int[Tensor, " rows"] | None = None,
        form: Form | None = None,
    ) -> None:  # fmt: skip
        self.cfg = cfg
        self.device = pick(cfg.run.device)
        form = form or Form(x.shape[1])
        if cfg.choices:
            form = replace(form, values=values_of(x, cfg.likelihood == "categorical"))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(cfg.run.seed, "weights"))
            self.model = VAE(cfg, form).to(self.device)
        self.model.fit_scale(x)
        self.x = Kept(self.model, x.double() if cfg.choices else x, self.device)  # choices are kept one-hot
        self.y = y.to(self.device) if y is not None and cfg.conditional else None
        self.optimizer = cfg.optim.make(p for p in self.model.parameters() if p.requires_grad)
        self.generator = torch_generator(cfg.run.seed, "vae", self.device)
        self.order = Order(self.generator)
        self.step = 0
        self.update = fast(self._update, cfg.run.mode, cfg.run.precision)

    @property
    def beta(self) -> float:
        """The weight of the KL term now."""
        return self.cfg.beta * min(1.0, (self.step + 1) / max(1, self.cfg.warm_up))

    def _update(
        self,
        x: Float[Tensor, "B E"],
        y: Int[Tensor, " B"] | None,
        noise: Float[Tensor, "*k B Z"],
        beta: float,
    ) -> Metrics:
        """One step on scaled rows."""
        mean, log_var = self.model.posterior(x, y)
        z = mean + (0.5 * log_var).exp() * noise
        nll, kl = self.model.nll(x, z, y), bounds.kl_per_dimension(mean, log_var)
        if self.cfg.samples > 1:
            weights = bounds.log_weights(nll, noise, z, log_var, beta=beta)
            loss, metrics = bounds.importance_loss(weights, kl.sum(-1), nll)
        else:
            loss, metrics = vae_loss(nll, kl.sum(-1), beta=beta)
        if self.cfg.free_bits:
            loss = loss + bounds.free_bits_loss(kl, free=self.cfg.free_bits, beta=beta)
        metrics["grad/norm"] = self.cfg.optim.descend(self.optimizer, loss)
        return metrics


def train(cfg: Config, learner: Learner) -> Iterator[tuple[int, Metrics]]:
    """Updates on random batches; yields after every one. Warns in the end if z carries next to nothing."""
    k = (cfg.samples,) if cfg.samples > 1 else ()
    while learner.step < cfg.run.steps:
        learner.optimizer.lr = cfg.optim.lr_at(learner.step / cfg.run.steps)
        index = learner.order.draw(len(learner.x), cfg.batch)
        x = learner.model.drawn(learner.x[index], learner.generator)
        y = None if learner.y is None else mine(learner.y[index])
        noise = torch.randn(len(x), *k, cfg.latent, generator=learner.generator, device=learner.device)
        noise = mine(noise).movedim(0, -2)  # rows first while processes share them, samples first after
        metrics = learner.update(mine(x), y, noise, learner.beta)
        learner.step += 1
        yield learner.step, metrics
    if learner.step >= cfg.warm_up:
        rows = watched(len(learner.x), WATCHED).to(learner.device)
        with torch.no_grad(), evaluating(learner.model):
            y = learner.y if learner.y is None else learner.y[rows]
            bounds.warn_of_collapse(learner.model.posterior(learner.x[rows], y)[0])
