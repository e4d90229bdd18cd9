"""Rows of a file as Arrow tables of a fixed size, in order: nothing is in memory but the block at hand.

    .csv .tsv (.gz)   separated by comma, semicolon, tab or bar, whichever the header has most of; quotes as
                      in RFC 4180; UTF-8 with or without BOM. All cells are text here: `cells` reads them.
                      Where semicolons separate, the decimal of a number may be a comma. A first line of
                      numbers alone is a row, and the columns are called x0, x1, ...
    .parquet .arrow   columns of numbers, text, booleans, dates
    others            what `generative.data` reads, and .npy and .npz with gaps (NaN)

Blocks begin at multiples of BLOCK, wherever one starts to read: what is computed from a block is the same bit
by bit however the work is cut. Rows are counted from 0, the header and blank lines not among them.
"""

import csv as plain_csv
import gzip
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anomaly.cells import COMMA
from training.arrays import npy, npz
from training.errors import InputError

BLOCK = 8_192  # rows of a block
MAX_COLUMNS = 10_000
BYTES = 4 << 20  # of text parsed at once; no line may be longer
SEPARATORS = ",;\t|"
TEXT = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
KEYS = ("x", "X", "x_train")


def columns_of(source: str) -> tuple[str, ...]:
    """The names of the columns of a file; the errors are those of `blocks`."""
    if _is_text(source):
        return _header(Path(source))[0]
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
    return pa.table([np.ascontiguousarray(column) for column in x.T], names=list(columns))


def _pieces(source: str, names: tuple[str, ...] | None, first: int) -> Iterator[pa.Table]:
    """Tables of whole blocks, but for the last, from the row `first` on."""
    if _is_text(source):
        found, skip = _csv(Path(source), names), first
    elif source.endswith((".parquet", ".arrow", ".feather")):
        _must_be_file(Path(source))
        found, skip = _typed(Path(source), names, first)
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


def _is_text(source: str) -> bool:
    return source.lower().endswith(TEXT)


def _must_be_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}, expected a file")


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _header(path: Path) -> tuple[tuple[str, ...], str, bool]:
    """The columns, the separator, and whether the first line is a row already."""
    _must_be_file(path)
    try:
        with _open(path) as file:
            start = file.read(BYTES)
        text = start.decode("utf-8-sig", errors="ignore" if len(start) == BYTES else "strict")
        lines = io.StringIO(text, newline="")
        first = next((line for line in text.splitlines() if line.strip()), "")
        if not first:
            raise InputError(f"{path} is empty, expected a header and rows")
        outside = re.sub(r'"[^"]*"', "", first)
        separator = max(SEPARATORS, key=outside.count)
        plain_csv.field_size_limit(BYTES)
        cells = next(row for row in plain_csv.reader(lines, delimiter=separator) if any(row))
    except UnicodeDecodeError:
        raise InputError(_undecoded(path)) from None
    except (OSError, EOFError, plain_csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}") from None
    if len(cells) > MAX_COLUMNS:
        raise InputError(f"{path} has {len(cells):,} columns, expected at most {MAX_COLUMNS:,}")
    counted = [str(i) for i in range(len(cells))]  # the header that pandas gives columns without names
    headless = all(map(_is_number, filter(str.strip, cells))) and cells != counted
    names = tuple(f"x{i}" for i in range(len(cells))) if headless else tuple(cells)
    _must_differ(names, path)
    return names, separator, headless


def _must_differ(names: tuple[str, ...], path: Path) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} has the column {twice!r} twice, expected names that differ")


def _csv(path: Path, wanted: tuple[str, ...] | None) -> Iterator[pa.Table]:
    from pyarrow import csv

    names, separator, headless = _header(path)
    chosen = _chosen(names, wanted, path)
    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, include_columns=chosen
    )
    options = csv.ReadOptions(
        use_threads=False, block_size=BYTES, column_names=names, skip_rows=0 if headless else 1
    )
    parse = csv.ParseOptions(delimiter=separator, newlines_in_values=True)
    first = 1 if headless else 2  # the number that Arrow gives row 0
    try:
        with _Watched(path) as file, csv.open_csv(file, options, parse, convert) as reader:
            for batch in reader:
                table = pa.Table.from_batches([batch])
                yield _with_points(table) if separator == ";" else table
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise InputError(_told(path, str(error), first)) from None


