"""What `lab fit` says of a detector: what each column was taken for, and what is promised."""

import warnings
from statistics import median

import pyarrow as pa

from anomaly.calibration import needed, rate_range
from anomaly.cells import Place, texts
from anomaly.detector import Detector
from anomaly.gap_codes import gap_codes
from anomaly.schema import Schema
from anomaly.tokens import tokens

LISTED = 8  # names of columns of a kind
LOOKED_AT, SEVERAL = 1_000, 3  # cells, and words of one from which on it may be a sentence
FEW = 20  # rows, below which they tell little
KINDS = {
    "numeric": "numbers",
    "category": "words",
    "date": "dates",
    "text": "text",
    "time": "time",
    "left out": "not looked at, as they name, count or date rows",
}


def warn_of(schema: Schema, table: pa.Table, source: str) -> None:
    """Warns of few rows to learn from, and of numbers among them that stand for gaps."""
    if len(table) < FEW:
        warnings.warn(
            f"{source} has {len(table)} rows to learn from, which tell little: expected {FEW} or more",
            stacklevel=2,
        )
    for name in _sentences(schema, table, source):
        warnings.warn(
            f"{source}: column {name!r} is left out, as most of its cells differ; if they are sentences,"
            f" --text {name} reads them",
            stacklevel=2,
        )
    for code in gap_codes(schema, table, source):
        warnings.warn(
            f"{source}: column {code.column!r} is {code.value} in {code.count} of {len(table)} rows, apart"
            " from its other values: if that stands for a gap, leave those cells empty",
            stacklevel=2,
        )


def _sentences(schema: Schema, table: pa.Table, source: str) -> list[str]:
    """The columns left out of which most cells have several words."""
    found = []
    for column in schema.columns:
        kind = table[column.name].type
        if column.kind == "left out" and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            cells = texts(table[column.name].slice(0, LOOKED_AT), Place(source, column.name, 0)).drop_null()
            count = [sum(token.isalpha() for token in tokens(text)) for text in cells.to_pylist()]
            found += [column.name] if count and median(count) >= SEVERAL else []
    return found


def fitted(detector: Detector) -> list[str]:
    """The lines: the detector, its columns, and its promise."""
    left = detector.about.get("rows labelled as anomalies", 0)
    without = f"; {left} rows labelled as anomalies left out" if left else ""
    kind = f"{detector.kind}, a glance alone," if detector.about.get("fast") else detector.kind
    count = len(detector.schema.columns)
    head = f"{kind} of {count} column{'' if count == 1 else 's'}{without}"
    return [head, *_columns(detector), *_scales(detector), *_promise(detector)]


def _columns(detector: Detector) -> list[str]:
    """The names of the columns of each kind, with their units."""
    of_kind: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for column in detector.schema.columns:
        unit = f" ({column.unit})" if column.unit else ""
        of_kind[column.kind].append(f"{column.name or '(no name)'}{unit}")
    lines = [f"  {KINDS[kind]}: {_some(names)}" for kind, names in of_kind.items() if names]
    amounts = [coding.column or "(no name)" for coding in detector.encoder.codings if coding.least]
    return [*lines, *([f"  amounts, seen by their logarithms: {_some(amounts)}"] if amounts else [])]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _scales(detector: Detector) -> list[str]:
    """A word where series differ much in spread, and are seen in one scale."""
    scale = str(detector.about.get("scale", ""))
    if ";" not in scale:
        return []
    return [f"  scale: {scale}", "  what is strange of the quiet ones may be lost: see --own-scale"]


def _promise(detector: Detector) -> list[str]:
    n, alpha = len(detector.calibration), detector.alpha
    lines = [f"  calibrated on {n} {detector.about['calibrated on']}; alpha {alpha:.3g}"]
    if not detector.flags:
        return [*lines, f"  no rows will be flagged: an alpha of {alpha:g} needs {needed(alpha)} such rows"]
    above = f"  rows that score above {detector.threshold:.4g} are anomalies"
    if detector.about.get("contaminated"):
        more = "  anomalies among the rows that calibrate hide others: `lab score --alpha` flags more"
        return [*lines, f"{above}; nothing is promised, as the rows may hold anomalies", more]
    if detector.windows:
        return [
            *lines,
            f"{above}: at most {alpha:.3g} of normal rows in the long run, if the series",
            "  goes on as in its last part; alarms come in bursts, and nothing is promised where it drifts",
        ]
    low, high = rate_range(n, alpha)
    return [
        *lines,
        f"{above}: at most {100 * alpha:.3g} % of normal rows in the mean",
        f"  over calibration sets, {100 * low:.2g} % to {100 * high:.2g} % with 95 of 100 sets of {n} rows,"
        " if rows are exchangeable",
    ]
