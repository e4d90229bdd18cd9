"""`lab evaluate DETECTOR DATA --label-column Y`: how well a detector tells labelled rows apart."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from anomaly.calibration import check_rate, needed
from anomaly.cells import Place, words
from anomaly.detector import Detector
from anomaly.events import found_events, vus_pr
from anomaly.lineup import Lineup, one_series
from anomaly.measures import Alarms, alarms, ranking
from anomaly.sample import labels
from anomaly.strangest import Strangest
from anomaly.trace import Judged
from anomaly.windows import stream
from lab.arguments import parse
from lab.commands.score import load
from lab.strange_rows import as_it_ran, strange_rows
from training.device import set_process
from training.errors import InputError
from training.files import writing

ALLOWED, ANY = 4, "any number"  # the column of what is promised, and where nothing is
GROUPS = 50  # of --by
DRAWN_FOR = 8  # rows, the strangest: their series and columns are drawn


@dataclass(frozen=True)
class Evaluate:
    """What `lab evaluate` is told of a detector."""

    run: tyro.conf.Positional[Path]  # the folder that `lab fit` made
    data: tyro.conf.Positional[str]  # labelled rows: a file: .csv .tsv (.gz) .parquet .arrow
    label_column: str = ""  # must be told: 1 for anomalies, 0 for normal rows
    by: str | None = None  # a column: false alarms for each of its values
    alpha: float | None = None  # false-alarm rate; default: the detector's


def main(words_told: list[str]) -> None:
    """Parses and runs `lab evaluate DETECTOR DATA ...`."""
    told: Evaluate = parse(Evaluate, words_told, "lab evaluate", "Meets a detector with labelled rows.")
    if not told.label_column:
        raise InputError(
            f"{told.data} is met without labels, expected --label-column COLUMN: 1 for anomalies, else 0"
        )
    set_process()
    detector = load(told.run)
    if told.alpha is not None:
        check_rate(told.alpha)
        detector.alpha = told.alpha
    if not detector.flags:
        n = len(detector.calibration)
        raise InputError(
            f"alpha is {detector.alpha:g} with {n} calibration rows, expected {needed(detector.alpha)}"
        )
    if told.label_column in detector.columns:
        raise InputError(
            f"{told.run} looks at the column {told.label_column!r}, expected a label that it never saw:"
            f" `lab fit --label-column {told.label_column}`"
        )
    score, anomaly, group, lineup = _scored(detector, told)
    auroc, precision = ranking(score, anomaly)
    flagged = detector.verdict(detector.p_of(score)).astype(bool)
    names = list(dict.fromkeys(group))
    if len(names) > GROUPS:
        raise InputError(f"the column {told.by!r} has {len(names)} values, expected at most {GROUPS} groups")
    code = {name: i for i, name in enumerate(names)}
    n, everyone = len(detector.calibration), np.zeros(len(score), int)
    count, block = 1 + len(names), detector.windows.length if detector.windows else 1
    groups = everyone if told.by is None else np.array([code[g] for g in group])
    judged = anomaly | ~lineup.holding(anomaly, block)  # what follows an anomaly has it in its window
    kept = flagged[judged], anomaly[judged]
    lines = alarms(*kept, everyone[judged], ["all rows"], n, detector.alpha, count, block)
    if told.by is not None:
        lines += alarms(*kept, groups[judged], names, n, detector.alpha, count, block)
    found = {"source": told.data, "alpha": detector.alpha, "auroc": auroc, "average_precision": precision}
    found |= {"by": told.by, "alarms": [asdict(line) for line in lines]}
    if detector.windows:
        found["series"] = _drawn(detector, told, score, flagged, anomaly, lineup)
    with writing(told.run / "evaluation.json") as file:
        file.write(json.dumps(found).encode())
    print(f"{told.run} on {told.data}: {len(score)} rows, {int(anomaly.sum())} labelled as anomalies")
    print(f"  AUROC {auroc:.4f}, average precision {precision:.4f}; alpha {detector.alpha:.3g}")
    if detector.windows:
        _print_events(flagged, score, anomaly, lineup, block)
        if any(allowed(line) != ANY for line in lines):
            print(f"  what the promise allows is for disjoint blocks of {block} rows, which hang together;")
        print("  normal rows that have an anomaly in their window are not counted")
    _print(lines, told.by, not detector.about.get("contaminated"))


def _drawn(
    detector: Detector,
    told: Evaluate,
    score: np.ndarray,
    flagged: np.ndarray,
    anomaly: np.ndarray,
    lineup: Lineup,
) -> list[dict[str, Any]]:
    """The series of the strangest rows as they ran, with what is labelled."""
    assert detector.windows is not None, "only series are drawn"
    code = np.empty(len(score), int)
    for i, rows in enumerate(lineup.each()):
        code[rows] = i
    top = Strangest(detector.windows.length)
    top.add(0, score, code)
    some = strange_rows(detector, told.data, [(int(row), 0.0, 0.0) for row in top.rows["row"][:DRAWN_FOR]])

    def judged() -> Iterator[Judged]:
        for first, block, _ in stream(detector, told.data):
            here = slice(first, first + len(block))
            yield first, block, score[here], flagged[here], anomaly[here]

    return as_it_ran(detector, told.data, some, judged())


def _print_events(
    flagged: np.ndarray, score: np.ndarray, anomaly: np.ndarray, lineup: Lineup, block: int
) -> None:
    series = lineup.each()
    events = [found_events(flagged[rows], anomaly[rows]) for rows in series]
    volumes = [vus_pr(score[rows], anomaly[rows]) for rows in series if 0 < anomaly[rows].sum() < len(rows)]
    delays = [delay for one in events for delay in one.delays]
    late = f", {np.median(delays):g} rows after they began (median)" if delays else ""
    volume = f"VUS-PR {np.mean(volumes):.4f}" if volumes else "no VUS-PR without both kinds of rows"
    mean = f" (mean of {len(volumes)} series)" if len(volumes) > 1 else ""
    print(f"  {volume}{mean}; {len(delays)} of {sum(one.events for one in events)} events found{late}")


def _scored(detector: Detector, told: Evaluate) -> tuple[np.ndarray, np.ndarray, list[str], Lineup]:
    """Score, label and group of each row, and which series it is of."""
    name = detector.windows.series if detector.windows else None
    also = (told.label_column, told.by) if told.by else (told.label_column,)
    scores, truths = [], []
    groups: list[str] = []
    series: list[int] = []
    known: dict[str, int] = {}
    for first, block, context in stream(detector, told.data, also=also):
        scores.append(detector.decision_function(block, told.data, first, context))
        truths.append(labels(block[told.label_column], told.data, told.label_column, first))
        if told.by:
            cells = words(block[told.by], Place(told.data, told.by, first)).to_pylist()
            groups += ["missing" if cell is None else cell for cell in cells]
        if name:
            names = words(block[name], Place(told.data, name, first)).to_pylist()
            series += [known.setdefault(cell, len(known)) for cell in names]
    score = np.concatenate(scores)
    lineup = Lineup(np.array(series)) if name else one_series(len(score))
    return score, np.concatenate(truths), groups, lineup


def allowed(line: Alarms) -> str:
    """How many false alarms the promise allows; ANY where too few rows were calibrated on to say."""
    if line.normal and (line.low, line.high) == (0, line.normal):
        return ANY
    return f"{line.low} to {line.high}" + ("" if line.kept else "  MORE")


def _print(lines: list[Alarms], by: str | None, promised: bool) -> None:
    header: tuple[str, ...] = (
        "" if by is None else by,
        "normal",
        "false alarms",
        "rate",
        "promise allows",
        "anomalies",
        "found",
    )
    rows = [header]
    for line in lines:
        rate = f"{line.false_alarms / line.normal:.3f}" if line.normal else "none"
        counts = (
            str(line.normal),
            str(line.false_alarms),
            rate,
            allowed(line) if promised else "no promise",
            str(line.anomalies),
            str(line.found),
        )
        rows.append((line.group[:30], *counts))
    if all(row[ALLOWED] == ANY for row in rows[1:]):  # which tells nothing
        rows = [row[:ALLOWED] + row[ALLOWED + 1 :] for row in rows]
    header = rows[0]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    for row in rows:
        print(
            "  "
            + "  ".join(
                cell.rjust(w) if i else cell.ljust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )
