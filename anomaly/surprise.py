"""Scores of any unit to nats of surprise, so that detectors can be compared and joined.

    u(s) = −log P(S > s)     counted among own scores up to their 90th percentile, exponential beyond it:
                             P = 0.1 exp(−(s − q) / mean excess over q), or, with a heavy tail,
                             P = 0.1 (1 + ξ (s − q) / β)^(−1/ξ)
    S(x) = T log Σ_m w_m exp(u_m / T),   T = 2, Σ w = 1

Equal own scores do not count as higher: with them (≥) the standard score on series of `benchmarks.anomaly`
was half a point lower on the half that chose nothing, and tables were the same.

Own scores are those of fitted rows by a model that did not see them: out of fold, or leaving one out. The
tail is that of peaks over a threshold (Pickands, 1975, doi:10.1214/aos/1176343003), with shape 0, or with ξ
from 0 to HEAVIEST by probability-weighted moments (Hosking and Wallis, 1987, doi:10.2307/1269343).
"""

import numpy as np
from jaxtyping import Float

TAIL = 0.1  # the share of own scores whose probabilities are exponential
TEMPERATURE = 2.0  # T: 0 would take the most surprised member, infinity the mean
KNOTS = 1_000  # of the own scores that are kept
SHARES = np.linspace(0, 1 - TAIL, KNOTS)  # of the own scores, up to each knot
FEW = 8  # own scores in the tail
HEAVIEST = 0.5  # ξ: scores without a variance


class Surprise:
    """u of the module docstring, between knots: own scores and their surprise."""

    def __init__(self, knots: Float[np.ndarray, " n"], scale: float, shape: float = 0.0) -> None:
        self.knots, self.scale, self.shape = knots, scale, shape  # β and ξ

    @staticmethod
    def fit(own: Float[np.ndarray, " n"], heavy: bool = False, least: float = 1e-12) -> "Surprise":
        """Counts own scores; their tail is exponential unless it may be heavy, and β is `least` or more."""
        ordered = np.sort(own.astype(np.float64))
        cut = float(np.quantile(ordered, 1 - TAIL))
        above = ordered[ordered > cut]
        excess = float((above - cut).mean()) if len(above) else 0.0
        floor = 1e-3 * float(ordered.std()) + least
        shape = _shape(above - cut) if heavy else 0.0
        knots = np.quantile(ordered, SHARES)
        return Surprise(knots, max(excess * (1 - shape), floor), shape)

    def __call__(self, score: Float[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """The surprise of scores, in nats; 0 below all that were seen."""
        share = np.interp(score, self.knots, SHARES)
        beyond = np.maximum(score.astype(np.float64) - self.knots[-1], 0.0) / self.scale
        return -np.log1p(-share) + (np.log1p(self.shape * beyond) / self.shape if self.shape else beyond)

    def array(self) -> Float[np.ndarray, " n"]:
        """What `of_array` needs."""
        return np.append(self.knots, [self.scale, self.shape])

    @staticmethod
    def of_array(found: Float[np.ndarray, " n"]) -> "Surprise":
        """Reads what `array` gave."""
        return Surprise(found[:KNOTS], *found[KNOTS:].tolist())


def _shape(excess: Float[np.ndarray, " n"]) -> float:
    """ξ of excesses in ascending order, within its bounds; 0 of too few to tell."""
    if len(excess) < FEW:
        return 0.0
    above = 1 - (np.arange(len(excess)) + 0.65) / len(excess)  # the share of excesses above each
    first, second = excess.mean(), (above * excess).mean()
    return float(np.clip(2 - first / (first - 2 * second), 0.0, HEAVIEST)) if first > 2 * second else HEAVIEST


def joined(surprises: Float[np.ndarray, "M B"], weights: Float[np.ndarray, " M"]) -> Float[np.ndarray, " B"]:
    """S of the module docstring; weights need not sum to 1."""
    scaled = surprises / TEMPERATURE
    most = scaled.max(0)
    return TEMPERATURE * (most + np.log(weights / weights.sum() @ np.exp(scaled - most)))
