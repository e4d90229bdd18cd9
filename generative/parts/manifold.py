"""Do samples lie where data lies, and everywhere there? Counted in balls round the rows.

A ball reaches from a row to its k-th nearest other row of the same set.

    precision  share of samples in a ball of the data                      (arXiv:1904.06991)
    recall     share of the data in a ball of the samples
    density    balls of the data round a sample, over k, in the mean; data itself has 1 (arXiv:2002.09797)
    coverage   share of the data with a sample in its ball
"""

from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 1_000  # rows whose distances are held at once


@dataclass(frozen=True)
class Manifold:
    """What the module docstring defines."""

    precision: float
    recall: float
    density: float
    coverage: float

    def row(self, group: str) -> dict[str, float]:
        """The four as metrics."""
        return {f"{group}/{name}": value for name, value in asdict(self).items()}


def distances(a: Float[Tensor, "N F"], b: Float[Tensor, "M F"]) -> Float[Tensor, "N M"]:
    """Of each row of a to each of b, from their differences: equal rows are 0 apart."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def radii(x: Float[Tensor, "N F"], k: int) -> Float[Tensor, " N"]:
    """The distance of each row to its k-th nearest other row, or to the farthest when there are fewer.

    A row that has no other has the radius 0.
    """
    if len(x) < 2:
        return torch.zeros(len(x), dtype=x.dtype)
    k, found = min(k, len(x) - 1), []
    for rows, own in zip(x.split(BLOCK), torch.arange(len(x))[:, None].split(BLOCK), strict=True):
        found.append(distances(rows, x).scatter_(1, own, torch.inf).kthvalue(k, -1).values)
    return torch.cat(found)


def manifold(data: Float[Tensor, "N F"], samples: Float[Tensor, "M F"], k: int = 5) -> Manifold:
    """The four numbers of rows of features, counted in float64 on the CPU, as some devices have none."""
    data, samples = data.cpu().double(), samples.cpu().double()
    reach, own_reach = radii(data, k), radii(samples, k)
    inside, covered, recalled = [], [], []
    for rows, ball in zip(data.split(BLOCK), reach.split(BLOCK), strict=True):
        distance = distances(rows, samples)
        within = distance <= ball[:, None]
        inside.append(within.sum(0))
        covered.append(within.any(1))
        recalled.append((distance <= own_reach).any(1))
    balls = torch.stack(inside).sum(0)
    return Manifold(
        precision=_share(balls > 0),
        recall=_share(torch.cat(recalled)),
        density=float(balls.double().mean()) / max(1, min(k, len(data) - 1)),
        coverage=_share(torch.cat(covered)),
    )


def _share(flags: Tensor) -> float:
    return float(flags.double().mean())
