"""The strangest pictures as one: each, the nearest normal one, and where they differ."""

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from anomaly.detector import Detector
from anomaly.explain import nearest_reference
from anomaly.players import regions
from lab.pictures import grid

SHOWN = 6
LARGER = 2  # times
TINT = np.array([194.0, 65.0, 12.0]) / 255  # of what makes a picture strange


def strange_pictures(detector: Detector, rows: list[dict[str, Any]]) -> NDArray[np.uint8]:
    """Bytes (height, width, 3): for each of the first SHOWN rows three pictures side by side."""
    shape = tuple(detector.about["shape"])
    x = np.array([row["features"] for row in rows[:SHOWN]])
    normal = detector.references[nearest_reference(detector, x)]
    low, high = float(min(x.min(), normal.min())), float(max(x.max(), normal.max()))
    seen, usual = ((np.clip((one - low) / max(high - low, 1e-12), 0, 1)) for one in (x, normal))
    where = np.array([_tinted(one, row["shares"], shape) for one, row in zip(seen, rows, strict=False)])
    colour = (3, *shape[1:])
    beside = np.stack([_colour(seen, shape), _colour(usual, shape), where], axis=1)
    drawn = grid(beside.reshape(-1, 3 * shape[1] * shape[2]), colour, columns=min(6, 3 * len(x)))
    return drawn.repeat(LARGER, 0).repeat(LARGER, 1)


def _colour(x: Float[np.ndarray, "B F"], shape: tuple[int, ...]) -> Float[np.ndarray, "B G"]:
    pictures = x.reshape(-1, *shape)[:, : 3 if shape[0] >= 3 else 1]
    return np.broadcast_to(pictures, (len(x), 3, *shape[1:])).reshape(len(x), -1)


def _tinted(
    x: Float[np.ndarray, " F"], shares: dict[str, float], shape: tuple[int, ...]
) -> Float[np.ndarray, " G"]:
    """A picture in faint grey, its regions the redder the more they contribute."""
    names, owner = regions(shape)
    share = np.array([shares.get(name, 0.0) for name in names])
    heat = (share / max(share.max(), 1e-12))[owner.reshape(shape)[0]]
    grey = 0.5 * x.reshape(shape).mean(0)
    return (grey * (1 - 0.7 * heat) + 0.7 * heat * TINT[:, None, None]).ravel()
