"""Detectors of series: the windows of the rows of a file, used once each, in the order of time.

    | models: the first 60 % | surprise of their scores: the next 20 % | calibration: the last 20 % |

Of several series in one file each is cut like that, and all share one detector. The rows of the parts are
disjoint: the first W − 1 windows of a part, which reach back into the one before, are left out (a gap).
Windows with a row labelled as an anomaly are left out as well, and words, levels and spreads are learned from
the other rows. Of a file of more than ROWS rows (fewer where
there are many columns: CELLS) the last are used, of several series as many of each, as the newest say most
about what comes. Models learn from at most CELLS numbers: of more windows, every so many.

What the p-values promise: that at most alpha of normal rows are flagged in the long run, if the series goes
on as in its last part. Windows share rows, so alarms come in bursts, and the realised rate spreads as if
there were only as many scores as disjoint blocks of W rows. Nothing is promised for a series that drifts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int

from anomaly.calibration import check_rate
from anomaly.cells import Place
from anomaly.detector import Detector
from anomaly.encoder import Encoder
from anomaly.lineup import Lineup
from anomaly.own_scale import OwnScale
from anomaly.reader import are_lines, blocks, columns_of, of_array
from anomaly.sample import ROWS, labels
from anomaly.schema import Schema, Survey
from anomaly.window_models import fit_window_member, members_of_windows
from anomaly.windows import CELLS, WIDEST, Seen, Windows, times, with_time
from generative.data import Table
from training.errors import InputError

MODELS, SURPRISE = 0.6, 0.8  # where in time the parts end
REFERENCES = 300  # normal windows kept to show beside strange ones
LEAST = 5  # windows to fit on, beside the gaps


@dataclass(frozen=True)
class Series:
    """The rows that a detector of windows learns from."""

    table: pa.Table
    schema: Schema
    windows: Windows
    lineup: Lineup
    strange: Bool[np.ndarray, " N"]  # rows that are labelled as anomalies
    source: str
    rows: int  # in the source
    label_column: str | None = None

    def part(self, begin: float, end: float) -> Int[np.ndarray, " n"]:
        """The rows from one share of the time to another whose windows lie inside, without a strange row.

        Raises:
            InputError: when there is none.
        """
        first = np.round(begin * self.lineup.size) + self.windows.before
        last = np.round(end * self.lineup.size)
        inside = (first <= self.lineup.rank) & (self.lineup.rank < last)
        found = np.flatnonzero(inside & ~self.lineup.holding(self.strange, self.windows.length))
        if not len(found):
            least = int(np.ceil(LEAST * (self.windows.length + 1)))
            cut = f", of which the last {len(self.table)} fit" if len(self.table) < self.rows else ""
            marked = f" and {int(self.strange.sum())} labelled as anomalies" if self.strange.any() else ""
            of = f" of {self.lineup.count} series" if self.windows.series else ""
            raise InputError(
                f"{self.source} has {self.rows} rows{of}{cut}{marked}, expected at least {least}"
                f"{' of one series' if of else ''} for windows of {self.windows.length}:"
                " some for models, for their surprise and for calibration, with gaps"
            )
        return found


def of_file(
    source: str,
    window: int,
    time: str | None = None,
    columns: Sequence[str] = (),
    label_column: str | None = None,
    categorical: Sequence[str] = (),
    name: str | None = None,
) -> Series:
    """The series of a file, or several that the column `name` tells apart.

    The other parameters are those of `sample.of_file`, and the window and its time.

    Raises:
        InputError: when the file cannot be read, lacks a column, or its times do not grow.
    """
    if are_lines(source):
        raise InputError(f"{source} holds lines of text, which stand alone: expected no window")
    windows = Windows(window, time, name)
    known = columns_of(source)
    special = {"label": label_column, "time": time, "name of the series": name}
    apart = tuple(column for column in special.values() if column)
    for column in (*columns, *categorical, *apart):
        if column not in known:
            raise InputError(f"{source} lacks the column {column!r}, expected one of {', '.join(known[:8])}")
    if len(set(apart)) < len(apart):
        told = " and ".join(f"the {what} {column!r}" for what, column in special.items() if column)
        raise InputError(f"{told} are not different columns, expected one for each")
    inputs = tuple(column for column in (columns or known) if column not in apart)
    keep = max(1, min(ROWS, CELLS // max(1, len(inputs))))
    survey = Survey(source, keep, 0, categorical, counters=not columns)
    newest: _Newest | None = None
    for first, block in blocks(source, tuple(dict.fromkeys((*inputs, *apart)))):
        truth = np.zeros(len(block), bool)
        if label_column:
            truth = labels(block[label_column], source, label_column, first)
            block = block.drop_columns([label_column])
        if time:
            times(block[time], Place(source, time, first))  # refuses what is wrong where it has its number
        survey.add(block.drop_columns(list(windows.reads)))
        newest = newest or _Newest(windows, source, keep)
        newest.add(block, truth)
    assert newest is not None, "a file without rows is refused"
    return _series(newest, survey, label_column)


def of_table(data: Table | pa.Table, window: int, time: str | None = None, name: str | None = None) -> Series:
    """The series of a table of numbers, or of an Arrow table."""
    table = of_array(data.x, data.columns) if isinstance(data, Table) else data
    source = data.source if isinstance(data, Table) else "the table"
    windows = Windows(window, time, name)
    survey = Survey(source, max(1, len(table)), 0)
    survey.add(table.drop_columns(list(windows.reads)))
    newest = _Newest(windows, source, len(table))
    newest.add(table, np.zeros(len(table), bool))
    return _series(newest, survey, None)


class _Newest:
    """The last rows of a stream of tables: `keep` in all, of several series as many of each."""

    def __init__(self, windows: Windows, source: str, keep: int) -> None:
        self.windows, self.source, self.keep, self.rows = windows, source, keep, 0
        self._tables: list[pa.Table] = []
        self._strange: list[np.ndarray] = []
        self._number: list[np.ndarray] = []

    def add(self, table: pa.Table, strange: Bool[np.ndarray, " B"]) -> None:
        """The next rows, and which of them are labelled as anomalies."""
        self._tables.append(table)
        self._strange.append(strange)
        self._number.append(np.arange(self.rows, self.rows + len(table)))
        self.rows += len(table)
        if sum(map(len, self._tables)) > 2 * self.keep:
            table, strange, number, _ = self.take()
            self._tables, self._strange, self._number = [table], [strange], [number]

    def take(self) -> tuple[pa.Table, Bool[np.ndarray, " N"], Int[np.ndarray, " N"], Lineup]:
        """The rows, which of them are strange, their numbers, and which series they are of."""
        table = pa.concat_tables(self._tables)
        strange, number = np.concatenate(self._strange), np.concatenate(self._number)
        lineup = self.windows.lineup(table, self.source, self.rows - len(table))
        each = self.keep // lineup.count
        if not each:
            raise InputError(
                f"{self.source}: column {self.windows.series!r} names {lineup.count} series or more,"
                f" expected {self.keep} at most"
            )
        last = np.flatnonzero(lineup.left < each)
        table = table.take(pa.array(last)).combine_chunks()
        return table, strange[last], number[last], self.windows.lineup(table, self.source, 0)


def _series(newest: _Newest, survey: Survey, label_column: str | None) -> Series:
    source = newest.source
    schema, time = with_time(survey.schema(), newest.windows.time, source)
    windows = replace(newest.windows, time=time)
    table, strange, number, lineup = newest.take()
    windows.check_times(table, source, number, lineup)
    return Series(table, schema, windows, lineup, strange, source, newest.rows, label_column)


def fit(
    series: Series,
    kind: str = "auto",
    seed: int = 0,
    alpha: float | None = None,
    cfg: Any = None,
    own_scale: bool = False,
) -> Detector:
    """New models of the windows of a series, calibrated on its last part.

    `own_scale`: each of several series is seen in its own level and spread (`anomaly.own_scale`).

    Raises:
        InputError: for an unknown kind, a rate that is none, too few rows, and an own scale of one series.
    """
    names = members_of_windows(kind)
    if alpha is not None:
        check_rate(alpha)
    windows = series.windows
    if own_scale and windows.series is None:
        raise InputError("own scales are for several series in one file, expected the column that names them")
    learn, judge, calibrate = (
        series.part(*ends) for ends in ((0.0, MODELS), (MODELS, SURPRISE), (SURPRISE, 1.0))
    )
    encoder, scales, seen = _seen(series, own_scale)
    if seen.width > WIDEST:
        raise InputError(
            f"{series.source}: windows of {windows.length} rows have {seen.width} numbers,"
            f" expected {WIDEST} at most: fewer rows or columns"
        )
    most = CELLS // seen.width
    learn, judge = _some(learn, most), _some(judge, most)
    owner = windows.owners(encoder.owner)
    x, later = seen.of(learn), seen.of(judge)
    told = np.flatnonzero(~encoder.tells_gaps)
    members = [fit_window_member(n, x, later, owner, told, windows.length, seed, cfg) for n in names]
    about = _about(series, _scale(scales, own_scale)) | {
        "windows fitted": len(learn),
        "calibrated on": f"windows at the end of {_ends(series, calibrate)}",
    }
    references = seen.of(_some(learn, min(REFERENCES, most)))
    found = Detector(
        kind, series.schema, encoder, members, np.zeros(1), references, about=about, windows=windows
    )
    score = np.concatenate(
        [found.score_features(seen.of(rows), seen.novel[rows].sum(1)) for rows in seen.pieces(calibrate)]
    )
    return found.calibrated(score, alpha)


def _seen(series: Series, own_scale: bool) -> tuple[Encoder, OwnScale, Seen]:
    """The rows as models look at them, and what was learned for it of the earliest without a label."""
    windows, lineup = series.windows, series.lineup
    cells = series.schema.cells(series.table, series.source)
    early = (lineup.rank < np.round(MODELS * lineup.size)) & ~series.strange
    whose = windows.names(series.table, series.source, 0)
    numeric = [column.name for column in series.schema.inputs if column.kind == "numeric"]
    scales = OwnScale.fit(_of(cells, early), numeric, whose[early])
    number = scales.numbers(whose, series.source) if own_scale else None
    if number is not None:
        cells = scales.common(cells, number)
    encoder = Encoder.fit(series.schema, _of(cells, early))
    encoder.own = scales if own_scale else None
    x, novel = encoder.features_of(cells), encoder.novel(cells)
    return encoder, scales, Seen(x, novel, lineup, windows.length, encoder.gaps, number)


def _about(series: Series, scale: str) -> dict[str, Any]:
    """Facts of the rows for the model card."""
    return {
        "source": series.source,
        "rows": series.rows,
        "rows used": len(series.table),
        "rows labelled as anomalies": int(series.strange.sum()),
        "label column": series.label_column,
        "window": series.windows.length,
        "time column": series.windows.time,
        "series column": series.windows.series,
        "series": series.lineup.count,
        "scale": scale,
    }


def _of(cells: Mapping[str, Any], rows: Bool[np.ndarray, " N"]) -> dict[str, Any]:
    """The cells of some rows."""
    return {
        name: part[rows] if isinstance(part, np.ndarray) else part.filter(pa.array(rows))
        for name, part in cells.items()
    }


def _scale(scales: OwnScale, own: bool) -> str:
    """Whose scale rows are seen in, and how much the series differ where it is one for all."""
    if own:
        return "each series' own"
    apart = scales.furthest_apart()
    if apart is None:
        return "one for all"
    column, times, most, least = apart
    return f"one for all; {column!r} spreads {times:.3g} times as much in {most!r} as in {least!r}"


def _some(rows: Int[np.ndarray, " n"], most: int) -> Int[np.ndarray, " m"]:
    """The rows, or so many of them evenly spaced."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]


def _ends(series: Series, calibrate: Int[np.ndarray, " n"]) -> str:
    """Whose end the windows are at, and how many of them share no row."""
    used = np.zeros(len(series.table), bool)
    used[calibrate] = True
    each = [int(used[rows].sum()) for rows in series.lineup.each()]
    disjoint = sum(max(int(count > 0), count // series.windows.length) for count in each)
    whose = f"{sum(count > 0 for count in each)} series" if series.windows.series else "the series"
    return f"{whose} ({disjoint} disjoint)"
