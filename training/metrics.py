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

    def __bool__(self) -> bool:
        """Whether anything was seen since the last row."""
        return bool(self._seen)

    def add(self, metrics: Mapping[str, Tensor | np.ndarray | float]) -> None:
        """Remembers `metrics`; an array counts as that many observations."""
        for name, value in metrics.items():
            self._seen[name].append(value)

    def finite(self) -> bool:
        """Whether all that was seen since the last row is finite."""
        return all(bool(torch.isfinite(_flat(values)).all()) for values in self._seen.values())

    def state_dict(self) -> dict[str, Tensor]:
        """All observations since the last row."""
        return {name: _flat(values).cpu() for name, values in self._seen.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Puts back what `state_dict` gave."""
        self._seen = defaultdict(list, {name: [values.numpy()] for name, values in state.items()})

    def row(self) -> dict[str, float]:
        """The mean of every metric since the last row, and forgets them."""
        row = {name: float(_flat(values).mean()) for name, values in self._seen.items()}
        self._seen.clear()
        return row


def _flat(values: list[Tensor | np.ndarray | float]) -> Tensor:
    """All numbers in one float64 tensor; those on a device are gathered there first."""
    tensors = [v.reshape(-1) for v in values if isinstance(v, Tensor)]
    others = [np.reshape(v, -1) for v in values if not isinstance(v, Tensor)]
    parts = [torch.from_numpy(np.concatenate(others).astype(np.float64))] if others else []
    return torch.cat([*parts, *([torch.cat(tensors).cpu().double()] if tensors else [])])
