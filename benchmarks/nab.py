"""The score of the Numenta Anomaly Benchmark, its standard profile: Lavin and Ahmad, 2015 (arXiv:1510.03336).

    first alarm in a window   σ(p) / σ(−1),  p = −(rows from it to the window's last, both counted) / its rows
    window without an alarm   −1
    alarm behind a window     0.11 σ(rows from its last / (its rows − 1)), −0.11 beyond three such lengths
    alarm before any window   −0.11
    σ(p) = 2 / (1 + exp(5 p)) − 1

Further alarms in a window count nothing; the first 15 % of a series, of its first 5,000 rows at most, are
probation and count nothing. The sum over all series, at the one threshold that makes it largest, is
normalised so that no alarm at all is 0 and one at the first row of every window 100. The benchmark prescribes
that this threshold is chosen on the labels. After an alarm a detector rests for a fifth of the probation, as
those of Burnaev and Ishimtsev, 2016 (arXiv:1608.04585) do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from anomaly.online import alarms

FALSE = 0.11  # what a false alarm costs
PROBATION, LONGEST = 0.15, 5_000
REST = 0.2  # of the probation
THRESHOLDS = 500  # that are tried


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
    """The normalised score, and the threshold that it is for."""
    judged = [(one, probation(len(one.score)), *worth(len(one.score), one.windows)) for one in series]
    counted = np.sort(np.concatenate([one.score[first:] for one, first, _, _ in judged]))[::-1]
    ranks = np.unique(np.geomspace(1, len(counted), THRESHOLDS).astype(int)) - 1
    best, at = 0.0, float("inf")  # no alarm
    for threshold in np.unique(counted[ranks]):
        points = 0.0
        for one, first, value, inside in judged:
            rows = first + alarms(one.score[first:], threshold, int(REST * first))
            points += value[rows[inside[rows] < 0]].sum()
            found, earliest = np.unique(inside[rows], return_index=True)
            points += (1 + value[rows[earliest[found >= 0]]]).sum()
        if points > best:
            best, at = points, float(threshold)
    return 100 * best / (2 * sum(len(one.windows) for one in series)), at
