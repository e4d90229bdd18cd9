"""The score of the Numenta Anomaly Benchmark, its standard profile: Lavin and Ahmad, 2015 (arXiv:1510.03336).

    first alarm in a window   σ(p) / σ(−1),  p = −(rows from it to the window's last, both counted) / its rows
    window without an alarm   −1
    alarm behind a window     0.11 σ(rows from its last / (its rows − 1)), −0.11 beyond three such lengths
    alarm before any window   −0.11
    σ(p) = 2 / (1 + exp(5 p)) − 1

Further alarms in a window count nothing; the first 15 % of a series, of its first 5,000 rows at most, are
probation and count nothing. The sum over all series, at the one threshold that makes it largest, is
normalised so that no alarm at all is 0 and one at the first row of every window 100. The benchmark prescribes
that this threshold is chosen on the labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

FALSE = 0.11  # what a false alarm costs
PROBATION, LONGEST = 0.15, 5_000


@dataclass(frozen=True)
class Scored:
    """A series with its scores: `windows` has the first and last row of each labelled window."""

    score: Float[np.ndarray, " N"]
    windows: Int[np.ndarray, "E 2"]


def sigmoid(position: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """σ of the module docstring, −1 beyond 3."""
    return np.where(position > 3, -1.0, 2 / (1 + np.exp(5 * np.minimum(position, 3))) - 1)


def probation(rows: int) -> int:
    """How many rows at the beginning of a series count nothing."""
    return int(PROBATION * min(rows, LONGEST))


def worth(
    rows: int, windows: Int[np.ndarray, "E 2"]
) -> tuple[Float[np.ndarray, " N"], Int[np.ndarray, " N"]]:
    """What an alarm at each row is worth, and the number of the window it is in, −1 outside."""
    at = np.arange(rows)
    value, inside = np.full(rows, -FALSE), np.full(rows, -1)
    for i, (begin, end) in enumerate(windows):
        behind = at > end
        value[behind] = FALSE * sigmoid((at[behind] - end) / max(1, end - begin))
        here = (at >= begin) & (at <= end)
        value[here] = sigmoid(-(end - at[here] + 1) / (end - begin + 1)) / sigmoid(np.array([-1.0]))
        inside[here] = i
    return value, inside


def standard(series: Sequence[Scored]) -> tuple[float, float]:
    """The normalised score, and the threshold at or above which rows are alarms.

    As thresholds fall, a new row in a window can only put its alarm earlier: it adds what its worth exceeds
    that of the earliest alarm so far (−1 with none). So one pass over the rows in the order of their scores
    has the sum for every threshold.
    """
    scores, gains = [], []
    total = sum(len(one.windows) for one in series)
    for one in series:
        value, inside = worth(len(one.score), one.windows)
        counted = np.arange(len(one.score)) >= probation(len(one.score))
        order = np.argsort(-one.score[counted], kind="stable")
        score, value, inside = (a[counted][order] for a in (one.score, value, inside))
        gain = value.copy()
        for i in range(len(one.windows)):
            here = inside == i
            best = np.maximum.accumulate(np.concatenate([[-1.0], value[here]]))
            gain[here] = np.diff(best)
        scores.append(score)
        gains.append(gain)
    score, gain = np.concatenate(scores), np.concatenate(gains)
    order = np.argsort(-score, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(gain[order])])  # the first: no alarm
    score = np.concatenate([[np.inf], score[order]])
    last_of_equals = np.append(np.flatnonzero(score[1:] != score[:-1]), len(score) - 1)
    best = last_of_equals[np.argmax(sums[last_of_equals])]
    return 100 * float(sums[best]) / (2 * total), float(score[best])
