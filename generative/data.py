"""Rows of numbers from wherever they are: one seam for every model and detector.

Sources: `digits` (bundled with scikit-learn) · `.csv` · `.parquet` · `.npy` · `.npz` with `x`, `X` or
`x_train` (and `x_test`; labels in `y`, `y_train`, `y_test`), or with recorded episodes (their transitions) ·
IDX files such as `train-images-idx3-ubyte.gz` · folders of pictures. Arrays with more than two axes are
flattened; the table remembers their shape. Pictures of bytes stay bytes.
"""

import hashlib
from collections.abc import Iterator, Sequence
from csv import Error as CsvError
from csv import reader as csv_reader
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from envs.recording import Episodes
from generative import pictures
from training.arrays import npy, npz
from training.errors import InputError
from training.seeds import numpy_generator

KEYS = ("x", "X", "x_train")
SUFFIXES = (".csv", ".parquet", ".npy", ".npz")
LARGEST = 1e150  # what can still be squared


@dataclass(frozen=True)
class Table:
    """Named columns of finite numbers."""

    x: np.ndarray  # (rows, D) float64; uint8 for pictures of bytes
    columns: tuple[str, ...]
    source: str  # what it was read from
    group: np.ndarray | None = None  # (rows,) of rows that belong together, as those of an episode do
    shape: tuple[int, ...] = ()  # of a row before it was flattened: (C, H, W) a picture, (T, D) a sequence
    y: np.ndarray | None = None  # (rows,) int64, the place of each row's label in `labels`
    labels: tuple[str, ...] = ()
    test: "Table | None" = None  # rows that whoever published the data keeps for tests

    def fingerprint(self) -> str:
        """The SHA-256 sum of the numbers."""
        return hashlib.sha256(np.ascontiguousarray(self.x).tobytes()).hexdigest()

    def expect(self, columns: tuple[str, ...], by: str) -> None:
        """Raises InputError unless the columns are those that `by` was made for, in their order."""
        if len(self.columns) != len(columns):
            raise InputError(f"{self.source} has {len(self.columns)} columns, {by} expects {len(columns)}")
        for i, (found, wanted) in enumerate(zip(self.columns, columns, strict=True)):
            if found != wanted:
                raise InputError(f"{self.source}: column {i} is {found!r}, {by} expects {wanted!r}")

    def label_cells(self) -> list[str]:
        """The label of each row, as a file would have it."""
        assert self.y is not None
        return [self.labels[i] for i in self.y]


def load(source: str, missing: bool = False) -> Table:
    """The table called `digits` or in the file or folder `source`; `missing` lets values be NaN.

    Raises:
        InputError: when there is no such file, its kind is unknown, it has no rows, or a value is text,
            missing or infinite: the message names row (counted from 0) and column.
    """
    path = Path(source)
    if source == "digits":
        return _digits()
    if path.is_dir():
        x, names = pictures.folder(path)
        return _labelled(_checked(x, (), source), np.array(names) if any(names) else None)
    if not path.is_file():
        raise InputError(
            f"{source} does not exist, expected `digits`, a file ({', '.join(SUFFIXES)}, IDX) or a folder"
            " of pictures"
        )
    if pictures.is_idx(path):
        return _idx(path)
    readers = {".csv": _csv, ".parquet": _parquet, ".npy": _npy}
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"{source} is of the kind {path.suffix!r}, expected {', '.join(SUFFIXES)}; detectors read .tsv,"
            " .csv.gz, .tsv.gz, .arrow, .feather, .log and .txt too"
        )
    if path.suffix == ".npz":
        return _episodes(path) or _npz(path, missing)
    x, columns = readers[path.suffix](path)
    return _checked(x, tuple(columns), source, missing)


def of_episodes(episodes: Episodes, source: str) -> Table:
    """The transitions of episodes as a table, grouped by episode."""
    x, columns = episodes.transitions()
    table = _checked(x, tuple(columns), source)
    return replace(table, group=np.repeat(np.arange(len(episodes)), episodes.length))


