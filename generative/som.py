"""The self-organising map: Kohonen, 1982 (doi:10.1007/BF00337288).

    b(x) = argmin_j |x − w_j|,   h_j = exp(−|r_j − r_b|² / 2 ρ²)
    L = mean over rows of ½ Σ_j h_j |x − w_j|²
    w_j ← w_j + α Σ_x h_j (x − w_j) / max(1, Σ_x h_j)

r_j is the place of unit j in the grid, ρ the radius and α the rate, which fall geometrically. For one row the
step is Kohonen's: down L by α; in a batch no unit goes farther than the mean of the rows that pull it.

    lab train som --data digits
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from generative.parts.rows import Form, Kept, Order, Scale
from training.config import check_positive
from training.device import fast, pick
from training.errors import InputError
from training.metrics import Metrics
from training.run import RunConfig
from training.seeds import torch_generator


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the self-organising map."""

    data: str = "digits"  # digits, a file (.csv .parquet .npy .npz IDX), or a folder of pictures
    height: int = 12  # units
    width: int = 12  # units
    radius: float = 4.0  # ρ at the start, in units
    last_radius: float = 0.5  # ρ at the end
    rate: float = 0.5  # α at the start
    last_rate: float = 0.05  # α at the end
    batch: int = 32  # rows of an update
    run: RunConfig = field(default_factory=lambda: RunConfig(steps=2_000, evaluate_every=500, log_every=100))

    def __post_init__(self) -> None:
        if self.run.precision in ("bf16", "fp16"):
            raise InputError(
                f"precision is {self.run.precision}, expected fp32 or tf32: distances need their digits"
            )
        check_positive(self, "height", "width", "radius", "last_radius", "rate", "last_rate", "batch")
        if self.height * self.width < 2 or max(self.rate, self.last_rate) > 1:
            raise InputError(
                f"the grid is {self.height} × {self.width} and the rate {max(self.rate, self.last_rate)},"
                " expected two units or more, and a rate up to 1"
            )


def neighbourhood(
    best: Int[Tensor, " B"], places: Float[Tensor, "U 2"], radius: float
) -> Float[Tensor, "B U"]:
    """h of the module docstring."""
    return (-(places - places[best][:, None]).square().sum(-1) / (2 * radius**2)).exp()


def som_loss(
    x: Float[Tensor, "B D"], units: Float[Tensor, "U D"], near: Float[Tensor, "B U"]
) -> tuple[Float[Tensor, ""], Metrics]:
    """L of the module docstring, `near` being h."""
    loss = 0.5 * (near * torch.cdist(x, units).square()).sum(-1).mean()
    return loss, {"loss/som": loss.detach()}


class SOM(nn.Module):
    """A grid of units, each a row of D scaled numbers; rows (B, D) come in the data's own units."""

    units: Tensor
    places: Tensor

    def __init__(self, cfg: Config, form: Form) -> None:
        super().__init__()
        self.height, self.width = cfg.height, cfg.width
        self.scale = Scale(form.columns)
        self.register_buffer("form", form.pack())
        self.register_buffer("units", torch.zeros(cfg.height * cfg.width, form.columns))
        grid = torch.cartesian_prod(torch.arange(cfg.height), torch.arange(cfg.width))
        self.register_buffer("places", grid.float())

    def scaled(self, x: Num[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Rows as the units are, on their device."""
        return self.scale(x).to(self.units.device)

    def map(self, x: Num[Tensor, "B D"]) -> Int[Tensor, "B 2"]:
        """The row and column in the grid of the unit nearest to each row."""
        return self.places[torch.cdist(self.scaled(x), self.units).argmin(1)].long()

    def prototypes(self) -> Float[Tensor, "U D"]:
        """What the units stand for, in the data's units; the grid row by row."""
        return self.scale.back(self.units)

    def quantisation_error(self, x: Num[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """The distance of each row to the nearest unit, columns scaled."""
        return torch.cdist(self.scaled(x), self.units).amin(1)

    def reconstruction_error(self, x: Num[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Mean squared error of each row when the nearest unit stands for it, columns scaled."""
        return self.quantisation_error(x).square() / self.units.shape[1]

    def topographic_error(self, x: Num[Tensor, "B D"]) -> float:
        """The share of rows whose two nearest units do not touch, not even at a corner."""
        nearest = torch.cdist(self.scaled(x), self.units).topk(2, largest=False).indices
        apart = (self.places[nearest[:, 0]] - self.places[nearest[:, 1]]).abs().amax(1)
        return float((apart > 1).double().mean())

    def u_matrix(self) -> Float[Tensor, "height width"]:
        """The mean distance of each unit to those beside, above and below: ridges part clusters (Ultsch)."""
        beside = torch.cdist(self.places, self.places) == 1
        distance = torch.cdist(self.units, self.units)
        return ((distance * beside).sum(1) / beside.sum(1)).unflatten(0, (self.height, self.width))

    @torch.inference_mode()
    def score(self, x: Num[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """How strange rows are: the quantisation error."""
        return self.quantisation_error(x)

    @torch.no_grad()
    def measure(self, x: Num[Tensor, "B D"], y: Int[Tensor, " B"] | None) -> tuple[float, dict[str, float]]:
        """How near the map comes to rows (higher is better), and whether it is folded."""
        error = float(self.quantisation_error(x).mean())
        return -error, {
            "eval/score": error,
            "eval/reconstruction_error": float(self.reconstruction_error(x).mean()),
            "eval/topographic_error": self.topographic_error(x),
        }


class Learner:
    """Everything that learning changes: the units, the order of the rows, the step counter."""

    STATE = ("model", "order", "step")

    def __init__(
        self,
        cfg: Config,
        x: Num[Tensor, "rows D"],
        y: Int[Tensor, " rows"] | None = None,
        form: Form | None = None,
    ) -> None:
        self.cfg = cfg
        self.device = pick(cfg.run.device)
        self.model = SOM(cfg, form or Form(x.shape[1])).to(self.device)
        self.model.scale.standardise(x)
        self.x = Kept(self.model, x, self.device)
        generator = torch_generator(cfg.run.seed, "som", self.device)
        start = torch.randint(len(x), (len(self.model.units),), generator=generator, device=self.device)
        self.model.units.copy_(self.x[start])
        self.order = Order(generator)
        self.step = 0
        self.update = fast(self._update, cfg.run.mode)

    @torch.no_grad()
    def _update(self, x: Float[Tensor, "B D"], radius: float, rate: float) -> Metrics:
        """One step of the module docstring on scaled rows."""
        units = self.model.units
        near = neighbourhood(torch.cdist(x, units).argmin(1), self.model.places, radius)
        _, metrics = som_loss(x, units, near)
        weight = near.sum(0)[:, None]
        units.add_((near.T @ x - weight * units) / weight.clamp(min=1), alpha=rate)
        return metrics


def train(cfg: Config, learner: Learner) -> Iterator[tuple[int, Metrics]]:
    """Updates on random batches; yields after every one."""
    while learner.step < cfg.run.steps:
        done = learner.step / cfg.run.steps
        radius = cfg.radius * (cfg.last_radius / cfg.radius) ** done
        rate = cfg.rate * (cfg.last_rate / cfg.rate) ** done
        metrics = learner.update(learner.x[learner.order.draw(len(learner.x), cfg.batch)], radius, rate)
        learner.step += 1
        yield learner.step, metrics
