"""Why a row is strange: what each column adds to its score, from the nearest normal row to the row itself.

Of pictures regions take the place of columns (`players`).

    φ_c = mean over orders of the columns of  s(columns before c and c taken from x) − s(those before c alone)

the others taken from the nearest normal row y: Shapley values (Štrumbelj and Kononenko, 2014,
doi:10.1007/s10115-013-0679-x) with y as the one reference. Whatever the orders, Σ_c φ_c = s(x) − s(y)
exactly. Orders come in pairs, each with its reverse, which removes the error of pairwise interactions.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from anomaly.detector import Detector
from anomaly.players import Players
from anomaly.windows import CELLS
from training.seeds import numpy_generator

QUICK, CAREFUL = 2, 32  # orders
FAR = 3.0  # deviations


@dataclass(frozen=True)
class Reason:
    """A column's part in a row's strangeness."""

    column: str
    value: str
    expected: str  # in the nearest normal row
    contribution: float  # φ, in the unit of scores
    share: float  # of all contributions that make the row stranger


def nearest_reference(detector: Detector, x: Float[np.ndarray, "B F"]) -> Int[np.ndarray, " B"]:
    """Which of the detector's normal rows is nearest to each row.

    A feature that is far off counts as FAR: what is strange about a row must not choose what it is compared
    with, or columns that hang together change as well, and take the blame. Texts are compared with texts that
    are not strange at all, not with those that are as strange.
    """
    if detector.encoder.texts:
        x = np.where(detector.encoder.of_text, 0.0, x)
    width = detector.references.std(0)  # 1 or so, but for models that look at raw columns
    width = np.where(width > 0, width, 1.0)
    normal = detector.references / width
    apart = (np.minimum(np.abs(row / width - normal), FAR) for row in x)
    return np.array([np.square(off).sum(1).argmin() for off in apart], int)


def contributions(
    detector: Detector, x: Float[np.ndarray, " F"], novel: Bool[np.ndarray, " C"], reference: int, orders: int
) -> Float[np.ndarray, " P"]:
    """φ of the module docstring for each input column, or region of a picture."""
    players = Players.of(detector)
    y, owner, count = detector.references[reference], players.owner, len(players.names)
    novel = players.novel(novel)
    rng = numpy_generator(count, "orders")
    half = [rng.permutation(count) for _ in range(max(1, orders // 2))]
    total = np.zeros(count)
    for order in (turn for one in half for turn in (one, one[::-1])):
        place = np.empty(count, int)
        place[order] = np.arange(count)
        taken = place[None, :] < np.arange(count + 1)[:, None]  # (C + 1, C): the first 0, 1, ... columns
        score = [
            detector.score_features(np.where(some[:, owner], x, y), (some & novel).sum(1))
            for some in np.array_split(taken, -(-taken.shape[0] * len(x) // CELLS))
        ]
        total[order] += np.diff(np.concatenate(score))
    return total / (2 * len(half))


def reasons(
    detector: Detector,
    x: Float[np.ndarray, " F"],
    novel: Bool[np.ndarray, " C"],
    orders: int = CAREFUL,
    series: int | None = None,
) -> list[Reason]:
    """All columns, the one that contributes most first; `series`: whose scale the row is in (`Seen`)."""
    reference = int(nearest_reference(detector, x[None])[0])
    phi = contributions(detector, x, novel, reference, orders)
    return ordered(detector, x, novel, reference, phi, series)


def ordered(
    detector: Detector,
    x: Float[np.ndarray, " F"],
    novel: Bool[np.ndarray, " C"],
    reference: int,
    phi: Float[np.ndarray, " P"],
    series: int | None = None,
) -> list[Reason]:
    """The columns by their contributions φ, the largest first, beside a normal row in the same scale."""
    share, players = shares(phi), Players.of(detector, series)
    novel = players.novel(novel)
    return [
        Reason(
            players.names[c],
            players.shown(x, c, bool(novel[c])),
            players.shown(detector.references[reference], c, False),
            float(phi[c]),
            float(share[c]),
        )
        for c in np.argsort(-phi, kind="stable").tolist()
    ]


def shares(phi: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """The part of each column in what makes the row stranger; columns that make it less strange have none."""
    stranger = np.maximum(phi, 0.0)
    return stranger / max(float(stranger.sum()), 1e-300)
