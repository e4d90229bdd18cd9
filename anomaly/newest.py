"""How far the newest row of a window is from rows that were seen, whatever came before it.

Its nearest neighbours are those of `memory`, plain: values between usual ones, or columns that do not go
together, are strange even where the rows before let one expect them.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from anomaly.memory import Memory


class Newest:
    """A memory of single rows that is shown windows."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    @staticmethod
    def fit(x: Float[Tensor, "B D"], length: int, seed: int) -> "Newest":
        """Remembers the newest rows of windows of `length` rows."""
        columns = x.shape[1] // length
        owner = torch.zeros(columns, dtype=torch.int64)
        return Newest(Memory.fit(x[:, -columns:].contiguous(), owner, seed, plain=True)[0])

    def score(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """The log of the mean distance to the nearest remembered rows."""
        return self.memory.score(x[:, -len(self.memory.scale) :])

    def arrays(self) -> dict[str, Tensor]:
        """What `of_arrays` needs."""
        return self.memory.arrays()

    @staticmethod
    def of_arrays(found: dict[str, Tensor]) -> "Newest":
        """Reads what `arrays` gave."""
        return Newest(Memory.of_arrays(found))
