"""What every model of rows needs: a scale for its columns, and batches in a random order."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Scale(nn.Module):
    """Column-wise (x − shift) / scale, learned from rows and saved with the model."""

    shift: Tensor
    scale: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(columns))
        self.register_buffer("scale", torch.ones(columns))

    def standardise(self, x: Float[Tensor, "B D"]) -> None:
        """Mean 0 and deviation 1 on the rows of x; a constant column is only shifted."""
        self.shift.copy_(x.mean(0))
        deviation = x.std(0, correction=0)
        self.scale.copy_(torch.where(deviation > 1e-6 * (1 + self.shift.abs()), deviation, 1.0))

    def stretch(self, x: Float[Tensor, "B D"]) -> None:
        """0 to 1 on all of x: one shift and one scale for all columns, as brightness has."""
        self.shift.fill_(x.min())
        self.scale.fill_((x.max() - x.min()).clamp(min=1e-6))

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return (x - self.shift) / self.scale

    def back(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The inverse of forward."""
        return x * self.scale + self.shift


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
