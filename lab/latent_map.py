"""Where rows lie among normal ones: the plane in which what a detector looks at varies most.

What it looks at are the latent dimensions of a model that encodes rows, else their features, in units of
their deviation among the normal rows that a detector remembers.
"""

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes

from anomaly.detector import Detector
from lab.figures import FAULTS, NORMAL, draw

BEYOND = 0.25  # of the width of normal rows: rows that lie further off are drawn at this edge
NAMED = 10  # rows that have their number beside them


def places(
    detector: Detector, rows: Float[np.ndarray, "B F"]
) -> tuple[Float[np.ndarray, "R 2"], Float[np.ndarray, "B 2"]]:
    """The places of the detector's normal rows and of others, given their features."""
    normal, others = _seen(detector, detector.references), _seen(detector, rows)
    mean, width = normal.mean(0), normal.std(0)
    width = np.where(width > 0, width, 1.0)
    normal, others = (normal - mean) / width, (others - mean) / width
    axes = np.linalg.svd(normal, full_matrices=False)[2][:2]
    if len(axes) < 2:
        axes = np.concatenate([axes, np.zeros((2 - len(axes), normal.shape[1]))])
    return normal @ axes.T, others @ axes.T


def latent_map(detector: Detector, rows: Float[np.ndarray, "B F"], names: list[str]) -> str:
    """The SVG of the map of normal rows, with `rows` among them."""
    normal, others = places(detector, rows)
    shown = kept_near(normal, others)

    def paint(axes: Axes) -> None:
        axes.scatter(normal[:, 0], normal[:, 1], s=6, color=NORMAL, alpha=0.35, lw=0, label="normal rows")
        axes.scatter(
            shown[:, 0], shown[:, 1], s=26, color=FAULTS[0], marker="x", lw=1.2, label="flagged rows"
        )
        for name, place in list(zip(names, shown, strict=True))[:NAMED]:
            axes.annotate(name, place, textcoords="offset points", xytext=(5, 3), color=FAULTS[0], fontsize=8)
        axes.set(xlabel="first direction", ylabel="second direction")
        axes.legend(loc="best")

    return draw(paint, height=4.2)


def kept_near(normal: Float[np.ndarray, "R 2"], others: Float[np.ndarray, "B 2"]) -> Float[np.ndarray, "B 2"]:
    """Places moved to the edge if they are further off, so that normal rows stay a cloud and not a dot."""
    low, high = normal.min(0), normal.max(0)
    edge = BEYOND * (high - low)
    return others.clip(low - edge, high + edge)


def _seen(detector: Detector, x: Float[np.ndarray, "B F"]) -> Float[np.ndarray, "B Z"]:
    """What the detector's model makes of features, if it is one model that encodes."""
    model = detector.members[0].model
    if len(detector.members) > 1 or not hasattr(model, "encode"):
        return x
    with torch.no_grad():
        return model.encode(torch.from_numpy(np.ascontiguousarray(x))).double().numpy()
