"""Running statistics of what comes in, saved with the model: inputs get mean 0 and deviation 1."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training import distributed

ROUNDING = 1e-7  # of the mean
SMALLEST = 1e-30  # what 32 bits can still divide by
LIMIT = 10.0  # normalised numbers are clipped to ±this: an early deviation may be far too small


def normalised(x: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Numbers of mean 0 and deviation 1, over all processes that learn together."""
    count = distributed.total(torch.tensor(float(len(x)), device=x.device))
    away = x - distributed.total(x.sum()) / count
    deviation = (distributed.total(away.square().sum()) / count).sqrt()
    return away / (deviation + 1e-8)


class RunningNorm(nn.Module):
    """Normalises the last axis by the mean and deviation of all that `update` has seen.

    Statistics are merged exactly, batch by batch (Chan et al., 1979), in float64. They change in `update`
    alone: evaluation is frozen by not calling it. Rows that are not finite are left out.
    """

    mean: Tensor
    square: Tensor
    count: Tensor

    def __init__(self, size: int, limit: float = LIMIT) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("square", torch.zeros(size, dtype=torch.float64))  # Σ (x − mean)²
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @property
    def deviation(self) -> Float[Tensor, " size"]:
        """The deviation of every column; 1 where nothing has varied yet, but for rounding in 32 bits."""
        deviation = (self.square / self.count.clamp(min=1)).sqrt()
        return torch.where(deviation > ROUNDING * self.mean.abs() + SMALLEST, deviation, 1.0)

    @torch.no_grad()
    def update(self, x: Float[Tensor, "*N size"]) -> None:
        """Takes rows into the statistics."""
        rows = x.reshape(-1, x.shape[-1]).to(self.mean)
        finite = rows.isfinite().all(-1, keepdim=True)
        rows, count = torch.where(finite, rows, 0.0), distributed.total(finite.sum())
        mean = distributed.total(rows.sum(0)) / count.clamp(min=1)
        square = distributed.total(((rows - mean) * finite).square().sum(0))
        total = (self.count + count).clamp(min=1)
        away = mean - self.mean
        self.square += square + away.square() * self.count * count / total
        self.mean += away * count / total
        self.count += count

    def forward(self, x: Float[Tensor, "*N size"]) -> Float[Tensor, "*N size"]:
        scaled = (x - self.mean.to(x.dtype)) / self.deviation.to(x.dtype)
        return scaled.clamp(-self.limit, self.limit)

    def back(self, x: Float[Tensor, "*N size"]) -> Float[Tensor, "*N size"]:
        """The inverse of forward, but for what was clipped."""
        return x * self.deviation.to(x.dtype) + self.mean.to(x.dtype)
