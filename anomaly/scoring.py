"""Scores of a file of any length, block by block: fixed memory, the same bits however the work is cut.

Scores are first written aside, in parts of PART rows, each whole or not there: a run that was killed goes on
with the parts that it lacks. When all are there, p-values and flags are made and the file is put in place.
"""

import fcntl
import hashlib
import json
import shutil
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from anomaly import on_ray
from anomaly.calibration import discoveries
from anomaly.detector import Detector
from anomaly.explain import QUICK, contributions, nearest_reference, shares
from anomaly.oddity import BYTES, kept, oddity
from anomaly.players import Players
from anomaly.reader import BLOCK
from anomaly.score_table import Writer, schema_of, table_of
from anomaly.strangest import Strangest
from anomaly.windows import stream
from generative.pictures import files_of
from training.arrays import npy
from training.errors import InputError
from training.files import MANIFEST, writing

PART = 16 * BLOCK
SUFFIXES = (".csv", ".parquet")
ENGINES: dict[str, Any] = {
    "here": lambda work, blocks: (work(*block) for block in blocks),
    "ray": on_ray.mapped,
}
BINS = 60


@dataclass(frozen=True)
class Wish:
    """What is wanted of scoring."""

    alpha: float  # rows of a p-value up to this are flagged,
    fdr: float | None = None  # unless this share of false discoveries is asked for
    explain: int = 0  # columns named for each flagged row
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class Scored:
    """What scoring found."""

    rows: int
    anomalies: int
    limit: float  # rows of a p-value up to this were flagged
    counts: list[int]  # of scores, between `edges`
    edges: list[float]
    top: list[tuple[int, float, float]]  # the strangest rows: row, score, p-value


def score_file(
    detector: Detector, folder: Path, source: str, out: Path, wish: Wish, engine: str = "here"
) -> Scored:
    """Writes `out`: row, score, p_value, anomaly and the reasons for each of the rows that are wished for.

    `folder` is the detector's model folder, to tell whether parts of an earlier run belong to this one.
    `engine` is where blocks are scored, one of ENGINES; it changes no bit.

    Raises:
        InputError: for rows that cannot be read and files that cannot be written; then nothing is.
    """
    if out.suffix not in SUFFIXES:
        raise InputError(f"{out} is of the kind {out.suffix!r}, expected {' or '.join(SUFFIXES)}")
    kind = _record(min(wish.explain, len(Players.of(detector).names)), detector)
    with _aside(out, _identity(folder, source, wish)) as parts:
        try:
            _score_parts(detector, source, wish, kind, parts, engine)
        except InputError:
            shutil.rmtree(parts)
            raise
        found = _put_together(detector, parts, out, wish, kind)
        shutil.rmtree(parts)
    return found


def _record(explained: int, detector: Detector) -> np.dtype:
    fields: list[Any] = [("score", "f8")]
    if detector.windows and detector.windows.series:
        fields.append(("series", "u4"))
    if explained:
        fields += [("reference", "i4"), ("column", "i4", (explained,)), ("share", "f4", (explained,))]
        if detector.encoder.texts:
            fields.append(("told", f"S{BYTES}", (explained,)))
    return np.dtype(fields)


def _identity(folder: Path, source: str, wish: Wish) -> str:
    """What the parts depend on: the model, the data and what is wished for."""
    data = Path(source)
    files = files_of(data) if data.is_dir() else [data]
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.exists()]
    told = hashlib.sha256(json.dumps(stats).encode()).hexdigest()
    return json.dumps([(folder / MANIFEST).read_text(), source, told, asdict(wish)])


@contextmanager
def _aside(out: Path, identity: str) -> Iterator[Path]:
    """The folder of the parts of `out`, emptied when they belong to another call; no other process has it."""
    parts = out.with_name(f".{out.name}.parts")
    try:
        parts.mkdir(exist_ok=True)
        lock = (parts / "lock").open("w")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{out} is being written by another process, expected another file") from None
        told = parts / "identity.json"
        if not told.exists() or told.read_text() != identity:
            for old in parts.glob("*.npy"):
                old.unlink()
            with writing(told) as file:
                file.write(identity.encode())
        yield parts


def _score_parts(
    detector: Detector, source: str, wish: Wish, kind: np.dtype, parts: Path, engine: str
) -> None:
    """Writes all parts that are not there yet; raises InputError when the file has fewer rows than wished."""
    start, ended = _done(parts, wish)
    if not ended:
        start = _score_rest(detector, source, wish, kind, parts, engine, start)
    if start == wish.start or (wish.stop is not None and start < wish.stop):
        raise InputError(
            f"{source} ends at row {start}, expected the rows {wish.start} to {wish.stop or 'its end'}"
        )


def _done(parts: Path, wish: Wish) -> tuple[int, bool]:
    """The row after the parts that are there, and whether the file ends with them."""
    done = {int(file.stem) for file in parts.glob("[0-9]*.npy")}
    start, ended = wish.start, False
    while start in done and not ended and (wish.stop is None or start < wish.stop):
        size = len(npy(parts / f"{start}.npy"))
        ended = size < PART - start % PART
        start += size
    return start, ended


