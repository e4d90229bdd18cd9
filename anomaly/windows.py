"""Series: rows are instants in order, and what is judged is the window of W rows that ends with a row.

A row's window is that row and the W − 1 before it, never a later one. The first W − 1 rows of a file have no
window: they score 0, the least surprise, with the p-value 1. Files are streamed block by block, each with the
W − 1 rows before it, so that scores are the same however the work is cut.

The time column is named, or it is the first column of dates; without one, rows are taken as they come. It is
never an input. Its times must grow from row to row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from anomaly import reader
from anomaly.cells import NUMBER, Place, instants, is_number, looks_like, numbers, words
from anomaly.encoder import Encoder
from anomaly.schema import Schema
from training.errors import InputError

if TYPE_CHECKING:
    from anomaly.detector import Detector

SHORTEST = 2  # rows of a window


@dataclass(frozen=True)
class Windows:
    """How rows become windows."""

    length: int  # rows of a window, W
    time: str | None = None  # the column that says when

    def __post_init__(self) -> None:
        if self.length < SHORTEST:
            raise InputError(f"window is {self.length}, expected {SHORTEST} rows or more")

    @property
    def before(self) -> int:
        """How many earlier rows a row's window needs."""
        return self.length - 1

    def of(self, x: Float[np.ndarray, "N F"], rows: int) -> Float[np.ndarray, "B D"]:
        """The windows that end at the last `rows` rows, oldest row first, D = W · F.

        Where a window would begin before the first row, that row stands in the place of earlier ones.
        """
        lacking = max(0, rows + self.before - len(x))
        x = np.concatenate([np.repeat(x[:1], lacking, axis=0), x])[-(rows + self.before) :]
        return np.ascontiguousarray(
            np.lib.stride_tricks.sliding_window_view(x, self.length, 0).transpose(0, 2, 1)
        ).reshape(rows, -1)

    def owners(self, owner: Int[np.ndarray, " F"]) -> Int[np.ndarray, " D"]:
        """Which input each feature of a window comes from."""
        return np.tile(owner, self.length)

    def features(
        self,
        schema: Schema,
        encoder: Encoder,
        table: pa.Table,
        source: str,
        first: int,
        context: pa.Table | None,
    ) -> tuple[Float[np.ndarray, "B D"], Bool[np.ndarray, "B C"]]:
        """The windows that end at the rows of a table, which follow `context`, and what is novel in them."""
        before = 0 if context is None else len(context)
        if context is not None and before:
            table = pa.concat_tables([context, table])
        self.check_times(table, source, first - before)
        cells = schema.cells(table, source, first - before)
        return self.of(encoder.features_of(cells), len(table) - before), encoder.novel(cells)[before:]

    def check_times(self, table: pa.Table, source: str, first: int) -> None:
        """Raises InputError unless the times of rows grow; `first` is the number of the first row."""
        if self.time is None:
            return
        if self.time not in table.column_names:
            raise InputError(f"{source} lacks the column {self.time!r}, expected the time of each row")
        cells, place = table[self.time], Place(source, self.time, first)
        when = times(cells, place)
        if np.isnan(when).any():
            raise place.refuse(int(np.isnan(when).argmax()), "missing", "a time")
        late = np.flatnonzero(np.diff(when) <= 0)
        if len(late):
            at = int(late[0]) + 1
            raise place.refuse(
                at, cells[at], f"a time after that of the row before, {str(cells[at - 1])[:40]!r}"
            )


def holding(marked: Bool[np.ndarray, " N"], length: int) -> Bool[np.ndarray, " N"]:
    """Which rows have a marked one among the `length` rows that end with them."""
    total = np.concatenate([np.zeros(length, int), np.cumsum(marked)])
    return total[length:] > total[:-length]


def times(cells: pa.ChunkedArray, place: Place) -> Float[np.ndarray, " N"]:
    """Dates as seconds, or numbers as they are."""
    if is_number(cells.type):
        return numbers(cells, place)
    if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        text = words(cells, place)
        if len(text) and 2 * looks_like(text, (NUMBER,))[0] > len(text):
            return numbers(cells, place)
    return instants(cells, place)


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
    before = 0 if detector.windows is None else detector.windows.before
    names = tuple(dict.fromkeys((*detector.reads, *also)))
    begin = start - start % reader.BLOCK
    context: pa.Table | None = None
    for first, block in reader.blocks(source, names, max(0, begin - before), stop):
        context = block.slice(0, 0) if context is None else context
        if first >= begin:
            yield first, block, context
        if before:
            held = pa.concat_tables([context, block])
            context = held.slice(max(0, len(held) - before))
