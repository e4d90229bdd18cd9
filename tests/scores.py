"""Files scored by the detector in a folder, also by one that is killed on the way."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from anomaly import scoring
from anomaly.detector import Detector
from anomaly.scoring import Wish, score_file


def scored(place: Path, out: Path, source: str = "t.parquet", **wish: object) -> pa.Table:
    """What the detector in `place` makes of a file there, as `out` has it; beside it nothing is left."""
    detector = Detector.load(place / "model")
    score_file(detector, place / "model", str(place / source), out, Wish(**({"alpha": 0.05} | wish)))  # type: ignore[arg-type]
    assert [file.name for file in out.parent.iterdir() if file.name.startswith(".")] == []
    return parquet.read_table(out) if out.suffix == ".parquet" else csv.read_csv(out)


@contextmanager
def blocks_seen(dies_at: int | None = None) -> Iterator[list[int]]:
    """The first rows of the blocks that are scored; scoring is killed at the one that begins at `dies_at`."""
    usual, seen = scoring._score_block, []

    def told(*given: object) -> np.ndarray:
        seen.append(given[4])
        if given[4] == dies_at:
            raise KeyboardInterrupt
        return usual(*given)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "_score_block", told)
        yield seen