def _score_rest(
    detector: Detector, source: str, wish: Wish, kind: np.dtype, parts: Path, engine: str, start: int
) -> int:
    """Writes the parts from the row `start` on; the row after the last is returned."""
    kept: list[np.ndarray] = []
    work = partial(_score_block, detector, source, wish, kind)
    blocks = stream(detector, source, start, wish.stop)
    with closing(ENGINES[engine](work, blocks)) as scored:
        for first, records in scored:
            low, high = max(start - first, 0), len(records)
            if wish.stop is not None:
                high = min(high, wish.stop - first)
            kept.append(records[low:high])
            if (first + BLOCK) % PART == 0:
                start = _write_part(parts, start, kept)
                kept = []
    if sum(map(len, kept)):
        start = _write_part(parts, start, kept)
    return start


def _write_part(parts: Path, start: int, kept: list[np.ndarray]) -> int:
    records = np.concatenate(kept)
    with writing(parts / f"{start}.npy") as file:
        np.save(file, records)
    return start + len(records)


def _score_block(
    detector: Detector,
    source: str,
    wish: Wish,
    kind: np.dtype,
    first: int,
    block: pa.Table,
    context: pa.Table,
) -> tuple[int, np.ndarray]:
    """The first row and the records of a whole block; its windows need `context`, the rows before it."""
    seen = detector.seen(block, source, first, context)
    records = np.zeros(len(block), kind)
    score = detector.score_seen(seen)
    records["score"] = score
    if not np.isfinite(score).all():
        at = first + int((~np.isfinite(score)).argmax())
        raise InputError(
            f"{source}: the score of row {at} is not finite, expected numbers nearer to the fitted"
        )
    if seen.series is not None:
        records["series"] = seen.series
    elif detector.windows and detector.windows.series:
        records["series"] = [zlib.crc32(n.encode()) for n in detector.windows.names(block, source, first)]
    if "column" in (kind.names or ()):
        records["column"] = -1
        shown = kind["column"].shape[0]
        strange = np.flatnonzero(detector.p_of(score) <= max(wish.alpha, wish.fdr or 0.0) + 1e-12)
        for rows in seen.pieces(strange):
            x = seen.of(rows)
            for row, its, reference in zip(rows, x, nearest_reference(detector, x), strict=True):
                phi = contributions(detector, its, seen.novel[row], int(reference), QUICK)
                most = np.argsort(-phi, kind="stable")[:shown]
                records["reference"][row] = reference
                records["column"][row] = np.where(phi[most] > 0, most, -1)
                records["share"][row] = shares(phi)[most]
                if "told" in (kind.names or ()):
                    names = [detector.columns[c] for c in most]
                    records["told"][row] = [kept(oddity(detector, block, int(row), name)) for name in names]
    return first, records


def _parts(parts: Path) -> Iterator[tuple[int, np.ndarray]]:
    for start in sorted(int(file.stem) for file in parts.glob("[0-9]*.npy")):
        yield start, npy(parts / f"{start}.npy")


def _put_together(detector: Detector, parts: Path, out: Path, wish: Wish, kind: np.dtype) -> Scored:
    """The file of scores, and what is to say about it."""
    n = len(detector.calibration)
    edges = _edges(detector, parts)
    rows, anomalies = 0, 0
    counts, strangers = np.zeros(len(edges) - 1, int), np.zeros(n + 1, int)
    apart = detector.windows.length if detector.windows else 1
    top = Strangest(apart)
    for start, records in _parts(parts):
        score = records["score"]
        counts += np.histogram(score, edges)[0]
        strangers += np.bincount(n - np.searchsorted(detector.calibration, score, "left"), minlength=n + 1)
        top.add(start, score, records["series"].astype(int) if "series" in (kind.names or ()) else None)
    limit = wish.alpha if wish.fdr is None else discoveries(strangers, wish.fdr)
    with writing(out) as file, Writer(file, out.suffix, schema_of(kind)) as writer:
        for start, records in _parts(parts):
            table = table_of(detector, start, records, limit, kind)
            rows += len(table)
            anomalies += int(table["anomaly"].to_numpy().sum())
            writer.write(table)
    p = detector.p_of(top.rows["score"])
    named = [
        (int(one["row"]), float(one["score"]), float(q))
        for one, q in zip(top.rows, p, strict=True)
        if apart == 1 or q < 1  # of a series 1 may be a row that has no window
    ]
    return Scored(rows, anomalies, limit, counts.tolist(), edges.tolist(), named)


def _edges(detector: Detector, parts: Path) -> np.ndarray:
    low, high = detector.calibration[0], detector.calibration[-1]
    for _, records in _parts(parts):
        low, high = min(low, records["score"].min()), max(high, records["score"].max())
    return np.linspace(low, high if high > low else low + 1, BINS + 1)
