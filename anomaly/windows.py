"""Series: rows are instants in order, and what is judged is the window of W rows that ends with a row.

A row's window is that row and the W − 1 before it, never a later one. The first W − 1 rows of a series have
no window: they score 0, the least surprise, with the p-value 1. Files are streamed block by block, each with
the rows before it that its windows need, so that scores are the same however the work is cut.

A number that is missing stands in a window as the last one before it there, or else as the next one: a
median in its place, as in rows that stand alone, would be a spike.

A file may hold several series: a column names the series of each row. Rows of one come in order; series may
follow one another or take turns. No window reaches from one into another. All share their models, and one
that was not fitted is judged by the same. To know what came before a row of any of them the file is read
(not scored) from its beginning; for each series its last W − 1 rows are held, CELLS cells in all.

The time column is named, or it is the first column of dates; without one, rows are taken as they come. It is
never an input. Its times must grow from row to row of a series.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int

from anomaly import reader
from anomaly.amounts import NUMBER
from anomaly.cells import Place, instants, is_number, matching, numbers, words
from anomaly.encoder import Encoder
from anomaly.lineup import Lineup, one_series
from anomaly.schema import Schema
from training.errors import InputError

if TYPE_CHECKING:
    from anomaly.detector import Detector

SHORTEST = 2  # rows of a window
CELLS = 4_000_000  # numbers that are held at once: of windows, or of rows before that windows need
WIDEST = 200_000  # numbers of a window


@dataclass(frozen=True)
class Seen:
    """Rows as a detector looks at them. Windows are put together only for rows that are asked for."""

    x: Float[np.ndarray, "N F"]  # features of the rows before them that windows need, then of the rows
    novel: Bool[np.ndarray, "B C"]  # which inputs of the rows are such as no fitted row had
    lineup: Lineup | None = None  # of all N rows; None: rows stand alone
    length: int = 1  # rows of a window
    gaps: Int[np.ndarray, "2 G"] | None = None  # features that are numbers, and whether each is missing
    series: Int[np.ndarray, " B"] | None = None  # whose own scale each of the rows is in; None: there is one

    def of(self, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n D"]:
        """What is judged of some of the rows: features, or those of the window, oldest row first."""
        if self.lineup is None:
            return self.x[rows]
        before = len(self.x) - len(self.novel)
        windows = self.x[self.lineup.windows(before + rows, self.length)]
        if self.gaps is not None and (missing := windows[:, :, self.gaps[1]] > 0.5).any():
            windows[:, :, self.gaps[0]] = _filled(windows[:, :, self.gaps[0]], missing)
        return windows.reshape(len(rows), -1)

    def whose(self, row: int) -> int | None:
        """The number of the series whose own scale a row is in."""
        return None if self.series is None else int(self.series[row])

    @property
    def width(self) -> int:
        """D: how many numbers are judged of a row."""
        return self.length * self.x.shape[1]

    @property
    def judged(self) -> Bool[np.ndarray, " B"]:
        """Which rows have a window."""
        if self.lineup is None:
            return np.ones(len(self.novel), bool)
        return self.lineup.rank[len(self.x) - len(self.novel) :] >= self.length - 1

    def pieces(self, rows: Int[np.ndarray, " n"], multiple: int = 1) -> Iterator[Int[np.ndarray, " m"]]:
        """The rows in pieces whose windows have CELLS numbers at most; a `multiple` of rows if that fits."""
        size = max(1, CELLS // self.width)
        size -= size % multiple if size > multiple else 0
        for begin in range(0, len(rows), size):
            yield rows[begin : begin + size]


def _filled(x: Float[np.ndarray, "n W G"], missing: Bool[np.ndarray, "n W G"]) -> Float[np.ndarray, "n W G"]:
    """The last number before each one that is missing, or else the next; as it is where all are."""
    at = np.where(missing, 0, np.arange(x.shape[1])[None, :, None])
    at = np.maximum(np.maximum.accumulate(at, axis=1), missing.argmin(1, keepdims=True))
    return np.take_along_axis(x, at, axis=1)


@dataclass(frozen=True)
class Windows:
    """How rows become windows."""

    length: int  # rows of a window, W
    time: str | None = None  # the column that says when
    series: str | None = None  # the column that names the series; None: all rows are of one

    def __post_init__(self) -> None:
        if self.length < SHORTEST:
            raise InputError(f"window is {self.length}, expected {SHORTEST} rows or more")

    @property
    def before(self) -> int:
        """How many earlier rows a row's window needs."""
        return self.length - 1

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that must be there and are no inputs."""
        return tuple(name for name in (self.series, self.time) if name)

    def of(self, x: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "N D"]:
        """The windows that end at each row of one series, D = W · F."""
        return Seen(x, np.zeros((len(x), 0), bool), one_series(len(x)), self.length).of(np.arange(len(x)))

    def owners(self, owner: Int[np.ndarray, " F"]) -> Int[np.ndarray, " D"]:
        """Which input each feature of a window comes from."""
        return np.tile(owner, self.length)

    def seen(
        self,
        schema: Schema,
        encoder: Encoder,
        table: pa.Table,
        source: str,
        first: int,
        context: pa.Table | None,
    ) -> Seen:
        """The rows of a table that follow `context`; `source` and `first` row are for messages."""
        before = 0 if context is None else len(context)
        if context is not None and before:
            table = pa.concat_tables([context, table])
        lineup = self.lineup(table, source, first - before)
        self.check_times(
            table, source, np.arange(first - before, first - before + len(table)), lineup, before
        )
        cells, series = schema.cells(table, source, first - before), None
        if encoder.own is not None:
            series = encoder.own.numbers(self.names(table, source, first - before), source, first - before)
            cells = encoder.own.common(cells, series)
            series = series[before:]
        novel = encoder.novel(cells)[before:]
        return Seen(encoder.features_of(cells), novel, lineup, self.length, encoder.gaps, series)

    def lineup(self, table: pa.Table, source: str, first: int) -> Lineup:
        """Which series each row is of; `first` is the number of the first row."""
        names = pa.array(self.names(table, source, first)).dictionary_encode()
        return Lineup(names.indices.to_numpy(zero_copy_only=False).astype(int))

    def names(self, table: pa.Table, source: str, first: int) -> np.ndarray:
        """The name of the series of each row, empty where all rows are of one."""
        if self.series is None:
            return np.full(len(table), "")
        if self.series not in table.column_names:
            raise InputError(f"{source} lacks the column {self.series!r}, expected the series of each row")
        place = Place(source, self.series, first)
        names = words(table[self.series], place)
        if names.null_count:
            raise place.refuse(int(np.asarray(names.is_null()).argmax()), "missing", "the name of a series")
        return names.to_numpy(zero_copy_only=False)

    def check_times(
        self, table: pa.Table, source: str, number: Int[np.ndarray, " N"], lineup: Lineup, checked: int = 0
    ) -> None:
        """Raises InputError unless times grow within each series.

        `number` are the numbers of the rows, for messages; the first `checked` rows are known to be right.
        """
        if self.time is None or not len(table):
            return
        if self.time not in table.column_names:
            raise InputError(f"{source} lacks the column {self.time!r}, expected the time of each row")
        cells = table[self.time]
        when = times(cells, Place(source, self.time, int(number[0])), wall=False)
        place = Place(source, self.time, 0)
        lacking = np.isnan(when) & (np.arange(len(when)) >= checked)
        if lacking.any():
            raise place.refuse(int(number[lacking.argmax()]), "missing", "a time")
        later, earlier = lineup.pairs
        late = later[(when[later] <= when[earlier]) & (later >= checked)]
        if len(late):
            at = int(late[0])
            before = earlier[later.searchsorted(at)]
            raise place.refuse(
                int(number[at]),
                cells[at],
                f"a time after that of the row before{' in its series' if self.series else ''},"
                f" {str(cells[int(before)])[:40]!r}",
            )

    def newest(self, table: pa.Table, source: str, first: int, each: int) -> pa.Table:
        """The last rows of each series, `each` of them at most; raises InputError if they are too many."""
        if self.series is None:
            return table.slice(max(0, len(table) - each))
        lineup = self.lineup(table, source, first)
        most = CELLS // max(1, each * table.num_columns)
        if lineup.count > most:
            raise InputError(
                f"{source}: column {self.series!r} names {lineup.count} series or more, expected at most"
                f" {most} for windows of {self.length} rows and {table.num_columns} columns"
            )
        return table.take(pa.array(np.flatnonzero(lineup.left < each))).combine_chunks()


def times(cells: pa.ChunkedArray, place: Place, wall: bool = True) -> Float[np.ndarray, " N"]:
    """Dates as seconds, on the clock on the `wall` or in UTC, or numbers as they are."""
    return numbers(cells, place) if are_numbers(cells, place) else instants(cells, place, wall)


def are_numbers(cells: pa.ChunkedArray, place: Place) -> bool:
    """Whether times are numbers, by type or as most of the text is."""
    if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        text = words(cells, place)
        return len(text) > 0 and 2 * (pc.sum(matching(text, NUMBER)).as_py() or 0) > len(text)
    return is_number(cells.type)


def with_time(schema: Schema, time: str | None, source: str) -> tuple[Schema, str | None]:
    """The schema without the time among its inputs, and the name of the time, found by the module's rule."""
    if time is None:
        time = next((column.name for column in schema.columns if column.kind == "date"), None)
    columns = tuple(replace(c, kind="time") if c.name == time else c for c in schema.columns)
    found = Schema(columns)
    if not found.inputs:
        raise InputError(f"{source} has no column but the time {time!r}, expected some to look at")
    return found, time


def stream(
    detector: "Detector", source: str, start: int = 0, stop: int | None = None, also: Sequence[str] = ()
) -> Iterator[tuple[int, pa.Table, pa.Table]]:
    """(first row, rows, the rows before that their windows need), block by block as `reader.blocks` has them.

    `also` are columns to read beside those that the detector looks at.
    """
    windows = detector.windows
    names = tuple(dict.fromkeys((*detector.reads, *also)))
    begin = start - start % reader.BLOCK
    whole = windows is not None and windows.series is not None
    since = 0 if whole else max(0, begin - (windows.before if windows else 0))
    context: pa.Table | None = None
    for first, block in reader.blocks(source, names, since, stop):
        context = block.slice(0, 0) if context is None else context
        if first >= begin:
            yield first, block, context
        elif whole:
            detector.schema.cells(block, source, first)  # refuses what is wrong where the row has its number
        if windows:
            held = pa.concat_tables([context, block])
            context = windows.newest(held, source, first - len(context), windows.before)
