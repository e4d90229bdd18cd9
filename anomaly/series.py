"""Detectors of series: the windows of the rows of a file, used once each, in the order of time.

    | models: the first 60 % | surprise of their scores: the next 20 % | calibration: the last 20 % |

The rows of the parts are disjoint: the first W − 1 windows of a part, which reach back into the one before,
are left out (a gap). Windows with a row labelled as an anomaly are left out as well. Of a file of more than
ROWS rows (fewer where windows are wide: CELLS) the last are used, as the newest say most about what comes.

What the p-values promise: that at most alpha of normal rows are flagged in the long run, if the series goes
on as in its last part. Windows share rows, so alarms come in bursts, and the realised rate spreads as if
there were only as many scores as disjoint blocks of W rows. Nothing is promised for a series that drifts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int

from anomaly.calibration import check_rate, smallest_alpha
from anomaly.detector import Detector
from anomaly.encoder import Encoder
from anomaly.models import fit_window_member, members_of_windows
from anomaly.reader import blocks, columns_of, of_array
from anomaly.sample import CELLS, ROWS, labels
from anomaly.schema import Schema, Survey
from anomaly.windows import Windows, holding, with_time
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
    strange: Bool[np.ndarray, " N"]  # rows that are labelled as anomalies
    source: str
    rows: int  # in the source
    label_column: str | None = None

    def part(self, begin: float, end: float) -> Int[np.ndarray, " n"]:
        """The rows from one share of the time to another whose windows lie inside, without a strange row.

        Raises:
            InputError: when there is none.
        """
        first = round(begin * len(self.table)) + self.windows.before
        last = round(end * len(self.table))
        ends = np.arange(first, max(first, last))
        found = ends[~holding(self.strange, self.windows.length)[ends]]
        if not len(found):
            least = int(np.ceil(LEAST * (self.windows.length + 1)))
            cut = f", of which the last {len(self.table)} fit" if len(self.table) < self.rows else ""
            marked = f" and {int(self.strange.sum())} labelled as anomalies" if self.strange.any() else ""
            raise InputError(
                f"{self.source} has {self.rows} rows{cut}{marked}, expected at least {least} for windows of"
                f" {self.windows.length}: some for models, for their surprise and for calibration, with gaps"
            )
        return found


def of_file(
    source: str,
    window: int,
    time: str | None = None,
    columns: Sequence[str] = (),
    label_column: str | None = None,
    categorical: Sequence[str] = (),
) -> Series:
    """The series of a file; the parameters are those of `sample.of_file`, and the window and its time.

    Raises:
        InputError: when the file cannot be read, lacks a column, or its times do not grow.
    """
    windows = Windows(window, time)
    names = columns_of(source)
    for name in (*columns, *categorical, *(n for n in (label_column, time) if n)):
        if name not in names:
            raise InputError(f"{source} lacks the column {name!r}, expected one of {', '.join(names[:8])}")
    if time is not None and time == label_column:
        raise InputError(f"the label and the time are both {time!r}, expected two columns")
    inputs = tuple(n for n in (columns or names) if n not in (label_column, time))
    wanted = tuple(dict.fromkeys((*inputs, *(n for n in (label_column, time) if n))))
    keep = min(ROWS, CELLS // max(1, len(inputs)))
    survey = Survey(source, keep, 0, categorical, counters=not columns)
    kept: list[pa.Table] = []
    strange: list[np.ndarray] = []
    rows = 0
    for first, block in blocks(source, wanted):
        truth = np.zeros(len(block), bool)
        if label_column:
            truth = labels(block[label_column], source, label_column, first)
            block = block.drop_columns([label_column])
        survey.add(block.drop_columns([time]) if time else block)
        kept, strange, rows = [*kept, block], [*strange, truth], rows + len(block)
        while sum(map(len, kept)) - len(kept[0]) >= keep:
            kept, strange = kept[1:], strange[1:]
    return _series(
        pa.concat_tables(kept), survey, windows, np.concatenate(strange), source, rows, label_column
    )


def of_table(data: Table | pa.Table, window: int, time: str | None = None) -> Series:
    """The series of a table of numbers, or of an Arrow table."""
    table = of_array(data.x, data.columns) if isinstance(data, Table) else data
    source = data.source if isinstance(data, Table) else "the table"
    survey = Survey(source, max(1, len(table)), 0)
    survey.add(table.drop_columns([time]) if time else table)
    strange = np.zeros(len(table), bool)
    return _series(table, survey, Windows(window, time), strange, source, len(table), None)


def _series(
    table: pa.Table,
    survey: Survey,
    windows: Windows,
    strange: Bool[np.ndarray, " N"],
    source: str,
    rows: int,
    label_column: str | None,
) -> Series:
    schema, time = with_time(survey.schema(), windows.time, source)
    windows = Windows(windows.length, time)
    keep = min(ROWS, CELLS // (windows.length * len(schema.inputs)))
    table, strange = table.slice(max(0, len(table) - keep)), strange[-keep:]
    windows.check_times(table, source, rows - len(table))
    return Series(table, schema, windows, strange, source, rows, label_column)


def fit(
    series: Series, kind: str = "auto", seed: int = 0, alpha: float | None = None, cfg: Any = None
) -> Detector:
    """New models of the windows of a series, calibrated on its last part.

    Raises:
        InputError: for an unknown kind, a rate that is none, and too few rows.
    """
    names = members_of_windows(kind)
    if alpha is not None:
        check_rate(alpha)
    windows = series.windows
    learn, judge, calibrate = (
        series.part(*ends) for ends in ((0.0, MODELS), (MODELS, SURPRISE), (SURPRISE, 1.0))
    )
    cells = series.schema.cells(series.table, series.source, series.rows - len(series.table))
    seen = np.arange(len(series.table)) < round(MODELS * len(series.table))
    fitted = {
        name: part[seen] if isinstance(part, np.ndarray) else part.filter(pa.array(seen))
        for name, part in cells.items()
    }
    encoder = Encoder.fit(series.schema, fitted)
    x = windows.of(encoder.features_of(cells), len(series.table))
    owner = windows.owners(encoder.owner)
    members = [fit_window_member(n, x[learn], x[judge], owner, windows.length, seed, cfg) for n in names]
    some = np.unique(np.linspace(0, len(learn) - 1, REFERENCES).round().astype(int))
    about = {
        "source": series.source,
        "rows": series.rows,
        "rows used": len(series.table),
        "rows labelled as anomalies": int(series.strange.sum()),
        "label column": series.label_column,
        "window": windows.length,
        "time column": windows.time,
        "windows fitted": len(learn),
        "calibrated on": f"windows at the end of the series ({len(calibrate) // windows.length} disjoint)",
    }
    found = Detector(
        kind, series.schema, encoder, members, np.zeros(1), x[learn[some]], alpha or 0.0, about, windows
    )
    score = found.score_features(x[calibrate], encoder.novel(cells)[calibrate].sum(1))
    found.calibration = np.sort(score)
    found.alpha = smallest_alpha(len(score)) if alpha is None else alpha
    return found
