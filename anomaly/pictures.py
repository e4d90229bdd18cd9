"""What of a picture is compared: its pixels, or how its edges run, cell by cell.

    h[c, o] = Σ over pixels near the cell c of  |∇x| · (how near the edge's direction is to o)
    f[c] = h[c] / √(Σ_o h[c, o]² averaged over the cell and its neighbours + ε²)

Histograms of oriented gradients (Dalal and Triggs, 2005, doi:10.1109/CVPR.2005.177), a picture being CELLS cells
wide. Directions are unsigned, so that light on dark is like dark on light; of several channels the one with the
steepest gradient counts. Both cells and directions overlap, linearly.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

DIRECTIONS = 9
CELLS = 7  # across the shorter side
FAINT = 0.02  # ε, in units of the brightest value


def edges(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
    """f of the module docstring for pictures of values between 0 and 1."""
    padded = functional.pad(x, (1, 1, 1, 1), "replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    steep = (dx.square() + dy.square()).sqrt()
    size, channel = steep.max(1, keepdim=True)
    angle = torch.atan2(dy.gather(1, channel), dx.gather(1, channel)) / math.pi * DIRECTIONS
    apart = (angle - torch.arange(DIRECTIONS).view(-1, 1, 1)).remainder(DIRECTIONS)
    near = (1 - torch.minimum(apart, DIRECTIONS - apart)).clamp(min=0)
    cells = pooled(size * near, cell_of(x.shape[2], x.shape[3]))
    energy = cells.square().sum(1, keepdim=True)
    around = functional.avg_pool2d(energy, 3, 1, 1, count_include_pad=False)
    return (cells / (around + FAINT**2).sqrt()).flatten(1)


def cell_of(height: int, width: int) -> int:
    """The side of a cell in pixels."""
    return max(2, round(min(height, width) / CELLS))


def pooled(x: Float[Tensor, "B C H W"], side: int) -> Float[Tensor, "B C h w"]:
    """Means over overlapping cells, a pixel weighing the less the farther it is from the cell's middle."""
    ramp = 1 - (torch.arange(2 * side) + 0.5 - side).abs() / side
    kernel = (ramp[:, None] * ramp / ramp.sum() ** 2).expand(x.shape[1], 1, -1, -1)
    margin = side // 2
    return functional.conv2d(x, kernel, stride=side, padding=margin, groups=x.shape[1])