def _with_points(table: pa.Table) -> pa.Table:
    """Decimal commas of numbers made points; other text keeps its commas."""
    columns = []
    for column in table.columns:
        comma = pc.match_substring_regex(column, COMMA)
        columns.append(pc.if_else(comma, pc.replace_substring(column, ",", "."), column))
    return pa.table(columns, names=table.column_names)


def _told(path: Path, error: str, first: int) -> str:
    """What Arrow or the system said of a CSV file, in our words."""
    if "invalid UTF8" in error:
        return _undecoded(path)
    if ragged := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", error):
        row, wanted, found = map(int, ragged.groups())
        return f"{path}: row {row - first} has {found} cells, expected {wanted}"
    if "straddling" in error:
        return f"{path} has a line of more than {BYTES:,} bytes (a quote that is never closed?)"
    return f"{path} cannot be read as CSV: {' '.join(error.split())}"


def _undecoded(path: Path) -> str:
    """Names the first line that is not UTF-8."""
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                bad = line[error.start]
                return f"{path}, line {number} has the byte 0x{bad:02x}, expected UTF-8 (is it latin-1?)"
    return f"{path} is not UTF-8"


class _Watched(io.RawIOBase):
    """The bytes of a file; a NUL among them is refused, and an odd number of quotes: one is never closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.file, self.lines, self.quotes = path, _open(path), 0, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        at = data.find(b"\0")
        if at >= 0:
            line = self.lines + data.count(b"\n", 0, at) + 1
            raise InputError(f"{self.path}, line {line} has a NUL byte, expected text")
        self.lines += data.count(b"\n")
        self.quotes += data.count(b'"')
        if not data and size and self.quotes % 2:
            raise InputError(f"{self.path} has a quote that is never closed, expected them in pairs")
        return data

    def close(self) -> None:
        self.file.close()
        super().close()


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
    chosen = _chosen(tuple(file.schema_arrow.names), wanted, path)
    group, skip = 0, first
    while group < file.num_row_groups and skip >= file.metadata.row_group(group).num_rows:
        skip -= file.metadata.row_group(group).num_rows
        group += 1

    def tables() -> Iterator[pa.Table]:
        groups = list(range(group, file.num_row_groups))
        try:
            for batch in file.iter_batches(BLOCK, groups, list(chosen), use_threads=False):
                yield pa.Table.from_batches([batch])
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())}") from None

    return tables(), skip


def _arrow(path: Path, wanted: tuple[str, ...] | None) -> Iterator[pa.Table]:
    from pyarrow import ipc

    try:
        with pa.memory_map(str(path)) as mapped, ipc.open_file(mapped) as file:
            chosen = _chosen(tuple(file.schema.names), wanted, path)
            for i in range(file.num_record_batches):
                yield pa.Table.from_batches([file.get_batch(i)]).select(chosen)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read as Arrow: {' '.join(str(error).split())}") from None


def _array(source: str, wanted: tuple[str, ...] | None) -> pa.Table:
    """An array file, or any other source that generative models know."""
    path = Path(source)
    x: np.ndarray | None = None
    if path.is_file() and path.suffix == ".npy":
        x = npy(path)
    elif path.is_file() and path.suffix == ".npz":
        with npz(path, "arrays") as arrays:
            x = next((arrays[key] for key in KEYS if key in arrays and "length" not in arrays), None)
    if x is None:
        from generative import data

        table = data.load(source)
        x, names = table.x, table.columns
    elif x.dtype.kind not in "fiub" or x.ndim < 2 or x.size == 0:
        raise InputError(
            f"{source} has the shape {x.shape} of {x.dtype}, expected rows and columns of numbers"
        )
    else:
        x = x.reshape(len(x), -1)
        names = tuple(f"x{i}" for i in range(x.shape[1]))
    return of_array(x, names).select(_chosen(names, wanted, path))


def _chosen(names: tuple[str, ...], wanted: tuple[str, ...] | None, path: Path) -> list[str]:
    _must_differ(names, path)
    if len(names) > MAX_COLUMNS:
        raise InputError(f"{path} has {len(names):,} columns, expected at most {MAX_COLUMNS:,}")
    for name in wanted or ():
        if name not in names:
            raise InputError(f"{path} lacks the column {name!r}, expected {', '.join(wanted or ())[:200]}")
    return list(names if wanted is None else wanted)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
