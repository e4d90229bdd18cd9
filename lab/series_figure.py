"""A series as it ran: its strangest columns, its score beneath them, what was flagged, what is labelled."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from lab.figures import FAULTS, INK, NORMAL, plain, stacked

FLAGGED, LABELLED = FAULTS[0], FAULTS[2]
TICK = 0.07  # of a panel's height
DAY = 86_400.0  # seconds


def series_caption(series: dict[str, Any]) -> str:
    """What the figure shows, in words."""
    name = f"{series['series']}: the" if series["series"] else "The"
    step = series["step"]
    merged = (
        f" Each stretch of {step} rows is drawn from its lowest to its highest value." if step > 1 else ""
    )
    labelled = " Bars beneath: labelled as anomalies." if any(series["labelled"]) else ""
    flagged = " Shaded: flagged, ticks above: one row alone; dashed: threshold."
    return f"{name} strangest columns and the score.{flagged}{labelled}{merged}"


def series_figure(series: dict[str, Any], threshold: float | None) -> str:
    """The SVG of what `anomaly.trace` kept of a series."""
    edges = _edges(series)
    flagged, labelled = np.array(series["flagged"], bool), np.array(series["labelled"], bool)

    def paint(panels: Sequence[Axes]) -> None:
        lines = zip(series["low"], series["high"], strict=True)
        for axes, name, (low, high) in zip(panels[:-1], series["columns"], lines, strict=True):
            _between(axes, edges, np.array(low, float), np.array(high, float))
            axes.set_ylabel(plain(name if len(name) <= 16 else f"{name[:15]}…"))
        score = np.array(series["score"])
        panels[-1].plot(edges[:-1], score, color=INK, lw=0.8)
        panels[-1].set(ylabel="score", ylim=(0, None), xlabel="" if series["dated"] else "row or time")
        if threshold is not None:
            panels[-1].axhline(threshold, color=FLAGGED, lw=1.0, ls=(0, (4, 3)))
        single = flagged & ~_beside(flagged)
        for axes in panels:
            _shade(axes, edges, flagged & ~single, 0.0, 1.0, FLAGGED, 0.22)
            _shade(axes, edges, single, 1 - TICK, TICK, FLAGGED, 1.0)
            _shade(axes, edges, labelled, 0.0, 0.05, LABELLED, 1.0)
            axes.margins(x=0.01)
        if series["dated"]:
            locator = AutoDateLocator(maxticks=8)
            panels[-1].xaxis.set_major_locator(locator)
            panels[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
        else:
            panels[-1].xaxis.set_major_formatter(lambda x, _: f"{x:,.10g}")

    return stacked(paint, [1.3] * len(series["columns"]) + [1.6])


def _edges(series: dict[str, Any]) -> Float[np.ndarray, " E"]:
    """Where stretches begin, and where the last ends: days if they have dates."""
    when = np.array(series["when"]) / (DAY if series["dated"] else 1.0)
    last = when[-1] - when[-2] if len(when) > 1 else 1.0
    return np.append(when, when[-1] + last)


def _between(
    axes: Axes, edges: Float[np.ndarray, " E"], low: Float[np.ndarray, " S"], high: Float[np.ndarray, " S"]
) -> None:
    """From the lowest to the highest value of each stretch, and a line through them that leaves gaps."""
    axes.fill_between(edges[:-1], low, high, color=NORMAL, alpha=0.45, lw=0)
    zigzag = np.stack([low, high], 1).ravel()
    axes.plot(np.repeat(edges[:-1], 2), zigzag, color=NORMAL, lw=0.7)


def _beside(marked: Bool[np.ndarray, " S"]) -> Bool[np.ndarray, " S"]:
    """Which stretches have a marked one before or after them."""
    beside = np.zeros_like(marked)
    beside[1:] |= marked[:-1]
    beside[:-1] |= marked[1:]
    return beside


def _shade(
    axes: Axes,
    edges: Float[np.ndarray, " E"],
    marked: Bool[np.ndarray, " S"],
    bottom: float,
    height: float,
    color: str,
    alpha: float,
) -> None:
    """The marked stretches, each as wide as it is, and never too narrow to be seen."""
    steps = np.diff(np.concatenate([[0], marked.astype(int), [0]]))
    begins, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    bars = [(float(edges[b]), float(edges[e] - edges[b])) for b, e in zip(begins, ends, strict=True)]
    axes.broken_barh(
        bars,
        (bottom, height),
        transform=axes.get_xaxis_transform(),
        facecolor=color,
        edgecolor=color,
        lw=0.6,
        alpha=alpha,
        zorder=0.5,
    )
