"""Who shares a score out: the columns of a table, or the regions of a picture.

A picture of thousands of pixels has no column that a reader would name: squares of pixels take their place,
ACROSS of them along its longer side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Int

from anomaly.detector import Detector

ACROSS = 7


@dataclass(frozen=True)
class Players:
    """Their names, which of them each feature belongs to, and what one shows in a row, for readers."""

    names: tuple[str, ...]
    owner: Int[np.ndarray, " F"]
    shown: Callable[[np.ndarray, int, bool], str]  # the last: whether no fitted row had such a cell

    @staticmethod
    def of(detector: Detector, series: int | None = None) -> "Players":
        """The columns of a detector, or the regions where it was fitted to pictures.

        `series` is whose scale numbers are shown in, where each series has its own.
        """
        shape = detector.about.get("shape")
        if shape is None:
            return Players(detector.columns, detector.owner, partial(detector.shown, series=series))
        names, owner = regions(tuple(shape))
        return Players(names, owner, lambda x, i, _: f"mean {x[owner == i].mean():.3g}")

    def novel(self, cells: Bool[np.ndarray, " C"]) -> Bool[np.ndarray, " P"]:
        """Which of them show what no fitted row had; pictures have no such cells."""
        return cells if len(cells) == len(self.names) else np.zeros(len(self.names), bool)


def regions(shape: tuple[int, ...]) -> tuple[tuple[str, ...], Int[np.ndarray, " F"]]:
    """Squares of pictures (C, H, W): their names, from the top left on, and whose each number is."""
    channels, height, width = shape
    side = -(-max(height, width) // ACROSS)
    down, across = -(-height // side), -(-width // side)
    row, column = np.arange(height) // side, np.arange(width) // side
    owner = np.broadcast_to(row[:, None] * across + column, (channels, height, width))
    names = tuple(
        f"rows {_span(i, side, height)}, columns {_span(j, side, width)}"
        for i in range(down)
        for j in range(across)
    )
    return names, owner.ravel()


def _span(i: int, side: int, end: int) -> str:
    first, last = i * side, min((i + 1) * side, end) - 1
    return str(first) if first == last else f"{first}-{last}"