def split_table(table: Table, seed: int, *shares: float) -> tuple[np.ndarray, ...]:
    """Row numbers of disjoint parts of a table; rows of one group stay together.

    Raises:
        InputError: when there are fewer rows, or groups, than shares.
    """
    if table.group is None:
        return tuple(split(len(table.x), seed, *shares))
    parts = split(int(table.group.max()) + 1, seed, *shares)
    return tuple(np.flatnonzero(np.isin(table.group, part)) for part in parts)


def split(rows: int, seed: int, *shares: float) -> Iterator[np.ndarray]:
    """Disjoint sets of row numbers, drawn by seed: one for each share, none empty when rows suffice.

    Raises:
        InputError: when there are fewer rows than shares.
    """
    if rows < len(shares):
        raise InputError(f"there are {rows} rows or episodes, expected at least {len(shares)} to split")
    order = numpy_generator(seed, "split").permutation(rows)
    ends = np.round(np.cumsum(shares) / sum(shares) * rows).astype(int)
    for i in range(len(ends)):
        ends[i] = max(ends[i], ends[i - 1] + 1 if i else 1)
    for i in reversed(range(len(ends))):
        ends[i] = min(ends[i], rows - (len(ends) - 1 - i))
    return (np.sort(part) for part in np.split(order, ends[:-1]))


def _digits() -> Table:
    from sklearn.datasets import load_digits

    digits = load_digits()
    table = _checked(digits.data, tuple(f"pixel_{i // 8}_{i % 8}" for i in range(64)), "digits")
    return _labelled(replace(table, shape=(1, 8, 8)), digits.target)


def _idx(path: Path) -> Table:
    x, y = pictures.idx(path)
    table = _labelled(_checked(x, (), str(path)), y)
    beside = pictures.idx_test(path)
    return table if beside is None else _with_test(table, *pictures.idx(beside), str(beside))


def _labelled(table: Table, y: np.ndarray | None) -> Table:
    """The table with a label for each row, when there are some: the labels are sorted."""
    if y is None or y.ndim != 1 or y.dtype.kind not in "iubUS":  # numbers that are not whole are no labels
        return table
    if len(y) != len(table.x):
        raise InputError(f"{table.source} has {len(y)} labels, expected {len(table.x)}, one a row")
    labels, place = np.unique(y, return_inverse=True)
    return replace(table, y=place.astype(np.int64), labels=tuple(map(str, labels)))


def _with_test(table: Table, x: np.ndarray, y: np.ndarray | None, source: str) -> Table:
    """The table with rows kept for tests, whose labels are numbered as its own are."""
    test = _labelled(_checked(x, table.columns, source), y)
    if test.shape != table.shape or test.x.shape[1] != table.x.shape[1]:
        raise InputError(f"{source}: test rows are of shape {x.shape[1:]}, expected {table.shape}")
    if test.y is not None:
        if unknown := sorted(set(test.labels) - set(table.labels)):
            raise InputError(f"{source}: test rows have the label {unknown[0]!r}, which no other row has")
        place = np.array([table.labels.index(label) for label in test.labels])
        test = replace(test, y=place[test.y], labels=table.labels)
    return replace(table, test=test)


def _csv(path: Path) -> tuple[np.ndarray, list[str]]:
    import pyarrow as pa
    from pyarrow import csv

    try:
        with path.open(encoding="utf-8-sig") as file:
            first = next((line for line in file if line.strip()), "").rstrip("\r\n")
        headless = no_header([cell for row in csv_reader([first]) for cell in row])
        read = csv.ReadOptions(use_threads=False, autogenerate_column_names=headless)
        table = csv.read_csv(path, read)
    except (pa.ArrowInvalid, UnicodeDecodeError, CsvError) as error:
        raise InputError(f"{path} cannot be read as CSV: {' '.join(str(error).split())}") from None
    names = [f"x{i}" for i in range(table.num_columns)] if headless else table.column_names
    return _numbers(table, names, path)


def _parquet(path: Path) -> tuple[np.ndarray, list[str]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())}") from None
    return _numbers(table, table.column_names, path)


