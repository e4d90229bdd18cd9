"""An exponential moving average of a model: smoother than its last weights."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

from training.state import capture, restore

M = TypeVar("M", bound=nn.Module)


class Average(Generic[M]):
    """θ̄ ← d θ̄ + (1 − d) θ, for weights and for buffers of floating point; other buffers are copied.

    Early on d is (1 + n) / (10 + n) where that is less, n being the updates so far: the start is forgotten
    quickly.
    """

    STATE = ("model", "count")

    def __init__(self, model: M, decay: float) -> None:
        self.decay, self.count = decay, 0
        self.model = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: M) -> None:
        """Moves the average towards the model."""
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        self.count += 1
        ours, theirs = _tensors(self.model), _tensors(model)
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        for mine, other in zip(self.model.buffers(), model.buffers(), strict=True):
            if not mine.is_floating_point():
                mine.copy_(other)

    def state_dict(self) -> dict[str, object]:
        """What `load_state_dict` needs."""
        return capture(self, self.STATE)

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Puts back what `state_dict` gave."""
        restore(self, state)


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
