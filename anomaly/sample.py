"""What a detector learns from: a fair sample of the rows of a file, their schema, and facts about both.

The file is streamed once. At most ROWS rows are kept, fewer where there are many columns (CELLS), so that
fitting needs the same memory for ten million rows as for a hundred thousand.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int

from anomaly.cells import Place, words
from anomaly.delimited import LINE
from anomaly.reader import LABEL, LINES, TEXT, are_lines, blocks, columns_of, of_array
from anomaly.schema import Schema, Survey
from generative.data import Table
from training.errors import InputError
from training.seeds import numpy_generator

ROWS, CELLS = 50_000, 4_000_000
LEAST = 3  # rows: two to learn from, one to calibrate on
FALSE, TRUE = ("0", "0.0", "false", "False", "no", "normal"), ("1", "1.0", "true", "True", "yes", "anomaly")


@dataclass(frozen=True)
class Sample:
    """Rows to learn from."""

    table: pa.Table
    schema: Schema
    source: str
    rows: int  # in the source
    labelled: int = 0  # of them, labelled as anomalies and left out
    label_column: str | None = None
    group: np.ndarray | None = None  # of rows that belong together, as those of an episode do
    shape: tuple[int, ...] = ()  # of a row before it was flattened: (C, H, W) a picture

    def split(
        self, seed: int, share: float, most: int
    ) -> tuple[Int[np.ndarray, " f"], Int[np.ndarray, " c"]]:
        """Disjoint row numbers to fit and to calibrate; rows of one group stay together.

        Raises:
            InputError: for fewer than three rows, or two groups.
        """
        rows = len(self.table)
        of = np.arange(rows) if self.group is None else self.group
        groups = np.unique(of)
        least, what = (LEAST, "rows") if self.group is None else (2, "episodes")
        if len(groups) < least or rows < LEAST:
            raise InputError(
                f"{self.source} has {len(groups)} {what} to learn from, expected at least {least}"
            )
        order = numpy_generator(seed, "split").permutation(groups)
        count = max(1, min(round(share * len(groups)), max(1, round(most * len(groups) / rows))))
        chosen = np.isin(of, order[:count])
        return np.flatnonzero(~chosen), np.flatnonzero(chosen)

    def about(self) -> dict[str, Any]:
        """Facts for the model card."""
        shape = {"shape": list(self.shape)} if len(self.shape) == 3 else {}
        return {
            "source": self.source,
            "rows": self.rows,
            "rows sampled": len(self.table),
            "rows labelled as anomalies": self.labelled,
            "label column": self.label_column,
            **shape,
        }


def of_file(
    source: str,
    seed: int = 0,
    columns: Sequence[str] = (),
    label_column: str | None = None,
    categorical: Sequence[str] = (),
    text: Sequence[str] = (),
) -> Sample:
    """A sample of the rows of a file that are not labelled 1; `columns` are looked at, by default all.

    Those of `categorical` hold words, those of `text` sentences, whatever they look like;
    lines are always text.

    Raises:
        InputError: when the file cannot be read, or lacks a column.
    """
    if are_lines(source):
        text = (LINE,)
    for name in set(text) & set(categorical):
        raise InputError(f"the column {name!r} is named as text and as categorical, expected one of them")
    if (
        not columns
        and not categorical
        and not text
        and (whole := _whole(source, seed, label_column)) is not None
    ):
        return whole
    names = columns_of(source)
    for name in (*columns, *categorical, *text):
        if name not in names:
            raise InputError(f"{source} lacks the column {name!r}, expected one of {', '.join(names[:8])}")
    if label_column is not None and label_column not in names:
        raise InputError(
            f"{source} lacks the column {label_column!r}, expected one of {', '.join(names[:8])}"
        )
    inputs = tuple(name for name in (columns or names) if name != label_column)
    if not inputs:
        raise InputError(f"{source} has no column but the label {label_column!r}, expected some to look at")
    survey = Survey(source, _keep(len(inputs)), seed, categorical, not columns, text)
    wanted = (*inputs, label_column) if label_column else inputs
    rows = labelled = 0
    for first, block in blocks(source, wanted):
        rows += len(block)
        if label_column:
            anomaly = labels(block[label_column], source, label_column, first)
            labelled += int(anomaly.sum())
            block = block.drop_columns([label_column]).filter(pa.array(~anomaly))
        survey.add(block)
    if rows and labelled == rows:
        raise InputError(f"all {rows:,} rows of {source} are labelled as anomalies, expected normal ones")
    return Sample(survey.sample(), survey.schema(), source, rows, labelled, label_column)


def of_table(data: str | Table | pa.Table | np.ndarray, seed: int = 0) -> Sample:
    """A sample of a file, a table of numbers, an Arrow table, or an array (N, D), its columns x0, x1, ...

    Rows in groups, as those of episodes are, are all kept.
    """
    if isinstance(data, str):
        return of_file(data, seed)
    group: np.ndarray | None = None
    shape: tuple[int, ...] = ()
    if isinstance(data, Table):
        source, group, table = data.source, data.group, of_array(data.x, data.columns)
        shape = data.shape
    elif isinstance(data, np.ndarray):
        if data.ndim != 2:
            raise InputError(f"the array has the shape {data.shape}, expected (N, D)")
        source, table = "the array", of_array(data, tuple(f"x{i}" for i in range(data.shape[1])))
    else:
        source, table = "the table", data
    survey = Survey(source, _keep(table.num_columns) if group is None else max(1, len(table)), seed)
    survey.add(table)
    return Sample(survey.sample(), survey.schema(), source, len(table), group=group, shape=shape)


def _keep(columns: int) -> int:
    """How many rows are kept."""
    return max(LEAST, min(ROWS, CELLS // max(1, columns)))


def labels(cells: pa.ChunkedArray, source: str, name: str, first: int) -> np.ndarray:
    """Which rows are labelled as anomalies.

    Raises:
        InputError: for a label that is neither 0 nor 1.
    """
    place = Place(source, name, first)
    found = words(cells, place)
    strange, normal = (
        pc.is_in(found, pa.array(kind)).to_numpy(zero_copy_only=False) for kind in (TRUE, FALSE)
    )
    if len(bad := np.flatnonzero(~(strange | normal))):
        raise place.refuse(int(bad[0]), found[int(bad[0])].as_py(), "a label: 0 (normal) or 1 (anomaly)")
    return strange


def _whole(source: str, seed: int, label_column: str | None) -> Sample | None:
    """The sample of recorded episodes, whose rows belong together, or of pictures; None for other sources."""
    from generative import data

    if source.lower().endswith((*TEXT, *LINES, ".parquet", ".arrow", ".feather")):
        return None
    table = data.load(source, missing=True)
    if table.group is not None:
        return None if label_column else of_table(table)
    if len(table.shape) != 3 or label_column not in (None, LABEL):
        return None
    strange = np.zeros(len(table.x), bool)
    if label_column and table.y is not None:
        strange = labels(pa.chunked_array([table.label_cells()]), source, LABEL, 0)
    elif label_column:
        return None
    keep = _keep(table.x.shape[1])
    normal = np.flatnonzero(~strange)
    kept = np.sort(normal[numpy_generator(seed, "pictures").permutation(len(normal))[:keep]])
    found = of_table(replace(table, x=table.x[kept], y=None))
    return replace(found, rows=len(table.x), labelled=int(strange.sum()), label_column=label_column)
