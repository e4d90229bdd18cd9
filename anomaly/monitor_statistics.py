"""Two-sided statistics of innovations at three time scales, and the bands that clean episodes keep them in.

Of a whitened innovation z (O,), the scaled observation s (O,) before it and the action a (A,) come channels:

    shift z · spread z² − 1 · memory z_t z_{t−1} · pairs z_i z_j, i < j · state s zᵀ · action a zᵀ · doubt ·
    place · policy

A wrong mean, a wrong variance, noise with a memory, a sensor that shows what another one does, a changed
world and a changed actuator each move one of these. Each channel c is averaged, e ← e + r (c − e), at rates r
of 1, 1/8 and 1/64 a step (Roberts, 1959). A band is mean and deviation of e at a time since the start, on
clean episodes; u = (e − mean) / deviation.
A family's statistics are mean u² (what moves all channels a little) and max |u| (what moves one).
"""

import numpy as np
from jaxtyping import Float

from anomaly.monitor_normal import MIDDLE

RATES = np.array([1.0, 1 / 8, 1 / 64])
# By step (65, R, 1): at first all values count alike.
WARMING = np.maximum(RATES, 1 / np.arange(1, 66)[:, None])[:, :, None]
FEW = 12  # sensors up to which each pair of them has a channel
LARGEST = 30.0  # an innovation beyond this is this: one step must not blind the averages for good
SWITCHED = 3.0  # the same of a sensor of two readings: that it switches says no more than how seldom it does


class Channels:
    """Where each family of channels lies in the vector of all."""

    def __init__(self, sensors: int, actions: int, directions: int | None = None, extra: int = 2) -> None:
        """`directions`: in how many the state is seen; as many as sensors where nothing is said."""
        seen = sensors if directions is None else directions
        self._first, self._second = np.triu_indices(sensors if sensors <= FEW else 0, 1)
        # shift, spread, memory, pairs, state, action, and one each: doubt, place, those of a policy
        sizes = [sensors] * 3 + [len(self._first), sensors * seen, sensors * actions] + [1] * extra
        self.sizes = np.array([size for size in sizes if size])
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.count = int(self.sizes.sum())
        self._share = 1 / self.sizes

    def of(
        self,
        z: Float[np.ndarray, "B O"],
        last: Float[np.ndarray, "B O"],
        state: Float[np.ndarray, "B S"],
        action: Float[np.ndarray, "B A"],
        *extra: Float[np.ndarray, "B _"],
    ) -> Float[np.ndarray, "B C"]:
        """The channels of one step."""
        seen = np.concatenate([state, action], axis=1)
        products = (seen[:, :, None] * z[:, None]).reshape(len(z), -1)
        pairs = z.take(self._first, axis=1) * z.take(self._second, axis=1)
        return np.concatenate([z, z * z - 1, z * last, pairs, products, *extra], axis=1)

    def gather(self, u: Float[np.ndarray, "B R C"]) -> Float[np.ndarray, "B S"]:
        """Mean square and largest size of each family at each rate, in logarithms."""
        square = u * u
        found = np.empty((len(u), 2, len(RATES), len(self.starts)))
        np.multiply(np.add.reduceat(square, self.starts, axis=2), self._share, out=found[:, 0])
        np.maximum.reduceat(square, self.starts, axis=2, out=found[:, 1])
        found += 1e-3
        return np.log(found, out=found).reshape(len(u), 2 * len(RATES) * len(self.sizes))


def bounded(z: np.ndarray) -> np.ndarray:
    """Innovations within ±LARGEST."""
    return np.minimum(np.maximum(z, -LARGEST), LARGEST)


def spread(raw: Float[np.ndarray, "rows O"]) -> Float[np.ndarray, " O"]:
    """How many times wider innovations are than was foretold, by their middle half; 1 at least."""
    return np.maximum(np.median(np.abs(raw), axis=0) / MIDDLE, 1.0)


def averaged(
    mean: Float[np.ndarray, "B R C"], value: Float[np.ndarray, "B C"], step: int | np.ndarray
) -> Float[np.ndarray, "B R C"]:
    """The averages after one more value; the first `1/r` values count alike, so that zeros leave no trace."""
    off = value[:, None] - mean
    off *= WARMING.take(step, axis=0, mode="clip")
    off += mean
    return off
