"""The strangest rows, from a stream of scores: of a series only one of each burst."""

import numpy as np
from jaxtyping import Float, Int

from anomaly.lineup import Lineup

TOP = 20
_ROW = np.dtype([("row", "i8"), ("score", "f8"), ("series", "i8"), ("rank", "i8")])


class Strangest:
    """The TOP rows so far, none fewer than `apart` rows of its series from another.

    Of rows that are too near, the one with the highest score stands for all. Rows come in order.
    """

    def __init__(self, apart: int = 1) -> None:
        self.apart = apart
        self.rows = np.zeros(0, _ROW)
        self._seen: dict[int, int] = {}  # rows of each series so far

    def add(
        self, first: int, score: Float[np.ndarray, " B"], series: Int[np.ndarray, " B"] | None = None
    ) -> None:
        """The next rows, and a number for the series of each; None: all are of one."""
        here = np.zeros(len(score), _ROW)
        here["row"], here["score"] = np.arange(first, first + len(score)), score
        if self.apart > 1:
            here["series"] = 0 if series is None else series
            names, code, counts = np.unique(here["series"], return_inverse=True, return_counts=True)
            before = np.array([self._seen.get(name, 0) for name in names.tolist()], int)
            here["rank"] = Lineup(code).rank + before[code]
            self._seen |= dict(zip(names.tolist(), (before + counts).tolist(), strict=True))
        self.rows = self._chosen(np.concatenate([self.rows, here]))

    def _chosen(self, rows: np.ndarray) -> np.ndarray:
        order = np.argsort(-rows["score"], kind="stable")
        if self.apart == 1:
            return rows[order[:TOP]]
        free = np.ones(len(rows), bool)
        chosen: list[int] = []
        for at in order:
            if len(chosen) == TOP:
                break
            if free[at]:
                chosen.append(int(at))
                near = np.abs(rows["rank"] - rows["rank"][at]) < self.apart
                free &= ~(near & (rows["series"] == rows["series"][at]))
        return rows[chosen]
