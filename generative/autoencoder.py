"""The autoencoder: Hinton and Salakhutdinov, 2006 (doi:10.1126/science.1127647).

    z = f(x),  x̂ = g(z),   L = mean over rows and columns of (x − x̂)²

on columns of mean 0 and deviation 1. The paper pre-trains layer by layer; Adam does without. With `missing`,
f sees zeros where numbers are missing and is told where, and L is the mean over those that are there.

    lab train autoencoder --data digits
"""

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
from training.metrics import Metrics
from training.networks import Activation, LayerConfig
from training.optim import OptimConfig
from training.run import RunConfig
from training.seeds import stream, torch_generator


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the autoencoder."""

    data: str = "digits"  # digits, a file (.csv .parquet .npy .npz IDX), or a folder of pictures
    missing: bool = False  # numbers may be missing (NaN)
    network: Network = "dense"  # conv for pictures and sequences, lstm for sequences
    latent: int = 8  # numbers in z
    hidden: tuple[int, ...] = (128, 64)  # layers of a dense encoder, which the decoder mirrors; of an lstm
    width: int = 32  # channels of a convolutional encoder's first layer
    activation: Activation = "silu"  # of the hidden layers
    batch: int = 128  # rows of an update
    layer: LayerConfig = field(default_factory=LayerConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=lambda: RunConfig(steps=3_000, evaluate_every=500, log_every=100))

    def __post_init__(self) -> None:
        check_positive(self, "latent", "hidden", "width", "batch")


def squared_error(x: Float[Tensor, "B D"], x_hat: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    """(x − x̂)², zero where x is missing: and so is its gradient."""
    return torch.where(x.isnan(), 0.0, x.nan_to_num(0.0) - x_hat).square()


def reconstruction_loss(
    x: Float[Tensor, "B D"], x_hat: Float[Tensor, "B D"]
) -> tuple[Float[Tensor, ""], Metrics]:
    """L of the module docstring; numbers of x that are missing do not count."""
    loss = squared_error(x, x_hat).sum() / (~x.isnan()).sum().clamp(min=1)
    return loss, {"loss/reconstruction": loss.detach()}


class Autoencoder(nn.Module):
    """Rows (B, D), in the data's own units, to z (B, Z) and back."""

    def __init__(self, cfg: Config, form: Form) -> None:
        super().__init__()
        self.register_buffer("form", form.pack())
        self.missing = cfg.missing
        self.scale = Scale(form.columns)
        plan = Plan(cfg.network, cfg.hidden, cfg.width, cfg.activation, cfg.layer)
        told = form.columns if cfg.missing else 0
        self.encoder = encoder(plan, form, cfg.latent, extra=told)
        self.decoder = decoder(plan, form, cfg.latent)

    def scaled(self, x: Num[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Rows as the networks see them, on their device."""
        return self.scale(x).to(next(self.encoder.parameters()).device)

    def code(self, scaled: Float[Tensor, "B D"]) -> Float[Tensor, "B Z"]:
        """The latent code of scaled rows."""
        if not self.missing:
            return self.encoder(scaled)
        return self.encoder(torch.cat([scaled.nan_to_num(0.0), scaled.isnan().float()], 1))

    def encode(self, x: Num[Tensor, "B D"]) -> Float[Tensor, "B Z"]:
        """The latent code of rows."""
        return self.code(self.scaled(x))

    def decode(self, z: Float[Tensor, "B Z"]) -> Float[Tensor, "B D"]:
        """Rows, in the data's units, from latent codes; nothing is missing in them."""
        return self.scale.back(self.decoder(z))

    def reconstruction_error(self, x: Num[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Mean squared error of each row over what is there, columns scaled to deviation 1."""
        scaled = self.scaled(x)
        error = squared_error(scaled, self.decoder(self.code(scaled)))
        return error.sum(-1) / (~scaled.isnan()).sum(-1).clamp(min=1)

    @torch.inference_mode()
    def score(self, x: Num[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """How strange rows are: the reconstruction error."""
        return self.reconstruction_error(x)

    @torch.no_grad()
    def measure(self, x: Num[Tensor, "B D"], y: Int[Tensor, " B"] | None) -> tuple[float, dict[str, float]]:
        """How well rows are explained (higher is better); labels change nothing."""
        error = float(self.reconstruction_error(x).mean())
        return -error, {"eval/score": error, "eval/reconstruction_error": error}


class Learner:
    """Everything that learning changes: model, optimizer, order of the rows, step counter."""

    STATE = ("model", "optimizer", "order", "step")

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
            self.model = Autoencoder(cfg, form or Form(x.shape[1])).to(self.device)
        self.model.scale.standardise(x)
        self.x = Kept(self.model, x, self.device)
        self.optimizer = cfg.optim.make(self.model.parameters())
        self.order = Order(torch_generator(cfg.run.seed, "autoencoder", self.device))
        self.step = 0
        self.update = fast(self._update, cfg.run.mode, cfg.run.precision)

    def _update(self, x: Float[Tensor, "B D"]) -> Metrics:
        """One step on scaled rows."""
        loss, metrics = reconstruction_loss(x, self.model.decoder(self.model.code(x)))
        metrics["grad/norm"] = self.cfg.optim.descend(self.optimizer, loss)
        return metrics


def train(cfg: Config, learner: Learner) -> Iterator[tuple[int, Metrics]]:
    """Updates on random batches; yields after every one."""
    while learner.step < cfg.run.steps:
        learner.optimizer.lr = cfg.optim.lr_at(learner.step / cfg.run.steps)
        rows = learner.order.draw(len(learner.x), cfg.batch)
        metrics = learner.update(learner.x[mine(rows)])
        learner.step += 1
        yield learner.step, metrics
