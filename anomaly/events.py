"""Measures for labels that come in runs: which events were found and when, and VUS-PR.

VUS-PR (Paparrizos et al., 2022, doi:10.14778/3551793.3551830) is the area under precision and recall with
labels that fade out over ℓ/2 rows around each event, averaged over BUFFERS values of ℓ, evenly from 0 to L,
so that an alarm a little beside a label is neither right nor wrong:

    y_ℓ(t)    1 within an event, √(1 − d/ℓ) at the distance d ≤ ℓ/2 from one, else 0
    recall    min(1, Σ a y_ℓ / P) · (events with an alarm within ℓ/2 rows) / events,  P = Σ (y + y_ℓ) / 2
    precision Σ a y_ℓ / Σ a
    area      Σ_k (recall_k − recall_{k−1}) · precision_k,   a flagging the strangest rows up to the k-th

Where the fringes of two events overlap the higher one counts; the code published with the paper adds them,
up to 1, and averages over every ℓ. Rows with equal scores are flagged together. Point adjustment, which
counts an event as wholly found when one of its rows is, is not here: random scores do well by it (Kim et al.,
2022, arXiv:2109.05257).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

STEPS = 250  # thresholds of a curve at most
BUFFERS = 5  # values of ℓ


@dataclass(frozen=True)
class Found:
    """What happened to events at one threshold."""

    events: int
    delays: list[int]  # rows from the beginning of an event to its first alarm, of those that have one


def events_of(anomaly: Bool[np.ndarray, " N"]) -> Int[np.ndarray, "E 2"]:
    """First and last row of each run of labelled rows."""
    steps = np.diff(np.concatenate([[0], anomaly.astype(np.int8), [0]]))
    return np.stack([np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) - 1], axis=1)


def found_events(flagged: Bool[np.ndarray, " N"], anomaly: Bool[np.ndarray, " N"]) -> Found:
    """How many events have a flagged row in them, and how late the first is."""
    delays = []
    events = events_of(anomaly)
    for begin, end in events:
        if flagged[begin : end + 1].any():
            delays.append(int(flagged[begin : end + 1].argmax()))
    return Found(len(events), delays)


def vus_pr(score: Float[np.ndarray, " N"], anomaly: Bool[np.ndarray, " N"], longest: int = 100) -> float:
    """The mean area, ℓ in BUFFERS steps from 0 to `longest`; NaN where there is only one kind of rows."""
    if anomaly.all() or not anomaly.any():
        return float("nan")
    buffers = np.unique(np.linspace(0, longest, BUFFERS).round().astype(int))
    return float(np.mean([range_pr(score, anomaly, int(buffer)) for buffer in buffers]))


def range_pr(score: Float[np.ndarray, " N"], anomaly: Bool[np.ndarray, " N"], buffer: int) -> float:
    """The area of the module docstring for one ℓ."""
    soft = fringe(anomaly, buffer)
    order = np.argsort(-score, kind="stable")
    last_of_equals = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    if len(last_of_equals) > STEPS:
        last_of_equals = last_of_equals[np.linspace(0, len(last_of_equals) - 1, STEPS).round().astype(int)]
    hits = np.cumsum(soft[order])[last_of_equals]
    rank = np.empty(len(score), int)
    rank[order] = np.arange(len(score))
    reach = buffer // 2
    first = np.sort([rank[max(0, b - reach) : e + reach + 1].min() for b, e in events_of(anomaly)])
    existence = np.searchsorted(first, last_of_equals, side="right") / len(first)
    positives = (anomaly.sum() + soft.sum()) / 2
    recall = np.minimum(1.0, hits / positives) * existence
    precision = hits / (last_of_equals + 1.0)
    return float(np.diff(recall, prepend=0.0) @ precision)


def fringe(anomaly: Bool[np.ndarray, " N"], buffer: int) -> Float[np.ndarray, " N"]:
    """y_ℓ of the module docstring for ℓ = `buffer`."""
    soft = anomaly.astype(np.float64)
    for begin, end in events_of(anomaly):
        for distance in range(1, buffer // 2 + 1):
            value = np.sqrt(1 - distance / buffer)
            for at in (begin - distance, end + distance):
                if 0 <= at < len(soft):
                    soft[at] = max(soft[at], value)
    return soft
