"""Rows of a file as Arrow tables of a fixed size, in order: nothing is in memory but the block at hand.

    .csv .tsv (.gz)   separated by comma, semicolon, tab or bar, whichever the header has most of; quotes as
                      in RFC 4180; UTF-8, or UTF-16 with its mark. All cells are text, read by `cells`.
                      Where semicolons separate, the decimal of a number may be a comma; elsewhere commas
                      may group its digits by three, as in "1,234.50", or points where that is sure, as in
                      "1.234,50". A first line of numbers alone is a row, and the columns are x0, x1, ...
    .log .txt (.gz)   the lines of a text, each the one cell of a row in the column `line`, whatever is in it
    .parquet .arrow   columns of numbers, text (commas in it as above), booleans, dates
    others            what `generative.data` reads, and .npy and .npz with gaps (NaN); labels that are kept
                      beside the rows are the column `y`, for those who ask for it

Blocks begin at multiples of BLOCK, wherever one starts to read: what is computed from a block is the same bit
by bit however the work is cut. Rows are counted from 0, the header not among them. In a file of one column,
and so of text, a blank line is a row with a gap, but for one at the very end; elsewhere it is refused, but at
the end.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from anomaly.amounts import regular
from anomaly.delimited import LINE, chosen_columns, header, lines, must_be_file, tables
from training.errors import InputError

BLOCK = 8_192  # rows of a block
CACHED = 1_024  # rows transposed at once
LABEL = "y"  # the column of labels that a source keeps beside its rows
TEXT = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
LINES = (".log", ".txt", ".log.gz", ".txt.gz")


def columns_of(source: str) -> tuple[str, ...]:
    """The names of the columns of a file; the errors are those of `blocks`."""
    if _is_text(source):
        return header(Path(source))[0]
    if are_lines(source):
        return (LINE,)
    return tuple(next(blocks(source, stop=1))[1].column_names)


def blocks(
    source: str, names: tuple[str, ...] | None = None, start: int = 0, stop: int | None = None
) -> Iterator[tuple[int, pa.Table]]:
    """(first row, rows) of a file; the blocks hold all of the rows `start` to `stop`, and may hold more.

    `names` are the columns to read, by default all, in the order of the file.

    Raises:
        InputError: when there is no such file, it cannot be read (the message has the row), it has no rows,
            or a name occurs twice, or is missing.
    """
    first = start - start % BLOCK
    found = 0
    for table in _pieces(source, names, first):
        for begin in range(0, len(table), BLOCK):
            if stop is not None and first + found >= stop:
                return
            block = table.slice(begin, BLOCK)
            yield first + found, block
            found += len(block)
    if not found and first == 0:
        raise InputError(f"{source} has 0 rows, expected at least 1")


def read(source: str) -> pa.Table:
    """All rows at once; the errors are those of `blocks`."""
    return pa.concat_tables([block for _, block in blocks(source)])


def of_array(x: np.ndarray, columns: tuple[str, ...]) -> pa.Table:
    """Rows and columns of numbers as a table."""
    if x.ndim != 2 or x.shape[1] != len(columns):
        raise InputError(f"the array has the shape {x.shape}, expected rows of {len(columns)} columns")
    return pa.table(list(transposed(x)), names=list(columns))


def transposed(x: np.ndarray) -> np.ndarray:
    """Rows as columns, in the order of memory; some rows at a time stay in the cache, a third of the time."""
    turned = np.empty(x.shape[::-1], x.dtype)
    for first in range(0, len(x), CACHED):
        turned[:, first : first + CACHED] = x[first : first + CACHED].T
    return turned


def _pieces(source: str, names: tuple[str, ...] | None, first: int) -> Iterator[pa.Table]:
    """Tables of whole blocks, but for the last, from the row `first` on."""
    if _is_text(source):
        found, skip = tables(Path(source), names), first
    elif are_lines(source):
        found, skip = lines(Path(source), names), first
    elif source.endswith((".parquet", ".arrow", ".feather")):
        must_be_file(Path(source))
        found, skip = _typed(Path(source), names, first)
        found = (regular(table, commas=False) for table in found)
    else:
        found, skip = iter([_array(source, names)]), first
    yield from _whole_blocks(found, skip)


def _whole_blocks(found: Iterator[pa.Table], skip: int) -> Iterator[pa.Table]:
    kept: list[pa.Table] = []
    held = 0
    for table in found:
        if skip >= len(table):
            skip -= len(table)
            continue
        kept.append(table.slice(skip))
        held += len(table) - skip
        skip = 0
        if held >= BLOCK:
            joined = pa.concat_tables(kept)
            ready = held - held % BLOCK
            yield joined.slice(0, ready)
            kept, held = [joined.slice(ready)], held - ready
    if held:
        yield pa.concat_tables(kept)


def are_lines(source: str) -> bool:
    """Whether a file is a text, whose lines are its rows."""
    return source.lower().endswith(LINES)


def _is_text(source: str) -> bool:
    return source.lower().endswith(TEXT)


def _typed(path: Path, wanted: tuple[str, ...] | None, first: int) -> tuple[Iterator[pa.Table], int]:
    """Tables of a Parquet or Arrow file, and how many of their rows come before the row `first`."""
    if path.suffix == ".parquet":
        return _parquet(path, wanted, first)
    return _arrow(path, wanted), first


def _parquet(path: Path, wanted: tuple[str, ...] | None, first: int) -> tuple[Iterator[pa.Table], int]:
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 16)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())}") from None
    chosen = chosen_columns(tuple(file.schema_arrow.names), wanted, path)
    group, skip = 0, first
    while group < file.num_row_groups and skip >= file.metadata.row_group(group).num_rows:
        skip -= file.metadata.row_group(group).num_rows
        group += 1

    def pieces() -> Iterator[pa.Table]:
        groups = list(range(group, file.num_row_groups))
        try:
            for batch in file.iter_batches(BLOCK, groups, list(chosen), use_threads=False):
                yield pa.Table.from_batches([batch])
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())}") from None

    return pieces(), skip


def _arrow(path: Path, wanted: tuple[str, ...] | None) -> Iterator[pa.Table]:
    from pyarrow import ipc

    try:
        with pa.memory_map(str(path)) as mapped, ipc.open_file(mapped) as file:
            chosen = chosen_columns(tuple(file.schema.names), wanted, path)
            for i in range(file.num_record_batches):
                yield pa.Table.from_batches([file.get_batch(i)]).select(chosen)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read as Arrow: {' '.join(str(error).split())}") from None


def _array(source: str, wanted: tuple[str, ...] | None) -> pa.Table:
    """An array file, or any other source that generative models know."""
    from generative import data

    table = data.load(source, missing=True)
    found = of_array(table.x, table.columns)
    if table.y is not None and LABEL not in table.columns and LABEL in (wanted or ()):
        found = found.append_column(LABEL, pa.array(table.label_cells()))
    return found.select(chosen_columns(tuple(found.column_names), wanted, Path(source)))
