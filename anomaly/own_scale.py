"""Several series of one file, each seen in its own level and spread.

Machines of different size run alike, but on scales of their own: in the scale of all, what is strange of a
small one is lost beneath the noise of a large one. A number of series s takes the place that it has among
the fitted rows of s:

    (x − median_s) / spread_s     spread_s: the standard deviation in s, at least LEAST of the usual one

The usual spread is the median, in decades, of the series in which the column moves. A series that was not
fitted has no scale: its rows are refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from training.errors import InputError

LEAST = 1e-3  # of the usual spread: what stood still in fitting would be infinitely strange later
APART = 2.0  # how many times the spread of one series is that of another, for it to be worth a word


@dataclass(frozen=True)
class OwnScale:
    """Level and spread of columns in each series."""

    series: tuple[str, ...]
    columns: tuple[str, ...]
    level: Float[np.ndarray, "S C"]
    spread: Float[np.ndarray, "S C"]

    @staticmethod
    def fit(cells: Mapping[str, Any], columns: Sequence[str], names: np.ndarray) -> "OwnScale":
        """Learns them from cells of `columns`, numbers, and the `names` of the series of their rows.

        A column that moves in no series is left out, as it has no spread to go by.
        """
        series, number = np.unique(names.astype(str), return_inverse=True)
        rows = [np.flatnonzero(number == s) for s in range(len(series))]
        found = {name: np.array([_level_and_spread(cells[name][some]) for some in rows]) for name in columns}
        moving = tuple(name for name in columns if (found[name][:, 1] > 0).any())
        level = np.zeros((len(series), len(moving)))
        spread = np.ones((len(series), len(moving)))
        for c, name in enumerate(moving):
            own = found[name]
            usual = np.exp(np.median(np.log(own[own[:, 1] > 0, 1])))
            level[:, c] = np.where(np.isnan(own[:, 0]), np.nanmedian(own[:, 0]), own[:, 0])
            spread[:, c] = np.maximum(own[:, 1], LEAST * usual)
        return OwnScale(tuple(series.tolist()), moving, level, spread)

    def numbers(self, names: np.ndarray, source: str, first: int = 0) -> Int[np.ndarray, " B"]:
        """Which series each row is of; raises InputError for one that was not fitted."""
        order = np.array(self.series)
        at = np.minimum(order.searchsorted(names.astype(str)), len(order) - 1)
        if len(unknown := np.flatnonzero(order[at] != names)):
            raise InputError(
                f"{source}: row {first + int(unknown[0])} is of the series {str(names[unknown[0]])[:40]!r},"
                f" expected one that was fitted, as each has its own scale: {', '.join(self.series[:5])}"
                f"{', ...' if len(self.series) > 5 else ''}"
            )
        return at

    def common(self, cells: Mapping[str, Any], number: Int[np.ndarray, " B"]) -> dict[str, Any]:
        """The cells with each series' numbers in its own scale."""
        told = dict(cells)
        for c, name in enumerate(self.columns):
            told[name] = (cells[name] - self.level[number, c]) / self.spread[number, c]
        return told

    def back(self, column: str, value: float, series: int) -> float:
        """A number of a series as it stands in its rows."""
        if column not in self.columns:
            return value
        c = self.columns.index(column)
        return float(value * self.spread[series, c] + self.level[series, c])

    def furthest_apart(self) -> tuple[str, float, str, str] | None:
        """The column whose spread differs most, how many times, in which series it is most and least.

        None where no column's spread differs APART times.
        """
        if not self.columns:
            return None
        times = self.spread.max(0) / self.spread.min(0)
        c = int(times.argmax())
        most, least = int(self.spread[:, c].argmax()), int(self.spread[:, c].argmin())
        if times[c] < APART:
            return None
        return self.columns[c], float(times[c]), self.series[most], self.series[least]

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return asdict(self) | {"level": self.level.tolist(), "spread": self.spread.tolist()}

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> "OwnScale":
        """Reads what `to_json` gave."""
        level, spread = (np.array(found[key], float) for key in ("level", "spread"))
        return OwnScale(tuple(found["series"]), tuple(found["columns"]), level, spread)


def _level_and_spread(x: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """The median and the standard deviation of what is there; NaN and 0 where nothing is."""
    present = x[~np.isnan(x)]
    return (float(np.median(present)), float(present.std())) if len(present) else (np.nan, 0.0)
