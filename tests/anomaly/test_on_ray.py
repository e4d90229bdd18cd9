"""Scores through Ray are those of one process, bit by bit; errors keep their line, nothing stays."""

import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from anomaly import on_ray
from tests.processes import ENVIRONMENT, lab
from training.errors import InputError

ROWS = 20_000  # more than two blocks
BAD = 9_000  # a row of the second block
INSTALLED = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra [ray]")


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(ENVIRONMENT, "RAY_ADDRESS", raising=False)


@pytest.fixture
def place() -> Iterator[Path]:
    """A detector and rows; the name is short, as Ray keeps sockets in it."""
    rng = np.random.default_rng(0)
    rows = pa.table(
        {"a": rng.normal(size=ROWS), "b": rng.normal(size=ROWS), "w": rng.choice(["x", "y"], ROWS)}
    )
    with tempfile.TemporaryDirectory() as made:
        here = Path(made)
        parquet.write_table(rows.slice(0, 300), here / "train.parquet")
        parquet.write_table(rows, here / "d.parquet", row_group_size=3_000)
        csv.write_csv(rows, here / "d.csv")
        assert lab("fit", "train.parquet", "--detector", "memory", "--dir", "run", cwd=here).returncode == 0
        yield here


@INSTALLED
@pytest.mark.long
@pytest.mark.parametrize("data", ["d.parquet", "d.csv"])
def test_ray_gives_the_same_file(place: Path, data: str) -> None:
    for engine in ("here", "ray"):
        words = ("score", "run", data, "--rows", "100:19000", "--explain", "1", "--out", f"{engine}.csv")
        done = lab(*words, "--engine", engine, cwd=place, timeout=300, TMPDIR=str(place))
        assert (done.returncode, done.stderr) == (0, "")
    assert (place / "ray.csv").read_bytes() == (place / "here.csv").read_bytes()
    assert csv.read_csv(place / "ray.csv")["row"].to_pylist() == list(range(100, 19_000))
    assert not list(place.glob("lab-ray-*"))


@INSTALLED
@pytest.mark.long
def test_a_bad_row_is_named_through_ray(place: Path) -> None:
    lines = (place / "d.csv").read_text().splitlines()
    lines[BAD + 1] = "oops,1,x"
    (place / "bad.csv").write_text("\n".join(lines) + "\n")
    before = sorted(place.rglob("*"))
    here, ray = (
        lab(*f"score run bad.csv --out s.csv --engine {engine}".split(), cwd=place, TMPDIR=str(place))
        for engine in ("here", "ray")
    )
    assert (ray.returncode, ray.stdout, ray.stderr) == (2, "", here.stderr)
    assert f"row {BAD}" in ray.stderr
    assert sorted(place.rglob("*")) == before


def test_without_ray_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"Ray is not installed, expected: pip install .*\[ray\]"):
        next(on_ray.mapped(len, iter([("block",)])))
