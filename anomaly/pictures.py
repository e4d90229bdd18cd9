"""Pictures: how far one is from remembered ones (`memory`), in what they look like.

    pixels   √ of the mean brightness of overlapping windows
    edges    √ of how the edges run, cell by cell:
             h[c, o] = Σ over pixels near the cell c of |∇x| · (how near the edge's direction is to o)
             f[c]    = h[c] / √(Σ_o h[c, o]² averaged over the cell and its neighbours + ε²)

Edges are histograms of oriented gradients (Dalal and Triggs, 2005, doi:10.1109/CVPR.2005.177). Directions are
unsigned, so that light on dark is like dark on light; of several channels the one with the steepest gradient
counts. Cells and directions overlap, linearly. The square root makes the distance of histograms that of
Hellinger. All settings were chosen on training pictures of MNIST and Fashion-MNIST, half a neighbour's own
distance (`LOCAL`) among them.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from anomaly.memory import Memory

DIRECTIONS = 9
WINDOWS, CELLS = 14, 5  # across the shorter side
FAINT = 0.1  # ε, in units of the brightest value
LOCAL = 0.5  # λ of `memory`
CHUNK = 1_024  # pictures looked at at once
KINDS = ("pixels", "edges")


class Pictures:
    """A memory of what pictures look like."""

    def __init__(self, kind: str, shape: tuple[int, ...], brightest: float, memory: Memory) -> None:
        self.kind, self.shape, self.brightest, self.memory = kind, shape, brightest, memory

    @staticmethod
    def fit(
        kind: str, x: Float[Tensor, "B F"], shape: tuple[int, ...], seed: int
    ) -> tuple["Pictures", Float[Tensor, " n"]]:
        """The memory of pictures of a shape (C, H, W), and their scores, each without itself."""
        brightest = float(x.max()) or 1.0
        looks = looks_of(kind, x, shape, brightest)
        memory, own = Memory.of_rows(looks, torch.ones(looks.shape[1]), LOCAL, seed)
        return Pictures(kind, shape, brightest, memory), own

    def score(self, x: Float[Tensor, "B F"]) -> Float[Tensor, " B"]:
        """How far pictures are from those remembered, given how far these are apart: s of `memory`."""
        return self.memory.score(looks_of(self.kind, x, self.shape, self.brightest))

    def arrays(self) -> dict[str, Tensor]:
        """What `of_arrays` needs."""
        numbers = torch.tensor([self.brightest, *self.shape], dtype=torch.float64)
        memory = {f"memory.{name}": array for name, array in self.memory.arrays().items()}
        return {"picture": numbers, **memory}

    @staticmethod
    def of_arrays(kind: str, found: dict[str, Tensor]) -> "Pictures":
        """Reads what `arrays` gave."""
        brightest, *shape = found["picture"].tolist()
        memory = {name.removeprefix("memory."): array for name, array in found.items() if name != "picture"}
        return Pictures(kind, tuple(int(side) for side in shape), brightest, Memory.of_arrays(memory))


def looks_of(
    kind: str, x: Float[Tensor, "B F"], shape: tuple[int, ...], brightest: float
) -> Float[Tensor, "B G"]:
    """What is compared of pictures."""
    look = {"pixels": pixels, "edges": edges}[kind]
    pictures = (x.float() / brightest).clamp(min=0).view(-1, *shape)
    return torch.cat([look(part) for part in pictures.split(CHUNK)]).sqrt()


def pixels(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
    """The mean brightness of windows that overlap by half."""
    step = max(1, round(min(x.shape[2:]) / WINDOWS))
    return functional.avg_pool2d(x, 2 * step, step, step // 2).flatten(1)


def edges(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
    """f of the module docstring for pictures of values between 0 and 1, not yet the root of it."""
    padded = functional.pad(x, (1, 1, 1, 1), "replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    steep = (dx.square() + dy.square()).sqrt()
    size, channel = steep.max(1, keepdim=True)
    angle = torch.atan2(dy.gather(1, channel), dx.gather(1, channel)) / math.pi * DIRECTIONS
    apart = (angle - torch.arange(DIRECTIONS).view(-1, 1, 1)).remainder(DIRECTIONS)
    near = (1 - torch.minimum(apart, DIRECTIONS - apart)).clamp(min=0)
    cells = pooled(size * near, max(2, round(min(x.shape[2:]) / CELLS)))
    energy = cells.square().sum(1, keepdim=True)
    around = functional.avg_pool2d(energy, 3, 1, 1, count_include_pad=False)
    return (cells / (around + FAINT**2).sqrt()).flatten(1)


def pooled(x: Float[Tensor, "B C H W"], side: int) -> Float[Tensor, "B C h w"]:
    """Means over overlapping cells, a pixel weighing the less the farther it is from the cell's middle."""
    ramp = 1 - (torch.arange(2 * side) + 0.5 - side).abs() / side
    kernel = (ramp[:, None] * ramp / ramp.sum() ** 2).expand(x.shape[1], 1, -1, -1)
    margin = side // 2
    return functional.conv2d(x, kernel, stride=side, padding=margin, groups=x.shape[1])
