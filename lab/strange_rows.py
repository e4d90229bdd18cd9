"""What a detector's page shows of rows: why the strangest are strange, and series as they ran."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from anomaly import reader
from anomaly.cells import Place, numbers, words
from anomaly.detector import Detector
from anomaly.explain import QUICK, Reason, reasons
from anomaly.oddity import oddity
from anomaly.trace import Judged, traces, wanted
from anomaly.windows import stream

NEW_WORD = "another word"  # how an encoder shows a word that has no feature of its own
REASONS = 3  # columns that are kept for each of the strangest rows


def strange_rows(
    detector: Detector, source: str, top: list[tuple[int, float, float]]
) -> list[dict[str, Any]]:
    """The rows of `top` (row, score, p-value) with their reasons, fit for JSON; of a series with its name."""
    found: dict[int, dict[str, Any]] = {}
    rows = sorted(row for row, _, _ in top)
    for first, block, context in stream(detector, source, rows[0], rows[-1] + 1) if rows else ():
        here = [row for row in rows if first <= row < first + len(block)]
        if not here:
            continue
        seen = detector.seen(block, source, first, context)
        for row in here:
            x = seen.of(np.array([row - first]))[0]
            why = reasons(detector, x, seen.novel[row - first], QUICK, seen.whose(row - first))
            why = with_words(detector, why, block, row - first)
            found[row] = {
                "reasons": [asdict(reason) for reason in why[:REASONS]],
                "shares": {reason.column: reason.share for reason in why if reason.share > 0},
                "features": x.tolist(),
            }
            if detector.windows:
                cells = block.slice(row - first, 1)
                told = {"series": detector.windows.series, "when": detector.windows.time}
                named = {key: name for key, name in told.items() if name}
                found[row] |= {
                    key: words(cells[name], Place(source, name, row))[0].as_py()
                    for key, name in named.items()
                }
    return [{"row": row, "score": score, "p_value": p, **found[row]} for row, score, p in top]


def with_words(detector: Detector, why: list[Reason], block: pa.Table, at: int) -> list[Reason]:
    """The reasons of row number `at` of a block, with the words themselves where they are new.

    Of a text they have the strangest token, with what stands around it, and what was expected in its place.
    """
    found = []
    for reason in why:
        if odd := oddity(detector, block, at, reason.column):
            expected = f"{odd.instead} ({odd.p:.0%}) in its place"
            reason = replace(reason, value=odd.where, expected=expected)
        if reason.value.startswith(NEW_WORD) and reason.column in block.column_names:
            cell = words(block[reason.column].slice(at, 1), Place("the rows", reason.column, at))[0].as_py()
            reason = replace(reason, value=cell or "missing")
        found.append(reason)
    return found


def as_it_ran(
    detector: Detector, source: str, top: list[dict[str, Any]], judged: Iterator[Judged]
) -> list[dict[str, Any]]:
    """The series of the strangest rows, to be drawn; none where rows stand alone."""
    if not detector.windows or not top:
        return []
    columns = wanted(detector, [(row.get("series", ""), row["shares"]) for row in top])
    return traces(detector, source, judged, columns)


def of_scores(
    detector: Detector, source: str, scores: Path, start: int, stop: int | None
) -> Iterator[Judged]:
    """The rows of a file with what a file of scores says of them; nothing is labelled."""
    lines = (block for _, block in reader.blocks(str(scores), ("score", "anomaly")))
    held = np.zeros((2, 0))
    for first, block, _ in stream(detector, source, start, stop):
        low, high = max(start - first, 0), min(len(block), (stop or first + len(block)) - first)
        while held.shape[1] < high - low:
            line = next(lines)
            told = [numbers(line[name], Place(str(scores), name, 0)) for name in ("score", "anomaly")]
            held = np.concatenate([held, np.stack(told)], axis=1)
        here, held = held[:, : high - low], held[:, high - low :]
        yield first + low, block.slice(low, high - low), here[0], here[1], np.zeros(high - low)
