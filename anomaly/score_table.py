"""The file of scores: records become columns, and tables go into a CSV or Parquet file one after another."""

from typing import IO, Any

import numpy as np
import pyarrow as pa

from anomaly.detector import Detector
from anomaly.oddity import read
from anomaly.players import Players


def schema_of(kind: np.dtype) -> pa.Schema:
    """The columns that records of this kind become."""
    fields = [("row", pa.int64()), ("score", pa.float64()), ("p_value", pa.float64()), ("anomaly", pa.int8())]
    for i in range(kind["column"].shape[0] if "column" in (kind.names or ()) else 0):
        fields += [(f"column_{i + 1}", pa.string()), (f"share_{i + 1}", pa.float32())]
        fields += [(f"expected_{i + 1}", pa.string())]
    return pa.schema(fields)


def table_of(detector: Detector, start: int, records: np.ndarray, limit: float, kind: np.dtype) -> pa.Table:
    """The rows from `start` on, flagged up to the p-value `limit`, with their reasons in words.

    What is expected of a text is a token, instead of the one that makes it strange.
    """
    p = detector.p_of(records["score"])
    flagged = p <= limit + 1e-12
    found: dict[str, Any] = {
        "row": np.arange(start, start + len(records)),
        "score": records["score"],
        "p_value": p,
        "anomaly": flagged.astype(np.int8),
    }
    schema, own = schema_of(kind), detector.encoder.own is not None
    for i in range((len(schema) - 4) // 3):
        column, share = records["column"][:, i], records["share"][:, i]
        told = flagged & (column >= 0)
        names, expected = np.full(len(p), None, object), np.full(len(p), None, object)
        for at in np.flatnonzero(told):
            players = Players.of(detector, int(records["series"][at]) if own else None)
            names[at] = players.names[column[at]]
            normal = detector.references[records["reference"][at]]
            told_of = read(records["told"][at, i]) if "told" in (kind.names or ()) else ""
            expected[at] = told_of or players.shown(normal, int(column[at]), False)
        found[f"column_{i + 1}"] = pa.array(names, pa.string())
        found[f"share_{i + 1}"] = pa.array(share, pa.float32(), mask=~told)
        found[f"expected_{i + 1}"] = pa.array(expected, pa.string())
    return pa.table(found, schema=schema)


class Writer:
    """Tables one after another into a CSV or Parquet file."""

    def __init__(self, file: IO[bytes], suffix: str, schema: pa.Schema) -> None:
        self._sink: Any
        if suffix == ".parquet":
            from pyarrow import parquet

            self._sink = parquet.ParquetWriter(file, schema)
            self.write = self._sink.write_table
        else:
            from pyarrow import csv

            file.write((",".join(schema.names) + "\n").encode())
            options = csv.WriteOptions(include_header=False, quoting_style="needed")
            self._sink = csv.CSVWriter(file, schema, write_options=options)
            self.write = self._sink.write_table

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._sink.close()
