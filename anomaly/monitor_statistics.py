"""Two-sided statistics of innovations at three time scales, and the bands that clean episodes keep them in.

Of a whitened innovation z (O,), the scaled observation s (O,) before it and the action a (A,) come channels:

    shift z · spread z² − 1 · memory z_t z_{t−1} · state z sᵀ · action z aᵀ · doubt · place

A wrong mean, a wrong variance, noise with a memory, a changed world and a changed actuator each move one of
these. Each channel c is averaged, e ← e + r (c − e), at rates r of 1, 1/8 and 1/64 a step (Roberts, 1959). A
band is mean and deviation of e at a time since the start, on clean episodes; u = (e − mean) / deviation.
A family's statistics are mean u² (what moves all channels a little) and max |u| (what moves one).
"""

import numpy as np
from jaxtyping import Float

from training.errors import InputError

RATES = np.array([1.0, 1 / 8, 1 / 64])
LARGEST = 30.0  # an innovation beyond this is this: one step must not blind the averages for good
ROWS = 100  # of clean episodes that a band is made of at least


class Channels:
    """Where each family of channels lies in the vector of all."""

    def __init__(self, sensors: int, actions: int) -> None:
        # shift, spread, memory, state, action, doubt, place
        self.sizes = np.array([sensors, sensors, sensors, sensors * sensors, sensors * actions, 1, 1])
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.count = int(self.sizes.sum())

    def of(
        self,
        z: Float[np.ndarray, "B O"],
        last: Float[np.ndarray, "B O"],
        state: Float[np.ndarray, "B O"],
        action: Float[np.ndarray, "B A"],
        extra: Float[np.ndarray, "B 2"],
    ) -> Float[np.ndarray, "B C"]:
        """The channels of one step."""
        rows = len(z)
        column = z[:, :, None]
        return np.concatenate(
            [
                z,
                z * z - 1,
                z * last,
                (column * state[:, None]).reshape(rows, -1),
                (column * action[:, None]).reshape(rows, -1),
                extra,
            ],
            axis=1,
        )

    def gather(self, u: Float[np.ndarray, "B R C"]) -> Float[np.ndarray, "B S"]:
        """Mean square and largest size of each family at each rate, in logarithms."""
        square = u * u
        found = np.empty((len(u), 2, len(RATES), len(self.starts)))
        np.divide(np.add.reduceat(square, self.starts, axis=2), self.sizes, out=found[:, 0])
        np.maximum.reduceat(square, self.starts, axis=2, out=found[:, 1])
        found += 1e-3
        return np.log(found, out=found).reshape(len(u), -1)


def bounded(z: np.ndarray) -> np.ndarray:
    """Innovations within ±LARGEST."""
    return np.minimum(np.maximum(z, -LARGEST), LARGEST)


def averaged(
    mean: Float[np.ndarray, "B R C"], value: Float[np.ndarray, "B C"], step: int | np.ndarray
) -> Float[np.ndarray, "B R C"]:
    """The averages after one more value; the first `1/r` values count alike, so that zeros leave no trace."""
    off = value[:, None] - mean
    if np.minimum.reduce(step, axis=None) * RATES[-1] >= 1:
        off *= RATES[:, None]
    else:
        off *= np.maximum(RATES, 1 / (np.asarray(step, float)[..., None] + 1))[..., None]
    off += mean
    return off


def edges(lengths: np.ndarray) -> np.ndarray:
    """First steps of the bins of time that bands are made for: doubling, each with enough rows."""
    found, start = [0], 0
    for end in 2 ** np.arange(16):
        rows = np.clip(lengths - start, 0, end - start).sum()
        left = np.clip(lengths - end, 0, None).sum()
        if end > start and rows >= ROWS and left >= ROWS:
            found.append(int(end))
            start = int(end)
    return np.array(found)


class Moments:
    """Mean and deviation of rows by bins of time, from sums; one pass."""

    def __init__(self, bins: int, *shape: int) -> None:
        self.count = np.zeros((bins, *(1 for _ in shape)))
        self.sum, self.square = np.zeros((bins, *shape)), np.zeros((bins, *shape))

    def add(self, where: int, rows: np.ndarray) -> None:
        """Rows (B, ...) of one bin."""
        self.count[where] += len(rows)
        self.sum[where] += rows.sum(axis=0)
        self.square[where] += (rows * rows).sum(axis=0)

    def band(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and one over the deviation of each bin; a bin without rows has its forerunner's."""
        filled = np.flatnonzero(self.count.reshape(len(self.count), -1)[:, 0])
        if not len(filled) or filled[0] != 0:
            raise InputError("there are no clean steps to make bands of, expected longer episodes")
        use = filled[np.searchsorted(filled, np.arange(len(self.count)), side="right") - 1]
        mean = self.sum[use] / self.count[use]
        variance = self.square[use] / self.count[use] - mean * mean
        # A channel that is still at first, as a leg that touches nothing, is not exact because of that.
        overall = self.square.sum(axis=0) / self.count.sum() - (self.sum.sum(axis=0) / self.count.sum()) ** 2
        return mean, 1 / np.sqrt(np.maximum(variance, 1e-3 * np.maximum(overall, 0) + 1e-8))


def quantile_band(
    values: Float[np.ndarray, "rows S"], where: np.ndarray, bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Median of each statistic by bin of time, and one over the way from there to its 99th percentile."""
    middle, scale = np.zeros((bins, values.shape[1])), np.zeros((bins, values.shape[1]))
    for at in range(bins):
        rows = values[where == at]
        low, high = np.quantile(rows, [0.5, 0.99], axis=0) if len(rows) else (middle[at - 1], None)
        middle[at] = low
        scale[at] = scale[at - 1] if high is None else 1 / np.maximum(high - low, 0.3)
    return middle, scale
