"""Bands: what averages of channels and their statistics are on clean episodes, by the time since the start.

Averages e of a bin of time become u = (e − mean) / deviation. A family's statistic s becomes
(s − median) / (99th percentile − median): 0 is usual, 1 is rare among steps. How often a whole clean episode
goes far beyond 1 differs; each statistic is divided by the 95th percentile of what it reaches in an episode,
so that an alarm, which asks whether any of them is too high, spends as much on one as on another.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from anomaly.monitor_statistics import RATES, Channels
from training.errors import InputError

ROWS = 100  # clean steps that a bin of time has at least
SAMPLE = 50_000  # clean steps that medians and percentiles are taken of, about
HIGH = 0.95  # of clean episodes stay below 1 in each statistic
LEAST = 0.5  # an episode's highest statistic counts as this at least

Walk = Callable[[], Iterator[tuple[int, np.ndarray, Float[np.ndarray, "B R C"]]]]
"""Goes through clean episodes: step, the numbers of those that still go on, their averages."""


@dataclass(frozen=True)
class Bands:
    """The arrays that make a score of averages, for each bin of time."""

    edges: np.ndarray  # (bins,) first steps
    mean: np.ndarray  # (bins, R, C) of averages
    inverse: np.ndarray  # (bins, R, C) one over their deviation
    middle: np.ndarray  # (bins, S) median of statistics
    scale: np.ndarray  # (bins, S) that statistics above it are multiplied by

    @staticmethod
    def fit(channels: Channels, lengths: Int[np.ndarray, " E"], walk: Walk) -> "Bands":
        """From clean episodes of the given lengths."""
        first = edges(lengths)
        bins, statistics = len(first), 2 * len(RATES) * len(channels.sizes)
        moments = Moments(bins, len(RATES), channels.count)
        for step, _, average in walk():
            moments.add(np.full(len(average), _bin(first, step)), average)
        mean, inverse = moments.band()
        found = Bands(first, mean, inverse, np.zeros((bins, statistics)), np.ones((bins, statistics)))

        every = 1 + int(lengths.sum()) // SAMPLE
        values, where = [], []
        for step, rows, average in walk():
            some = (rows + step) % every == 0
            values.append(found.statistics(channels, average[some], step))
            where.append(np.full(len(values[-1]), _bin(first, step)))
        middle, scale = quantile_band(np.concatenate(values), np.concatenate(where), bins)
        found = Bands(first, mean, inverse, middle, scale)

        highest = np.full((len(lengths), statistics), -np.inf)
        for step, rows, average in walk():
            highest[rows] = np.maximum(highest[rows], found.statistics(channels, average, step))
        return Bands(
            first, mean, inverse, middle, scale / np.maximum(np.quantile(highest, HIGH, axis=0), LEAST)
        )

    def statistics(
        self, channels: Channels, average: Float[np.ndarray, "B R C"], step: int | np.ndarray
    ) -> Float[np.ndarray, "B S"]:
        """How far each statistic is above what is usual so long after the start: one `step`, or one each."""
        where = _bin(self.edges, step)
        u = average - self.mean[where]
        u *= self.inverse[where]
        found = channels.gather(u)
        found -= self.middle[where]
        found *= self.scale[where]
        return found


def _bin(first: np.ndarray, step: int | np.ndarray) -> np.ndarray | int:
    if isinstance(step, np.ndarray):
        if step.size != 1:
            return first.searchsorted(step, side="right") - 1
        step = step.item()  # a number picks a view, where a list of one makes a copy
    return int(first.searchsorted(step, side="right")) - 1


def edges(lengths: np.ndarray) -> np.ndarray:
    """First steps of the bins of time that bands are made for: doubling, each with enough rows.

    They end where the slowest average has warmed up: later it is the place that matters, not the time.
    """
    found, start = [0], 0
    for end in 2 ** np.arange(round(-np.log2(RATES[-1])) + 1):
        rows = np.clip(lengths - start, 0, end - start).sum()
        left = np.clip(lengths - end, 0, None).sum()
        if end > start and rows >= ROWS and left >= ROWS:
            found.append(int(end))
            start = int(end)
    return np.array(found)


class Moments:
    """Mean and deviation of rows by bins of time, from sums; one pass."""

    def __init__(self, bins: int, *shape: int) -> None:
        self.count = np.zeros((bins, *(1 for _ in shape)))
        self.sum, self.square = np.zeros((bins, *shape)), np.zeros((bins, *shape))

    def add(self, where: np.ndarray, rows: np.ndarray) -> None:
        """Rows (B, ...) and their bins (B,)."""
        for at in np.unique(where):
            own = rows[where == at]
            self.count[at] += len(own)
            self.sum[at] += own.sum(axis=0)
            self.square[at] += (own * own).sum(axis=0)

    def shrunk(self, prior: float) -> tuple[np.ndarray, np.ndarray]:
        """Mean and one over the deviation of each bin, as if it had `prior` more rows like those of all."""
        total = self.count.sum()
        count = self.count + prior
        mean = (self.sum + prior * self.sum.sum(axis=0) / total) / count
        variance = (self.square + prior * self.square.sum(axis=0) / total) / count - mean * mean
        return mean, 1 / np.sqrt(np.maximum(variance, 1e-8))

    def band(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and one over the deviation of each bin; a bin without rows has its forerunner's."""
        filled = np.flatnonzero(self.count.reshape(len(self.count), -1)[:, 0])
        if not len(filled) or filled[0] != 0:
            raise InputError("there are no clean steps to make bands of, expected longer episodes")
        use = filled[np.searchsorted(filled, np.arange(len(self.count)), side="right") - 1]
        mean = self.sum[use] / self.count[use]
        variance = self.square[use] / self.count[use] - mean * mean
        # A channel that is still at first, as a leg that touches nothing, is not exact because of that.
        overall = self.square.sum(axis=0) / self.count.sum() - (self.sum.sum(axis=0) / self.count.sum()) ** 2
        return mean, 1 / np.sqrt(np.maximum(variance, 1e-3 * np.maximum(overall, 0) + 1e-8))


def quantile_band(
    values: Float[np.ndarray, "rows S"], where: np.ndarray, bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Median of each statistic by bin of time, and one over the way from there to its 99th percentile."""
    middle, scale = np.zeros((bins, values.shape[1])), np.zeros((bins, values.shape[1]))
    for at in range(bins):
        rows = values[where == at]
        low, high = np.quantile(rows, [0.5, 0.99], axis=0) if len(rows) else (middle[at - 1], None)
        middle[at] = low
        scale[at] = scale[at - 1] if high is None else 1 / np.maximum(high - low, 0.3)
    return middle, scale
