"""The denoising autoencoder for a range of noise: Vincent et al., 2008 (doi:10.1145/1390156.1390294).

    z = f(x + σ ε, σ),  x̂ = g(z, σ),   L = mean over rows and columns of (1 + 1/σ²) (x − x̂)²

on columns of mean 0 and deviation 1, ε ~ N(0, 1). One network knows all σ: it is told log σ, and log σ is
drawn evenly from the range. The weight makes all σ count alike (Karras et al., 2022, arXiv:2206.00364, table
1, with data of deviation 1). Once it has learned, (x̂ − x)/σ² tells the way to where data is denser (Alain and
Bengio, 2014, arXiv:1211.4246).

    lab train denoiser --data digits
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from generative.parts.networks import Network, Plan, decoder, encoder
from generative.parts.rows import Form, Kept, Order, Scale
from training.config import check_positive
from training.device import fast, pick
from training.distributed import mine
from training.errors import InputError
from training.metrics import Metrics
from training.networks import Activation, LayerConfig
from training.optim import OptimConfig
from training.run import RunConfig
from training.seeds import stream, torch_generator


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the denoising autoencoder."""

    data: str = "digits"  # digits, a file (.csv .parquet .npy .npz IDX), or a folder of pictures
    lowest: float = 0.1  # σ, in deviations of a column
    highest: float = 1.0  # σ
    network: Network = "dense"  # conv for pictures and sequences, lstm for sequences
    latent: int = 32  # numbers in z
    hidden: tuple[int, ...] = (256, 128)  # layers of a dense encoder, which the decoder mirrors; of an lstm
    width: int = 32  # channels of a convolutional encoder's first layer
    activation: Activation = "silu"  # of the hidden layers
    batch: int = 128  # rows of an update
    layer: LayerConfig = field(default_factory=LayerConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=lambda: RunConfig(steps=3_000, evaluate_every=500, log_every=100))

    def __post_init__(self) -> None:
        check_positive(self, "lowest", "highest", "latent", "hidden", "width", "batch")
        if self.lowest > self.highest:
            raise InputError(f"lowest is {self.lowest}, expected no more than highest, {self.highest}")


def denoising_loss(
    x: Float[Tensor, "B D"], x_hat: Float[Tensor, "B D"], sigma: Float[Tensor, " B"]
) -> tuple[Float[Tensor, ""], Metrics]:
    """L of the module docstring."""
    error = (x - x_hat).square().mean(-1)
    loss = ((1 + sigma.pow(-2)) * error).mean()
    return loss, {"loss/denoising": loss.detach(), "loss/reconstruction": error.detach().mean()}


class Denoiser(nn.Module):
    """Noisy rows (B, D), in the data's own units, to z (B, Z) and to clean rows."""

    def __init__(self, cfg: Config, form: Form) -> None:
        super().__init__()
        self.register_buffer("form", form.pack())
        self.usual = math.sqrt(cfg.lowest * cfg.highest)
        self.scale = Scale(form.columns)
        plan = Plan(cfg.network, cfg.hidden, cfg.width, cfg.activation, cfg.layer)
        self.encoder = encoder(plan, form, cfg.latent, extra=1)
        self.decoder = decoder(plan, form, cfg.latent + 1)

    def scaled(self, x: Num[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Rows as the networks see them, on their device."""
        return self.scale(x).to(next(self.encoder.parameters()).device)

    def code(self, scaled: Float[Tensor, "B D"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B Z"]:
        """The latent code of scaled rows with noise of deviation sigma."""
        return self.encoder(torch.cat([scaled, sigma.log()[:, None]], 1))

    def clean(self, scaled: Float[Tensor, "B D"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B D"]:
        """x̂ for scaled rows with noise of deviation sigma."""
        return self.decoder(torch.cat([self.code(scaled, sigma), sigma.log()[:, None]], 1))

    def encode(self, x: Num[Tensor, "B D"], sigma: float | None = None) -> Float[Tensor, "B Z"]:
        """The latent code of rows with noise of deviation sigma, by default the middle of the range."""
        scaled = self.scaled(x)
        return self.code(scaled, self._sigma(scaled, sigma))

    def decode(self, z: Float[Tensor, "B Z"], sigma: float | None = None) -> Float[Tensor, "B D"]:
        """Clean rows, in the data's units."""
        level = self._sigma(z, sigma).log()[:, None]
        return self.scale.back(self.decoder(torch.cat([z, level], 1)))

    def reconstruction_error(self, x: Num[Tensor, "B D"], sigma: float | None = None) -> Float[Tensor, " B"]:
        """How far a row that is told to have noise is moved: mean square over columns, scaled."""
        scaled = self.scaled(x)
        return (scaled - self.clean(scaled, self._sigma(scaled, sigma))).square().mean(-1)

    @torch.inference_mode()
    def score(self, x: Num[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """How strange rows are: the reconstruction error in the middle of the range; nothing random in it."""
        return self.reconstruction_error(x)

    @torch.no_grad()
    def measure(self, x: Num[Tensor, "B D"], y: Int[Tensor, " B"] | None) -> tuple[float, dict[str, float]]:
        """How well rows are freed from noise of the middle of the range (higher is better)."""
        scaled = self.scaled(x)
        noise = torch.randn(
            scaled.shape, generator=torch_generator(0, "noise", scaled.device), device=scaled.device
        )
        sigma = self._sigma(scaled, None)
        error = float((scaled - self.clean(scaled + self.usual * noise, sigma)).square().mean())
        moved = float(self.reconstruction_error(x).mean())
        return -error, {"eval/score": error, "eval/reconstruction_error": moved}

    def _sigma(self, like: Float[Tensor, "B _"], sigma: float | None) -> Float[Tensor, " B"]:
        return torch.full((len(like),), self.usual if sigma is None else sigma, device=like.device)


class Learner:
    """Everything that learning changes: model, optimizer, order of the rows, noise, step counter."""

    STATE = ("model", "optimizer", "order", "generator", "step")

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
            self.model = Denoiser(cfg, form or Form(x.shape[1])).to(self.device)
        self.model.scale.standardise(x)
        self.x = Kept(self.model, x, self.device)
        self.optimizer = cfg.optim.make(self.model.parameters())
        self.order = Order(torch_generator(cfg.run.seed, "denoiser", self.device))
        self.generator = torch_generator(cfg.run.seed, "noise", self.device)
        self.step = 0
        self.update = fast(self._update, cfg.run.mode, cfg.run.precision)

    def _update(
        self, x: Float[Tensor, "B D"], noise: Float[Tensor, "B D"], share: Float[Tensor, " B"]
    ) -> Metrics:
        """One step on scaled rows; `share` says where in the range each σ is."""
        sigma = self.cfg.lowest * (self.cfg.highest / self.cfg.lowest) ** share
        loss, metrics = denoising_loss(x, self.model.clean(x + sigma[:, None] * noise, sigma), sigma)
        metrics["grad/norm"] = self.cfg.optim.descend(self.optimizer, loss)
        return metrics


def train(cfg: Config, learner: Learner) -> Iterator[tuple[int, Metrics]]:
    """Updates on random batches; yields after every one."""
    while learner.step < cfg.run.steps:
        learner.optimizer.lr = cfg.optim.lr_at(learner.step / cfg.run.steps)
        x = learner.x[learner.order.draw(len(learner.x), cfg.batch)]
        noise = torch.randn(x.shape, generator=learner.generator, device=learner.device)
        share = torch.rand(len(x), generator=learner.generator, device=learner.device)
        metrics = learner.update(mine(x), mine(noise), mine(share))
        learner.step += 1
        yield learner.step, metrics
