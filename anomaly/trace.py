"""What is drawn of a series of any length: the lowest and the highest of every stretch, so no spike is lost.

Rows come in order, block by block. A stretch is one row at first; when there are twice BINS of them, each two
become one. Memory is fixed, and how the rows come in blocks changes nothing.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from anomaly.cells import Place
from anomaly.detector import Detector
from anomaly.windows import are_numbers, times

BINS = 600  # stretches at least, twice as many at most, of a long series
PANELS = 3  # columns of a series
SHOWN = 3  # series

Judged = tuple[int, pa.Table, np.ndarray, np.ndarray, np.ndarray]
# the first row, rows, and of each its score, whether it was flagged and whether it is labelled as an anomaly


class Trace:
    """The stretches of one series so far."""

    def __init__(self, columns: int) -> None:
        self._columns, self._rows, self._step = columns, 0, 1
        self._high = np.full((2 * columns + 3, 2 * BINS), -np.inf)  # of x, −x, score, flag and label
        self._first = np.zeros((2, 2 * BINS))  # number and time of the first row of each stretch

    def add(
        self,
        values: Float[np.ndarray, "C B"],
        judged: Float[np.ndarray, "3 B"],
        place: Float[np.ndarray, "2 B"],
    ) -> None:
        """The next rows: columns with gaps (NaN); score, flag and label; number and time."""
        told = np.concatenate([values, -values, judged])
        told = np.where(np.isnan(told), -np.inf, told)
        begin = 0
        while begin < told.shape[1]:
            if self._rows == 2 * BINS * self._step:
                self._halve()
            end = min(told.shape[1], begin + 2 * BINS * self._step - self._rows)
            at = (self._rows + np.arange(end - begin)) // self._step
            opened = np.flatnonzero((self._rows + np.arange(end - begin)) % self._step == 0)
            self._first[:, at[opened]] = place[:, begin + opened]
            starts = np.flatnonzero(np.diff(at, prepend=-1))
            highest = np.maximum.reduceat(told[:, begin:end], starts, axis=1)
            self._high[:, at[starts]] = np.maximum(self._high[:, at[starts]], highest)
            self._rows, begin = self._rows + end - begin, end

    def _halve(self) -> None:
        self._step *= 2
        self._high[:, :BINS] = np.maximum(self._high[:, ::2], self._high[:, 1::2])
        self._high[:, BINS:] = -np.inf
        self._first[:, :BINS] = self._first[:, ::2]

    def found(self) -> dict[str, Any]:
        """Lists, fit for JSON, of all stretches; None where a column had no number."""
        used = -(-self._rows // self._step)
        c, high = self._columns, self._high[:, :used]
        return {
            "step": self._step,
            "row": self._first[0, :used].astype(int).tolist(),
            "when": self._first[1, :used].tolist(),
            "high": [[v if np.isfinite(v) else None for v in line] for line in high[:c].tolist()],
            "low": [[-v if np.isfinite(v) else None for v in line] for line in high[c : 2 * c].tolist()],
            "score": high[2 * c].tolist(),
            "flagged": (high[2 * c + 1] > 0).tolist(),
            "labelled": (high[2 * c + 2] > 0).tolist(),
        }


def wanted(detector: Detector, top: Iterable[tuple[str, dict[str, float]]]) -> dict[str, list[str]]:
    """The series of the strangest rows, and of each the columns of numbers that made them strange.

    `top` has, the strangest row first, its series ("" if there is but one) and the share of each column.
    """
    numeric = [column.name for column in detector.schema.inputs if column.kind == "numeric"]
    shares: dict[str, dict[str, float]] = {}
    for series, its in top:
        if series in shares or len(shares) < SHOWN:
            total = shares.setdefault(series, dict.fromkeys(numeric, 0.0))
            for name in total:
                total[name] += its.get(name, 0.0)
    return {
        series: sorted(total, key=total.__getitem__, reverse=True)[:PANELS]
        for series, total in shares.items()
    }


def traces(
    detector: Detector, source: str, judged: Iterable[Judged], columns: dict[str, list[str]]
) -> list[dict[str, Any]]:
    """What is drawn of each series that `columns` names, from the rows of a file as they come."""
    windows = detector.windows
    assert windows is not None, "only series are drawn"
    found = {name: Trace(len(its)) for name, its in columns.items()}
    dated = False
    for first, table, score, flagged, labelled in judged:
        cells = detector.schema.cells(table, source, first)
        number = np.arange(first, first + len(table), dtype=float)
        when = number
        if windows.time:
            place = Place(source, windows.time, first)
            when, dated = times(table[windows.time], place), not are_numbers(table[windows.time], place)
        told = np.stack([score, flagged, labelled]).astype(float)
        names = windows.names(table, source, first)
        for name, trace in found.items():
            rows = np.flatnonzero(names == name)
            values = [cells[column][rows] for column in columns[name]]
            its = np.stack(values) if values else np.zeros((0, len(rows)))
            trace.add(its, told[:, rows], np.stack([number, when])[:, rows])
    return [
        {"series": name, "columns": columns[name], "dated": dated, **trace.found()}
        for name, trace in found.items()
    ]