def _numbers(table, names: list[str], path: Path) -> tuple[np.ndarray, list[str]]:  # type: ignore[no-untyped-def]
    import pyarrow as pa

    types = pa.types
    kinds = (types.is_integer, types.is_floating, types.is_boolean, types.is_null, types.is_decimal)
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path} has the column {twice[0]!r} twice, expected names that differ")
    for name, column in zip(names, table.columns, strict=True):
        if not any(kind(column.type) for kind in kinds):
            cells = column.to_pylist()
            row = next((i for i, cell in enumerate(cells) if not _is_number(str(cell))), 0)
            raise InputError(
                f"{path}: column {name!r}, row {row} is {str(cells[row])[:40]!r}, expected a number: models"
                f" learn from numbers alone, `lab fit {path} --detector vae` reads words and dates too"
            )
    columns = [column.cast(pa.float64(), safe=False).to_numpy() for column in table.columns]
    return (np.stack(columns, axis=1) if columns else np.zeros((0, 0))), names


def _npy(path: Path) -> tuple[np.ndarray, list[str]]:
    return npy(path), []


def _episodes(path: Path) -> Table | None:
    """The transitions of recorded episodes, when the file holds some."""
    with npz(path, "arrays") as arrays:
        if "obs" not in arrays or "length" not in arrays:
            return None
    return of_episodes(Episodes.load(path), str(path))


def _npz(path: Path, missing: bool) -> Table:
    with npz(path, "arrays") as arrays:
        key = next((key for key in KEYS if key in arrays), None)
        if key is None:
            found = ", ".join(arrays) or "no arrays"
            raise InputError(f"{path} has {found}, expected one of {', '.join(KEYS)}")
        told = "y_train" if key == "x_train" else "y"
        labels = arrays.get(told)
        table = _labelled(_checked(arrays[key], (), str(path), missing), labels)
        if key != "x_train" or "x_test" not in arrays:
            return table
        labels = arrays.get("y_test") if table.y is not None else None
        return _with_test(table, arrays["x_test"], labels, str(path))


def _shape(x: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Rows with channels first, and a row's shape: bytes in (H, W) and all in three axes are pictures."""
    if x.ndim == 4 and x.shape[3] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
        x = x.transpose(0, 3, 1, 2)
    if x.ndim == 3 and x.dtype == np.uint8:
        x = x[:, None]
    return x, x.shape[1:] if x.ndim in (3, 4) else ()


def _checked(x: np.ndarray, columns: tuple[str, ...], source: str, missing: bool = False) -> Table:
    if x.dtype.kind not in "fiub":
        raise InputError(f"{source} holds values of type {x.dtype}, expected numbers")
    if x.ndim < 2 or x.size == 0:
        raise InputError(f"{source} has the shape {x.shape}, expected rows and columns, at least one of each")
    x, shape = _shape(x)
    x = x.reshape(len(x), -1)
    columns = columns or tuple(f"x{i}" for i in range(x.shape[1]))
    if shape and x.dtype == np.uint8:
        return Table(np.ascontiguousarray(x), columns, source, shape=shape)
    x = x.astype(np.float64)
    bad = ~(np.abs(x) <= LARGEST)
    if missing:
        bad &= ~np.isnan(x)
    if bad.any():
        row, column = map(int, np.argwhere(bad)[0])
        what = "missing (NaN)" if np.isnan(x[row, column]) else f"{x[row, column]:g}"
        raise InputError(
            f"{source}: column {columns[column]!r}, row {row} is {what}, expected a number up to {LARGEST:g}"
            f" ({int(bad.any(axis=1).sum())} of {len(x)} rows have such values)"
        )
    return Table(x, columns, source, shape=shape)


def no_header(first: Sequence[str]) -> bool:
    """Whether the first row of a file holds numbers, not names; 0, 1, 2, ... are names that pandas gives."""
    cells = [cell for cell in first if cell.strip()]
    return bool(cells) and all(map(_is_number, cells)) and cells != [str(i) for i in range(len(cells))]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
