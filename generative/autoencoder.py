"""The autoencoder: Hinton and Salakhutdinov, 2006 (doi:10.1126/science.1127647).

    z = f(x),  x̂ = g(z),   L = mean over rows and columns of (x − x̂)²

on columns of mean 0 and deviation 1. The paper pre-trains layer by layer; Adam does without.

    lab train autoencoder --data digits
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from generative.parts.rows import Order, Scale
from training.config import check_positive
from training.device import fast, pick
from training.distributed import mine
from training.metrics import Metrics
from training.networks import Activation, LayerConfig, mlp
from training.optim import OptimConfig
from training.run import RunConfig
from training.seeds import stream, torch_generator


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the autoencoder."""

    data: str = "digits"  # digits, or a file: .csv .parquet .npy .npz
    latent: int = 8  # numbers in z
    hidden: tuple[int, ...] = (128, 64)  # sizes of the encoder's hidden layers; the decoder mirrors them
    activation: Activation = "silu"  # of the hidden layers
    layer: LayerConfig = field(default_factory=LayerConfig)
    batch: int = 128  # rows of an update
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=lambda: RunConfig(steps=3_000, evaluate_every=500, log_every=100))

    def __post_init__(self) -> None:
        check_positive(self, "latent", "hidden", "batch")


def reconstruction_loss(
    x: Float[Tensor, "B D"], x_hat: Float[Tensor, "B D"]
) -> tuple[Float[Tensor, ""], Metrics]:
    """L of the module docstring."""
    loss = (x - x_hat).square().mean()
    return loss, {"loss/reconstruction": loss.detach()}


class Autoencoder(nn.Module):
    """Rows (B, D), in the data's own units, to z (B, Z) and back."""

    def __init__(self, cfg: Config, columns: int) -> None:
        super().__init__()
        self.scale = Scale(columns)
        self.encoder = mlp(columns, cfg.hidden, cfg.latent, cfg.activation, layer=cfg.layer)
        self.decoder = mlp(cfg.latent, cfg.hidden[::-1], columns, cfg.activation, layer=cfg.layer)

    def scaled(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Rows as the networks see them, on their device."""
        return self.scale(x).to(self.encoder[0].weight.device)

    def encode(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B Z"]:
        """The latent code of rows."""
        return self.encoder(self.scaled(x))

    def decode(self, z: Float[Tensor, "B Z"]) -> Float[Tensor, "B D"]:
        """Rows, in the data's units, from latent codes."""
        return self.scale.back(self.decoder(z))

    def reconstruction_error(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Mean squared error of each row, columns scaled to deviation 1."""
        scaled = self.scaled(x)
        return (scaled - self.decoder(self.encoder(scaled))).square().mean(-1)

    @torch.inference_mode()
    def score(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """How strange rows are: the reconstruction error."""
        return self.reconstruction_error(x)


class Learner:
    """Everything that learning changes: model, optimizer, order of the rows, step counter."""

    STATE = ("model", "optimizer", "order", "step")

    def __init__(self, cfg: Config, x: Float[Tensor, "rows D"]) -> None:
        self.cfg = cfg
        self.device = pick(cfg.run.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(cfg.run.seed, "weights"))
            self.model = Autoencoder(cfg, x.shape[1]).to(self.device)
        self.model.scale.standardise(x)
        self.x = self.model.scaled(x)
        self.optimizer = cfg.optim.make(self.model.parameters())
        self.order = Order(torch_generator(cfg.run.seed, "autoencoder", self.device))
        self.step = 0
        self.update = fast(self._update, cfg.run.mode, cfg.run.precision)

    def _update(self, x: Float[Tensor, "B D"]) -> Metrics:
        """One step on scaled rows."""
        loss, metrics = reconstruction_loss(x, self.model.decoder(self.model.encoder(x)))
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
