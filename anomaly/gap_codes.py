"""Numbers that stand for a gap: -999 and its kin, which would pass for the coldest day on record."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from anomaly.schema import Schema

CODES = (-1, -9, -99, -999, -9999, -99999, 99, 999, 9999, 99999, 999999)
SEVERAL = 3  # cells with the code, and other values, that there are at least


@dataclass(frozen=True)
class GapCode:
    """A value of a column that is likely none."""

    column: str
    value: int
    count: int  # of the cells looked at


def gap_codes(schema: Schema, table: pa.Table, source: str) -> list[GapCode]:
    """The codes in the columns of numbers of a table: one for each column that has one."""
    numeric = Schema(tuple(column for column in schema.inputs if column.kind == "numeric"))
    found = []
    for name, x in numeric.cells(table, source).items():
        for value in (x[~np.isnan(x)].min(initial=0.0), x[~np.isnan(x)].max(initial=0.0)):
            count = int((x == value).sum())
            if value in CODES and count >= SEVERAL and _stands_apart(x, value):
                found.append(GapCode(name, int(value), count))
    return found


def _stands_apart(x: Float[np.ndarray, " N"], value: float) -> bool:
    """Whether it is negative and all others positive, or further from the others than they spread."""
    others = np.unique(x[~np.isnan(x) & (x != value)])
    if len(others) < SEVERAL:
        return False
    if value < 0 < others[0]:
        return True
    return bool(value != -1 and np.abs(others - value).min() > others[-1] - others[0])
