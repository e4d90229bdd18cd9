"""What every model of rows needs: a scale for its columns, and batches in a random order."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Scale(nn.Module):
    """Column-wise (x − shift) / scale, learned from rows and saved with the model.

    Computed in float64 on the CPU, wherever the model is: float32 cannot tell 100,000,001 from 100,000,000,
    and some devices have no float64. What comes out is float32.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(columns, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(columns, dtype=torch.float64))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Scale":
        return self  # `model.to(device)` leaves it where it is

    def standardise(self, x: Float[Tensor, "B D"]) -> None:
        """Mean 0 and deviation 1 on the rows of x; a column of equal values is only shifted."""
        x = x.double()
        constant, deviation = x.amin(0) == x.amax(0), x.std(0, correction=0)
        self.shift.copy_(torch.where(constant, x[0], x.mean(0)))
        self.scale.copy_(torch.where(constant | (deviation < 1e-150), 1.0, deviation))

    def stretch(self, x: Float[Tensor, "B D"]) -> None:
        """0 to 1 on all of x: one shift and one scale for all columns, as brightness has."""
        low, high = x.double().min(), x.double().max()
        self.shift.fill_(low)
        self.scale.fill_(high - low if high > low else 1.0)

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return ((x.cpu().double() - self.shift) / self.scale).float()

    def back(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The inverse of forward, in float64."""
        return x.cpu().double() * self.scale + self.shift


class Order:
    """Row numbers in random order, pass after pass; the rest of a pass too short for a batch is dropped."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.left = torch.empty(0, dtype=torch.int64, device=generator.device)

    def state_dict(self) -> dict[str, Tensor]:
        """What is left of this pass, and the generator."""
        return {"left": self.left, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Puts back what `state_dict` gave."""
        self.left = state["left"].to(self.generator.device)
        self.generator.set_state(state["generator"].cpu())

    def draw(self, rows: int, batch: int) -> Int[Tensor, " B"]:
        """The next `batch` row numbers, or all of them when there are no more than that."""
        if len(self.left) < min(batch, rows):
            self.left = torch.randperm(rows, generator=self.generator, device=self.generator.device)
        index, self.left = self.left[:batch], self.left[batch:]
        return index
