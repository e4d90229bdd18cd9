"""A network that follows another slowly: Polyak and Juditsky, 1992; for GANs Yazıcı et al. (arXiv:1806.04498).

θ̄ ← d θ̄ + (1 − d) θ,   d = min(decay, (1 + n) / (10 + n)) after n updates
"""

import copy

import torch
from torch import nn


def slow_copy(module: nn.Module) -> nn.Module:
    """A copy that learns nothing by itself and is never in training mode."""
    return copy.deepcopy(module).requires_grad_(False).eval()


@torch.no_grad()
def follow(slow: nn.Module, module: nn.Module, decay: float, updates: int) -> None:
    """One step of the module docstring; buffers follow as weights do, whole numbers are copied."""
    share = 1 - min(decay, (1 + updates) / (10 + updates))
    pairs = zip((*slow.parameters(), *slow.buffers()), (*module.parameters(), *module.buffers()), strict=True)
    for old, new in pairs:
        if old.is_floating_point():
            old.lerp_(new, share)
        else:
            old.copy_(new)
