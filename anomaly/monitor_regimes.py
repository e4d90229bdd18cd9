"""Regimes: places and actions in which clean innovations are alike, told apart by a few questions.

A model is more exact in some places than in others: an innovation that is usual in a swing is strange at
rest. An oblivious tree (Langley and Sage, 1994: one question for all on a level) asks D questions, whether
feature f is above c; the answers are the bits of the regime. Each question is the one that leaves the least
variance of log (z² + ε) within regimes. Channels are taken in the mean and the deviation of their regime.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

QUESTIONS = 5
ROWS = 200  # of clean steps in the mean regime at least: fewer questions where there are few rows
CANDIDATES = 15  # quantiles of a feature that a question may ask for
SAMPLE = 20_000  # clean steps that questions are chosen on
LEVEL = 1e-3  # ε: smaller differences are no regimes


@dataclass(frozen=True)
class Regimes:
    """Which regime a step is in, and what channels are there."""

    feature: np.ndarray  # (D,) what each question is about
    cut: np.ndarray  # (D,) and what it must be above
    mean: np.ndarray  # (2^D, C) of channels
    inverse: np.ndarray  # (2^D, C) one over their deviation

    @staticmethod
    def none(channels: int) -> "Regimes":
        """A single regime, which changes nothing."""
        return Regimes(np.zeros(0, int), np.zeros(0), np.zeros((1, channels)), np.ones((1, channels)))

    @property
    def count(self) -> int:
        """How many regimes there are."""
        return int(2 ** len(self.feature))

    @staticmethod
    def fit(
        features: Float[np.ndarray, "rows F"], z: Float[np.ndarray, "rows O"], channels: int
    ) -> "Regimes":
        """The questions, from clean steps and their innovations; channels stay as they are for now."""
        rows = np.linspace(0, len(z) - 1, min(len(z), SAMPLE)).astype(int)
        x, energy = features[rows], np.log(z[rows] ** 2 + LEVEL)
        energy = energy - energy.mean(axis=0)
        some = np.quantile(x, np.linspace(0, 1, CANDIDATES + 2)[1:-1], axis=0)
        cuts = [(f, c) for f in range(x.shape[1]) for c in np.unique(some[:, f])]
        chosen: list[tuple[int, float]] = []
        regime = np.zeros(len(x), int)
        while len(chosen) < QUESTIONS and len(z) >= ROWS * 2 ** (len(chosen) + 1):
            gains = [_explained(2 * regime + (x[:, f] > c), energy, 2 ** (len(chosen) + 1)) for f, c in cuts]
            f, c = cuts[int(np.argmax(gains))]
            chosen.append((f, float(c)))
            regime = 2 * regime + (x[:, f] > c)
        shape = 2 ** len(chosen), channels
        feature, cut = np.array([f for f, _ in chosen], int), np.array([c for _, c in chosen])
        return Regimes(feature, cut, np.zeros(shape), np.ones(shape))

    def with_tables(self, mean: np.ndarray, inverse: np.ndarray) -> "Regimes":
        """The same questions, with mean and one over the deviation (2^D, C) of channels."""
        return replace(self, mean=mean, inverse=inverse)

    def __call__(self, features: Float[np.ndarray, "B F"]) -> Int[np.ndarray, " B"]:
        """The regime of each step."""
        return (features.take(self.feature, axis=1) > self.cut).dot(self._bits)

    def standard(
        self, values: Float[np.ndarray, "B C"], regime: Int[np.ndarray, " B"]
    ) -> Float[np.ndarray, "B C"]:
        """Channels in deviations from the mean of their regime."""
        # A number picks a view, where a list of one makes a copy.
        where = regime.item() if len(regime) == 1 else regime
        values = values - self.mean[where]
        values *= self.inverse[where]
        return values

    @cached_property
    def _bits(self) -> np.ndarray:
        return 2 ** np.arange(len(self.feature))


def _explained(regime: np.ndarray, energy: np.ndarray, regimes: int) -> float:
    """The sum of squares that regimes' means take away."""
    count = np.bincount(regime, minlength=regimes)
    sums = np.stack([np.bincount(regime, column, regimes) for column in energy.T])
    return float((sums**2 / np.maximum(count, 1)).sum())
