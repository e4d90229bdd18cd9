"""How far the newest row of a window is from rows that were seen, whatever came before it.

Its nearest neighbours are those of `memory`, plain: values between usual ones, or columns that do not go
together, are strange even where the rows before let one expect them.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anomaly.memory import Memory


class Newest:
    """A memory of single rows that is shown windows."""

    def __init__(self, memory: Memory, looked_at: Int[Tensor, " F"]) -> None:
        self.memory, self.looked_at = memory, looked_at  # features, counted from the end of a window

    @staticmethod
    def fit(
        x: Float[Tensor, "B D"], length: int, seed: int, looked_at: Int[Tensor, " F"] | None = None
    ) -> "Newest":
        """Remembers the newest rows of windows of `length` rows; of their features some may count alone."""
        every = x.shape[1] // length
        looked_at = (torch.arange(every) if looked_at is None else looked_at) - every
        return Newest(
            Memory.fit(x[:, looked_at], torch.zeros_like(looked_at), seed, plain=True)[0], looked_at
        )

    def score(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """The log of the mean distance to the nearest remembered rows."""
        return self.memory.score(x[:, self.looked_at])

    def arrays(self) -> dict[str, Tensor]:
        """What `of_arrays` needs."""
        return self.memory.arrays() | {"looked_at": self.looked_at}

    @staticmethod
    def of_arrays(found: dict[str, Tensor]) -> "Newest":
        """Reads what `arrays` gave."""
        return Newest(Memory.of_arrays(found), found["looked_at"])
