"""`lab score DETECTOR DATA`: one score, p-value and flag for each row, and the reasons."""

import json
import re
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import tyro

from anomaly.calibration import check_rate, needed
from anomaly.detector import Detector
from anomaly.scoring import Scored, Wish, score_file
from lab.arguments import parse
from lab.strange_rows import as_it_ran, of_scores, strange_rows
from training.device import set_process
from training.errors import InputError
from training.files import writing
from training.folder import read_config

DRIFTED, MANY = 0.2, 5.0  # rows are flagged, and so many times alpha: more than single strange rows


@dataclass(frozen=True)
class Score:
    """What `lab score` is told."""

    detector: tyro.conf.Positional[Path]  # the folder that `lab fit` made
    data: tyro.conf.Positional[str]  # rows, as `lab fit` takes them: a file, digits, or a folder of pictures
    # the file to write, .csv or .parquet; default: scores.csv in the detector's folder
    out: Path | None = None
    explain: int = 0  # how many columns to name for each flagged row, with share and expected value
    alpha: float | None = None  # false-alarm rate; default: the detector's
    fdr: float | None = None  # instead: the share of normal rows among the flagged (Benjamini-Hochberg)
    rows: str | None = None  # A:B, only the rows A to B − 1
    engine: Literal["here", "ray"] = "here"  # in this process, or by Ray: all cores, or RAY_ADDRESS's cluster


def main(words: list[str]) -> None:
    """Parses and runs `lab score DETECTOR DATA ...`."""
    told: Score = parse(Score, words, "lab score", "Scores rows: higher is stranger.")
    start, stop = row_range(told.rows)
    for name, rate in (("alpha", told.alpha), ("fdr", told.fdr)):
        if rate is not None:
            check_rate(rate, name)
    if told.alpha is not None and told.fdr is not None:
        raise InputError("--alpha and --fdr are two rules, expected one of them")
    if told.explain < 0:
        raise InputError(f"explain is {told.explain}, expected 0 or more")
    set_process()
    detector = load(told.detector)
    out = told.out or told.detector / "scores.csv"
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} does not exist, expected a folder for {out.name}")
    if out.is_dir():
        raise InputError(f"{out} is a folder, expected the name of a file")
    if out.exists() and Path(told.data).exists() and out.samefile(told.data):
        raise InputError(f"{out} is the data itself, expected another file for the scores")
    if told.alpha is not None:
        detector.alpha = told.alpha
    alpha = detector.alpha if detector.flags or told.fdr is not None else 0.0
    wish = Wish(alpha, told.fdr, told.explain, start, stop)
    found = score_file(detector, told.detector / "model", told.data, out, wish, told.engine)
    top = _remember(told, detector, found, out)
    if detector.flags and told.fdr is None and found.anomalies > max(DRIFTED, MANY * alpha) * found.rows:
        _warn(detector, found, top)
    print(f"{out}: {found.rows} rows, {_verdict(told, detector, found)}")


def load(folder: Path) -> Detector:
    """The detector in a run folder; raises InputError when there is none."""
    found = read_config(folder)
    if found["kind"] != "detector":
        raise InputError(f"{folder} is a run of {found['kind']!r}, expected a detector: see `lab fit`")
    return Detector.load(folder / "model")


def row_range(told: str | None) -> tuple[int, int | None]:
    """A and B of A:B; either may be left out."""
    if told is None:
        return 0, None
    found = re.fullmatch(r"(\d*):(\d*)", told)
    start, stop = (found[1], found[2]) if found else ("", "")
    if not found or (stop and int(stop) <= int(start or 0)):
        raise InputError(f"rows is {told!r}, expected A:B with A less than B, such as 0:1000")
    return int(start or 0), int(stop) if stop else None


def _verdict(told: Score, detector: Detector, found: Scored) -> str:
    if told.fdr is not None:
        return f"{found.anomalies} anomalies, of which at most {told.fdr:.3g} are normal in the mean"
    if not detector.flags:
        return (
            f"no flags: an alpha of {detector.alpha:g} needs {needed(detector.alpha)} calibration rows,"
            f" there are {len(detector.calibration)}"
        )
    promised = "; nothing is promised, as the fitted rows may hold anomalies"
    unsure = promised if detector.about.get("contaminated") else ""
    return f"{found.anomalies} anomalies at a false-alarm rate of {detector.alpha:.3g}{unsure}"


def _warn(detector: Detector, found: Scored, top: list[dict[str, Any]]) -> None:
    """Says that the rows as a whole are not like those that were fitted, and which column they differ in."""
    blamed: Counter[str] = Counter()
    for row in top:
        blamed.update(row["shares"])
    name, share = max(blamed.items(), key=itemgetter(1), default=("", 0.0))
    mostly = f", mostly in the column {name!r}" if 2 * share > len(top) else ""
    warnings.warn(
        f"{100 * found.anomalies / found.rows:.0f} % of the rows are flagged, of rows like the fitted it"
        f" would be {100 * detector.alpha:.3g} %: these are not like them{mostly}",
        stacklevel=2,
    )


def _remember(told: Score, detector: Detector, found: Scored, out: Path) -> list[dict[str, Any]]:
    """Leaves in the detector's folder what the page shows: counts, and the strangest rows with reasons."""
    top = strange_rows(detector, told.data, found.top)
    start, stop = row_range(told.rows)
    drawn = as_it_ran(detector, told.data, top, of_scores(detector, told.data, out, start, stop))
    told_of = {"source": told.data, "alpha": detector.alpha, "fdr": told.fdr, **asdict(found)}
    with writing(told.detector / "scored.json") as file:
        file.write(json.dumps(told_of | {"top": top, "series": drawn}).encode())
    return top
