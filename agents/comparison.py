"""Sets of training runs side by side, as Agarwal et al., 2021 (arXiv:2108.13264) ask for it.

The unit is the training run: intervals are percentile bootstraps over runs, because the episodes of one run
tell nothing of how another seed would have gone.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from agents.evaluation import BOOTSTRAPS, interval, iqm
from training.seeds import numpy_generator


@dataclass(frozen=True)
class Standing:
    """Statistics of the scores of some runs, each with its 95 % interval."""

    runs: int
    mean: tuple[float, float, float]  # value, low end, high end
    median: tuple[float, float, float]
    iqm: tuple[float, float, float]


def standing(scores: Float[np.ndarray, " runs"]) -> Standing:
    """How runs with these scores stand."""
    statistics = (np.mean, np.median, iqm)
    found = [(float(statistic(scores)), *interval(scores, statistic)) for statistic in statistics]
    return Standing(len(scores), *found)


def improvement(
    ours: Float[np.ndarray, " runs"], theirs: Float[np.ndarray, " others"]
) -> tuple[float, float, float]:
    """The probability that a run of ours scores higher than one of theirs, and its 95 % interval.

    Equal scores count half: the statistic of Mann and Whitney (1947). For the interval both sets are
    drawn anew, each by itself; that of theirs over ours is the mirror image.
    """
    if (len(ours), *ours) > (len(theirs), *theirs):
        value, low, high = improvement(theirs, ours)
        return 1 - value, 1 - high, 1 - low
    rng = numpy_generator(0, "improvement")
    wins = np.sign(ours[:, None] - theirs) / 2 + 0.5
    rows = rng.integers(len(ours), size=(BOOTSTRAPS, len(ours)))
    columns = rng.integers(len(theirs), size=(BOOTSTRAPS, len(theirs)))
    drawn = [wins[np.ix_(row, column)].mean() for row, column in zip(rows, columns, strict=True)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(wins.mean()), float(low), float(high)


def efficiency(
    curves: list[Float[np.ndarray, "points 2"]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Steps, the interquartile mean over runs of their scores up there, and the ends of its interval.

    Each curve has rows of (step, score). The steps are those of all curves up to where the shortest ends; a
    run's score at a step between two of its evaluations is that of the earlier one.
    """
    start, end = max(curve[0, 0] for curve in curves), min(curve[-1, 0] for curve in curves)
    steps = np.unique(np.concatenate([curve[:, 0] for curve in curves]))
    steps = steps[(steps >= start) & (steps <= end)]
    scores = np.array([c[np.searchsorted(c[:, 0], steps, side="right") - 1, 1] for c in curves])
    bands = np.array([(iqm(column), *interval(column, iqm)) for column in scores.T]).reshape(-1, 3)
    return steps, *bands.T
