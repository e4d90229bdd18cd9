"""The page of a detector: what it promises, what it found, why, and what it is and is not meant for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from anomaly.calibration import threshold
from anomaly.detector import Detector
from anomaly.measures import Alarms
from lab.figures import FAULTS, NORMAL, QUIET, draw, picture
from lab.labelled import ALLOWED, ANY
from lab.latent_map import latent_map
from lab.page import Page
from lab.series_figure import series_caption, series_figure
from lab.strange_pictures import strange_pictures
from training.errors import InputError


def detector_page(run: Path, out: Path) -> None:
    """Writes the page of the detector in `run`, with what it last scored and the labels it last met."""
    detector = Detector.load(run / "model")
    page = Page(run.resolve().name, f"A detector ({detector.kind}), columns: {len(detector.columns)}.")
    _promise(page, detector)
    if scored := _kept(run / "scored.json"):
        _scored(page, detector, scored)
    if evaluated := _kept(run / "evaluation.json"):
        _evaluated(page, detector, evaluated)
    _card(page, detector)
    page.save(out)


def _kept(file: Path) -> Any:
    """What an earlier command left; None when there is nothing."""
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise InputError(f"{file} is not JSON ({error}), expected what `lab` wrote") from None


def _promise(page: Page, detector: Detector) -> None:
    n, about = len(detector.calibration), detector.about
    if about.get("contaminated"):
        text = "Nothing is promised: the rows may have held anomalies (--contaminated)."
    elif detector.windows:
        text = (
            f"At most a share alpha = {detector.alpha:.3g} of normal rows is flagged in the long run, if the"
            " series goes on as in its last part. Each row is judged by the window of"
            f" {detector.windows.length} rows that ends with it, which it shares with its neighbours: alarms"
            " come in bursts, and the rate over a short stretch can be far from alpha. Nothing is promised"
            " where the series drifts or its season changes."
        )
    else:
        text = (
            f"At most a share alpha = {detector.alpha:.3g} of normal rows is flagged, in the mean over"
            " calibration sets, if new normal rows are exchangeable with those that calibrated. Rows that"
            " depend on each other in time, or come from a world that has changed, are not."
        )
    page.section("The promise", f"{text} Calibrated on {n} {about['calibrated on']}.")

    def paint(axes: Axes) -> None:
        axes.hist(detector.calibration, bins=50, color=NORMAL, alpha=0.7)
        if detector.flags:
            axes.axvline(detector.threshold, color=FAULTS[0], lw=1.4)
        axes.set(xlabel="score of calibration rows", ylabel="rows")

    page.figure(draw(paint), "Scores of the calibration rows; the line is the threshold.")


def _scored(page: Page, detector: Detector, scored: dict[str, Any]) -> None:
    edges, counts = np.array(scored["edges"]), np.array(scored["counts"])
    rule = (
        f"a false discovery rate of {scored['fdr']:.3g}" if scored["fdr"] else f"alpha {scored['alpha']:.3g}"
    )
    page.section(
        "What was scored",
        f"{scored['source']}: {scored['rows']:,} rows, {scored['anomalies']:,} flagged at {rule}.",
    )

    limit = scored["limit"]  # of the p-value, by this rule: the detector's own alpha may be another

    def paint(axes: Axes) -> None:
        axes.stairs(counts, edges, fill=True, color=QUIET)
        if limit * (len(detector.calibration) + 1) >= 1 - 1e-9:
            axes.axvline(threshold(detector.calibration, limit), color=FAULTS[0], lw=1.4)
        axes.set(xlabel="score", ylabel="rows", yscale="log")

    page.figure(
        draw(paint), "Scores of these rows, counted on a logarithmic axis; the line is the threshold."
    )
    _series(page, detector, scored.get("series", []), limit)
    named = [key for key in ("series", "when") if any(key in row for row in scored["top"])]
    rows = []
    for row in scored["top"]:
        most = row["reasons"][0]
        why = [most["column"], most["value"], most["expected"], f"{most['share']:.0%}"]
        where = [str(row["row"]), *(str(row.get(key, "")) for key in named)]
        rows.append([*where, f"{row['score']:.4g}", f"{row['p_value']:.3g}", *why])
    pictures = "shape" in detector.about
    if pictures:
        page.figure(
            picture(strange_pictures(detector, scored["top"])),
            "The strangest, two in a line: each picture, the nearest normal one, and the regions that make it"
            " strange, the redder the more.",
        )
    header = [
        "score",
        "p-value",
        f"strangest {'region' if pictures else 'column'}",
        "value",
        "in the nearest normal row",
        "share",
    ]
    page.table(["row", *named, *header], rows)
    flagged = [row for row in scored["top"] if row["p_value"] <= limit and "features" in row]
    if flagged:
        features = np.array([row["features"] for row in flagged])
        page.figure(
            latent_map(detector, features, [str(row["row"]) for row in flagged]),
            "Where the strangest of the flagged rows lie among normal ones, in the two directions in which"
            " what the detector looks at varies most. Rows far outside are drawn at the edge; a row may be"
            " strange in other directions.",
        )


def _series(page: Page, detector: Detector, drawn: list[dict[str, Any]], limit: float) -> None:
    """Each series that was kept to be drawn, with the threshold for p-values up to `limit`."""
    flags = limit * (len(detector.calibration) + 1) >= 1 - 1e-9
    for series in drawn:
        page.figure(
            series_figure(series, threshold(detector.calibration, limit) if flags else None),
            series_caption(series),
        )


def _evaluated(page: Page, detector: Detector, found: dict[str, Any]) -> None:
    page.section(
        "What was realised",
        f"{found['source']}: AUROC {found['auroc']:.4f}, average precision {found['average_precision']:.4f},"
        f" alpha {found['alpha']:.3g}. What the promise allows are beta-binomial intervals that hold for"
        " all lines together at 99 %; more false alarms in a group than allowed mean that its normal rows"
        " are not like those that calibrated.",
    )
    rows = []
    for kept in found["alarms"]:
        line = Alarms(**kept)
        rate = f"{line.false_alarms / line.normal:.3f}" if line.normal else "none"
        allowed = f"{line.low} to {line.high}" + ("" if line.kept else " (more)")
        if line.normal and (line.low, line.high) == (0, line.normal):
            allowed = ANY  # too few calibrated to say
        counts = [
            str(line.normal),
            str(line.false_alarms),
            rate,
            allowed,
            str(line.anomalies),
            str(line.found),
        ]
        rows.append([line.group, *counts])
    _series(page, detector, found.get("series", []), found["alpha"])
    header = [found["by"] or "", "normal rows", "false alarms", "rate", "allowed", "anomalies", "found"]
    if all(row[ALLOWED] == ANY for row in rows):  # which tells nothing
        header, *rows = [row[:ALLOWED] + row[ALLOWED + 1 :] for row in (header, *rows)]
    page.table(header, rows)


def _card(page: Page, detector: Detector) -> None:
    page.section(
        "Model card",
        "Meant for rows that come as the fitted ones came, to find those worth a look. Not meant to decide"
        " about people by itself, nor for data whose columns mean something else now; a score says how"
        " unusual a row is, not that it is wrong.",
    )
    facts = [[name, str(value)] for name, value in detector.about.items() if value is not None]
    page.table(["fitted on", ""], [*facts, ["models", ", ".join(m.kind for m in detector.members)]])
    page.table(["column", "looked at as"], [[c.name, c.kind] for c in detector.schema.columns])
