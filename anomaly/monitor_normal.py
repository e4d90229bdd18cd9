"""What makes innovations normal and apart from one another, regime by regime.

    z = (ε − m) W,   W Wᵀ = Σ⁻¹         g(z) = y_1 + s (z − q_1) + Σ_k b_k max(z − q_k, 0),   g(q_k) = y_k

Where an engine runs, innovations go together otherwise than where it rests: mean m and covariance Σ are those
of a regime. W is the symmetric root of the correlations: each innovation stays as near to its own sensor as
can be.

Engines that push at random within limits, contacts that throw once in a while: what is left after a good
model is seldom normal, and a statistic of it is as large on clean steps as the worst tail makes it. Straight
pieces through the clean quantiles q_k of z, y_k = Φ⁻¹(p_k), let an innovation count by how rare it is where
it came: a little beyond what has limits counts for much, what is far out among wide tails for little.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm

LEVELS = np.array([0.001, 0.01, 0.03, 0.1, 0.5, 0.9, 0.97, 0.99, 0.999])
SCORES = norm.ppf(LEVELS)
LOWEST = float(SCORES[0])
CENTER = len(LEVELS) // 2
END = 3  # outermost knots that the way beyond them is drawn through: the last two alone are a few steps
STEEP = 10.0  # a piece at most: readings that stand still have quantiles that are all the same
ROWS = 300  # clean steps of a regime, and
PER_SENSOR = 20  # for each sensor, from which on it has numbers of its own
MIDDLE = 0.6745  # half of what is normal lies within so many deviations
OUTLYING = 5.0  # deviations, by the middle half: what is farther counts as this far in a covariance
LEAST = 1e-3  # variance of a direction, its sensors having 1: what is exact by chance stays small


@dataclass(frozen=True)
class Normal:
    """Of each regime (R) what its innovations are taken by."""

    mean: np.ndarray  # (R, O)
    whiten: np.ndarray  # (R, O, O) W
    knots: np.ndarray  # (R, K, O) q: where pieces begin
    bends: np.ndarray  # (R, K, O) b: by how much each is steeper than the one before
    slope: np.ndarray  # (R, O) s: of what comes before the first

    @staticmethod
    def none(sensors: int) -> "Normal":
        """Of a single regime, which changes nothing."""
        knots = np.tile(SCORES[:, None], (1, 1, sensors))
        straight = np.zeros_like(knots), np.ones((1, sensors))
        return Normal(np.zeros((1, sensors)), np.eye(sensors)[None], knots, *straight)

    @staticmethod
    def fit(raw: Float[np.ndarray, "rows O"], regime: Int[np.ndarray, " rows"], regimes: int) -> "Normal":
        """From clean innovations and their regimes; where there are few, those of all regimes count."""
        needed, parts = max(ROWS, PER_SENSOR * raw.shape[1]), []
        everywhere = _part(raw)
        for at in range(regimes):
            own = raw[regime == at]
            parts.append(_part(own) if len(own) >= needed else everywhere)
        mean, whiten, quantiles = (np.array(part) for part in zip(*parts, strict=True))
        return Normal(mean, whiten, *pieces(quantiles))

    def __call__(
        self, raw: Float[np.ndarray, "B O"], regime: Int[np.ndarray, " B"]
    ) -> Float[np.ndarray, "B O"]:
        """g of innovations in these regimes."""
        # A number picks a view, where a list of one makes a copy.
        where = regime.item() if len(regime) == 1 else regime
        off = (raw - self.mean[where])[:, None]
        over = np.matmul(off, self.whiten[where]) - self.knots[where]
        found = over[:, 0] * self.slope[where]
        found += LOWEST
        np.maximum(over, 0.0, out=over)
        over *= self.bends[where]
        found += np.add.reduce(over, axis=1)
        return found

    def conditional(
        self, raw: Float[np.ndarray, "B O"], regime: Int[np.ndarray, " B"], sensor: Int[np.ndarray, " B"]
    ) -> Float[np.ndarray, " B"]:
        """The mean of one innovation in each row given the others, what is no number being the mean:

        ε_i = m_i − Σ_j P_ij (ε_j − m_j) / P_ii,   j ≠ i,   P = W Wᵀ
        """
        rows, mean, precision = np.arange(len(raw)), self.mean[regime], self._precision[regime, sensor]
        off = np.where(np.isfinite(raw), raw - mean, 0.0)
        own = precision[rows, sensor]
        others = (precision * off).sum(axis=1) - own * off[rows, sensor]
        return mean[rows, sensor] - others / own

    @cached_property
    def _precision(self) -> Float[np.ndarray, "R O O"]:
        return self.whiten @ self.whiten.swapaxes(1, 2)


def _part(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean, whiten = whitening(raw)
    return mean, whiten, np.quantile((raw - mean) @ whiten, LEVELS, axis=0)


def whitening(raw: Float[np.ndarray, "rows O"]) -> tuple[np.ndarray, np.ndarray]:
    """Mean (O,) and W (O, O); what lies far out is drawn in, or a few contacts would make both."""
    center = np.median(raw, axis=0)
    middle = np.median(np.abs(raw - center), axis=0) / MIDDLE
    far = OUTLYING * np.maximum(middle, 0.1 * raw.std(axis=0)) + 1e-9
    drawn = center + np.clip(raw - center, -far, far)
    covariance = np.atleast_2d(np.cov(drawn.T))
    deviation = np.sqrt(np.maximum(np.diag(covariance), 1e-8))
    values, vectors = np.linalg.eigh(covariance / np.outer(deviation, deviation))
    root = (vectors / np.sqrt(np.maximum(values, LEAST))) @ vectors.T
    return drawn.mean(axis=0), root / deviation[:, None]


def pieces(quantiles: Float[np.ndarray, "R K O"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Knots, bends and slope through quantiles of `LEVELS`, moved outwards where they are too close."""
    up = np.diff(SCORES)[:, None]
    gaps = np.maximum(np.diff(quantiles, axis=1), up / STEEP)
    knots = np.concatenate([np.zeros_like(gaps[:, :1]), gaps.cumsum(axis=1)], axis=1)
    knots += quantiles[:, [CENTER]] - knots[:, [CENTER]]
    before = (SCORES[END - 1] - SCORES[0]) / (knots[:, END - 1] - knots[:, 0])
    beyond = (SCORES[-1] - SCORES[-END]) / (knots[:, -1] - knots[:, -END])
    slopes = np.concatenate([before[:, None], up / gaps, beyond[:, None]], axis=1)
    return knots, np.diff(slopes, axis=1), before
