"""Which rows follow which: the rows of a table, in order, each of one series.

Rows of several series may come one after another or take turns; within a series they come in order.
"""

import numpy as np
from jaxtyping import Bool, Int


class Lineup:
    """Rows sorted by series, told apart by a number for each row's series; order within one stays."""

    def __init__(self, series: Int[np.ndarray, " N"]) -> None:
        self._order = np.argsort(series, kind="stable")
        self._place = np.empty(len(series), int)
        self._place[self._order] = np.arange(len(series))
        ordered = series[self._order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))  # numbers are 0 or more
        sizes = np.diff(np.append(starts, len(series)))
        self.count = len(starts)  # series
        self._starts = starts
        self._begin = np.repeat(starts, sizes)[self._place]  # (N,) where in the order the row's series begins
        self.size = np.repeat(sizes, sizes)[self._place]  # (N,) rows of the row's series

    def each(self) -> list[Int[np.ndarray, " n"]]:
        """The rows of each series."""
        return np.split(self._order, self._starts[1:])

    @property
    def rank(self) -> Int[np.ndarray, " N"]:
        """How many rows of its series come before each row."""
        return self._place - self._begin

    @property
    def left(self) -> Int[np.ndarray, " N"]:
        """How many rows of its series come after each row."""
        return self.size - 1 - self.rank

    @property
    def pairs(self) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"]]:
        """All rows that have one before them in their series, and that row."""
        later = np.flatnonzero(self.rank > 0)
        return later, self._order[self._place[later] - 1]

    def windows(self, rows: Int[np.ndarray, " B"], length: int) -> Int[np.ndarray, "B W"]:
        """The `length` rows of its series that end with each row, oldest first.

        Where there are fewer, the first row of the series stands in the place of earlier ones.
        """
        back = np.arange(1 - length, 1)
        return self._order[np.maximum(self._begin[rows, None], self._place[rows, None] + back)]

    def holding(self, marked: Bool[np.ndarray, " N"], length: int) -> Bool[np.ndarray, " N"]:
        """Which rows have a marked one among the `length` rows of their series that end with them."""
        total = np.concatenate([[0], np.cumsum(marked[self._order])])
        return total[self._place + 1] > total[np.maximum(self._begin, self._place + 1 - length)]


def one_series(rows: int) -> Lineup:
    """Rows that are all of one series."""
    return Lineup(np.zeros(rows, int))
