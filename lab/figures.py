"""Figures for pages, each a string of SVG that needs nothing from outside."""

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

INK, QUIET, GRID = "#1f2933", "#7b8794", "#e4e7eb"
NORMAL = "#2b6cb0"
LEGEND = 56  # letters of a legend that are as wide as a small figure, each name's line counting as six
FAULTS = ("#c2410c", "#7c3aed", "#0f766e", "#be185d", "#a16207")

STYLE: dict[Any, Any] = {  # Matplotlib's stub spells out three hundred keys
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 9.5,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def draw(paint: Callable[[Axes], None], width: float = 7.2, height: float = 2.9) -> str:
    """The SVG of one pair of axes that `paint` draws on; sizes in inches."""
    return stacked(lambda axes: paint(axes[0]), [height], width)


def plain(name: str) -> str:
    """A name of users as Matplotlib writes it: no formula, and in the legend though it begins with `_`."""
    escaped = name.replace("$", r"\$")
    return f" {escaped}" if name.startswith("_") else escaped


def stacked(paint: Callable[[Sequence[Axes]], None], heights: Sequence[float], width: float = 7.2) -> str:
    """The SVG of pairs of axes, one below another and of one abscissa; sizes in inches."""
    with matplotlib.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(heights),
            figsize=(width, sum(heights)),
            sharex=True,
            squeeze=False,
            gridspec_kw={"height_ratios": list(heights)},
        )
        paint(list(axes[:, 0]))
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    text = out.getvalue()
    return text[text.index("<svg") :]


def learning_curve(train: np.ndarray, evaluated: np.ndarray, goal: float | None = None) -> str:
    """Mean returns over environment steps: rows of (step, return) while training and when evaluated."""

    def paint(axes: Axes) -> None:
        axes.plot(*train.T, color=QUIET, lw=1, label="episodes while training")
        axes.plot(*evaluated.T, color=NORMAL, lw=1.8, marker="o", ms=4, label="greedy evaluation")
        if goal is not None:
            axes.axhline(goal, color=INK, lw=0.8, ls=(0, (4, 3)))
            axes.annotate(
                f"goal {goal:g} ", (1, goal), xycoords=("axes fraction", "data"), ha="right", va="top"
            )
        axes.set(xlabel="environment steps", ylabel="return")
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
        axes.legend(loc="lower right")

    return draw(paint)


def curves(lines: Mapping[str, np.ndarray], label: str) -> str:
    """One metric over steps, a line for each run: rows of (step, value)."""

    def paint(axes: Axes) -> None:
        for (name, line), color in zip(lines.items(), cycle((NORMAL, *FAULTS)), strict=False):
            axes.plot(
                *line.T, color=color, lw=1.5, label=plain(name), marker="o" if len(line) < 3 else None, ms=4
            )
        axes.set(xlabel="steps", ylabel=label)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        if len(lines) > 1:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=columns)

    longest = max(len(plain(name)) for name in lines)
    columns = max(1, min(len(lines), LEGEND // (longest + 6)))
    return draw(paint, 4.6, 2.5 + 0.2 * (math.ceil(len(lines) / columns) - 1))


def layers(lines: Mapping[str, np.ndarray], label: str) -> str:
    """One metric of every layer over steps, on a logarithmic axis: rows of (step, value)."""

    def paint(axes: Axes) -> None:
        for (name, line), shade in zip(lines.items(), np.linspace(0.1, 0.9, len(lines)), strict=True):
            axes.plot(*line.T, color=plt.get_cmap("viridis")(shade), lw=1.2, label=plain(name))
        axes.set(xlabel="steps", ylabel=label)
        if any((line[:, 1] > 0).any() for line in lines.values()):
            axes.set_yscale("log")
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7)

    return draw(paint, 4.6, 2.5)


def range_test(lr: np.ndarray, loss: np.ndarray, best: float) -> str:
    """The loss while the learning rate rose, and the rate to take."""

    def paint(axes: Axes) -> None:
        axes.plot(lr, loss, color=NORMAL, lw=1.5)
        axes.axvline(best, color=INK, lw=0.8, ls=(0, (4, 3)))
        axes.annotate(f" take {best:.1e}", (best, 1), xycoords=("data", "axes fraction"), va="top")
        low, high = np.nanmin(loss), loss[0]
        axes.set(xlabel="learning rate", ylabel="loss", xscale="log")
        axes.set_ylim(low - 0.1 * abs(high - low), high + 0.5 * abs(high - low))

    return draw(paint)


def efficiency(bands: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]) -> str:
    """Scores over environment steps: steps, middle, low and high end of an interval, one band a name."""

    def paint(axes: Axes) -> None:
        for (name, (step, middle, low, high)), color in zip(
            bands.items(), cycle((NORMAL, *FAULTS)), strict=False
        ):
            axes.fill_between(step, low, high, color=color, alpha=0.18, lw=0)
            axes.plot(
                step, middle, color=color, lw=1.6, label=plain(name), marker="o" if len(step) == 1 else None
            )
        axes.set(xlabel="environment steps", ylabel="return")
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
        axes.legend(loc="lower right")

    return draw(paint)


def scores_over_time(
    steps: np.ndarray,
    curves: Mapping[str, np.ndarray],
    threshold: float,
    colors: Sequence[str] = (NORMAL, *FAULTS),
) -> str:
    """Medians and 5-95 % bands of scores (E, S) at steps counted from the onset, one band a name."""

    def paint(axes: Axes) -> None:
        for (name, score), color in zip(curves.items(), colors, strict=False):
            seen = (~np.isnan(score)).sum(0) >= max(2, len(score) // 4)
            low, middle, high = np.nanquantile(score[:, seen], [0.05, 0.5, 0.95], axis=0)
            axes.fill_between(steps[seen], low, high, color=color, alpha=0.18, lw=0)
            axes.plot(steps[seen], middle, color=color, lw=1.5, label=name)
        axes.axhline(threshold, color=INK, lw=0.8, ls=(0, (4, 3)), label="alarm")
        axes.axvline(0, color=QUIET, lw=0.8)
        axes.set(xlabel="steps since the onset", ylabel="score (nats)")
        axes.set_yscale("symlog", linthresh=50)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(curves) + 1)

    return draw(paint)


def roc(curves: Mapping[str, np.ndarray], colors: Sequence[str] = (QUIET, *FAULTS)) -> str:
    """ROC curves from time-matched p-values of faulty steps, one curve a name."""

    def paint(axes: Axes) -> None:
        grid = np.linspace(0, 1, 201)
        axes.plot([0, 1], [0, 1], color=GRID, lw=1)
        for (name, p), color in zip(curves.items(), colors, strict=False):
            found = np.searchsorted(np.sort(p), grid, side="right") / len(p)
            axes.plot(grid, found, color=color, lw=1.6, label=name)
        axes.set(xlabel="clean steps flagged", ylabel="faulty steps flagged", xlim=(0, 1), ylim=(0, 1.01))
        axes.legend(loc="lower right")

    return draw(paint, 4.4, 3.6)


def picture(pixels: np.ndarray) -> str:
    """An <img> that carries its PNG, from (H, W, 3) bytes."""
    out = io.BytesIO()
    plt.imsave(out, pixels, format="png")
    return embedded(out.getvalue())


def embedded(picture: bytes, kind: str = "png") -> str:
    """An <img> that carries a picture."""
    return f'<img alt="" src="data:image/{kind};base64,{base64.b64encode(picture).decode()}">'
