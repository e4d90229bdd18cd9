"""What an algorithm tells about itself: `group/name` to a number, gathered into rows."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

Metrics = dict[str, Tensor | np.ndarray | float]
"""Names such as `loss/td`; values are numbers, detached tensors, or arrays of several observations."""


class Meter:
    """Gathers metrics and gives their means as one row; tensors stay on their device until then."""

    def __init__(self) -> None:
        self._seen: dict[str, list[Tensor | np.ndarray | float]] = defaultdict(list)

    def add(self, metrics: Mapping[str, Tensor | np.ndarray | float]) -> None:
        """Remembers `metrics`; an array counts as that many observations."""
        for name, value in metrics.items():
            self._seen[name].append(value)

    def row(self) -> dict[str, float]:
        """The mean of every metric since the last row, and forgets them."""
        row = {name: _mean(values) for name, values in self._seen.items()}
        self._seen.clear()
        return row


def _mean(values: list[Tensor | np.ndarray | float]) -> float:
    if isinstance(values[0], Tensor):
        flat = [value.reshape(-1) for value in values if isinstance(value, Tensor)]
        return float(torch.cat(flat).double().mean())
    return float(np.concatenate([np.reshape(value, -1) for value in values]).mean(dtype=np.float64))
