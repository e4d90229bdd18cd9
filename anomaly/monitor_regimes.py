"""Regimes: places and actions in which clean innovations are alike, told apart by a few questions.

A model is more exact in some places than in others: an innovation that is usual in a swing is strange at
rest. Each discrete action has regimes of its own. There an oblivious tree (Langley and Sage, 1994: one
question for all on a level) asks D questions, whether feature f is above c; the answers are the bits of the
regime. Each question is the one that leaves the least Σ n log (mean |z| + ε), n rows in a regime: the
likelihood of two-sided exponential innovations, which sees where they are usually large, and where they are
seldom so, but then very. Channels are taken in the mean and the deviation of their regime.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

QUESTIONS = 5
ROWS = 200  # of clean steps in the mean regime at least: fewer questions where there are few rows
CANDIDATES = 15  # quantiles of a feature that a question may ask for
SAMPLE = 20_000  # clean steps that questions are chosen on
LEVEL = 0.03  # ε: smaller differences are no regimes


@dataclass(frozen=True)
class Regimes:
    """Which regime a step is in, and what channels are there."""

    feature: np.ndarray  # (D,) what each question is about
    cut: np.ndarray  # (D,) and what it must be above
    mean: np.ndarray  # (R, C) of channels, R = 2^D for each action
    inverse: np.ndarray  # (R, C) one over their deviation

    @staticmethod
    def none(channels: int) -> "Regimes":
        """A single regime, which changes nothing."""
        return Regimes(np.zeros(0, int), np.zeros(0), np.zeros((1, channels)), np.ones((1, channels)))

    @property
    def count(self) -> int:
        """How many regimes there are."""
        return len(self.mean)

    @staticmethod
    def fit(
        features: Float[np.ndarray, "rows F"],
        action: Int[np.ndarray, " rows"],
        actions: int,
        z: Float[np.ndarray, "rows O"],
        channels: int,
    ) -> "Regimes":
        """The questions, from clean steps, one of so many actions each, and their innovations.

        Channels stay as they are for now.
        """
        rows = np.linspace(0, len(z) - 1, min(len(z), SAMPLE)).astype(int)
        x, size = features[rows], np.abs(z[rows])
        some = np.quantile(x, np.linspace(0, 1, CANDIDATES + 2)[1:-1], axis=0)
        cuts = [(f, c) for f in range(x.shape[1]) for c in np.unique(some[:, f])]
        chosen: list[tuple[int, float]] = []
        regime, regimes = action[rows], actions
        while len(chosen) < QUESTIONS and len(z) >= ROWS * 2 * regimes:
            regimes *= 2
            left = [_left(2 * regime + (x[:, f] > c), size, regimes) for f, c in cuts]
            f, c = cuts[int(np.argmin(left))]
            chosen.append((f, float(c)))
            regime = 2 * regime + (x[:, f] > c)
        shape = regimes, channels
        feature, cut = np.array([f for f, _ in chosen], int), np.array([c for _, c in chosen])
        return Regimes(feature, cut, np.zeros(shape), np.ones(shape))

    def with_tables(self, mean: np.ndarray, inverse: np.ndarray) -> "Regimes":
        """The same questions, with mean and one over the deviation (2^D, C) of channels."""
        return replace(self, mean=mean, inverse=inverse)

    def __call__(
        self, features: Float[np.ndarray, "B F"], action: Int[np.ndarray, " B"] | None
    ) -> Int[np.ndarray, " B"]:
        """The regime of each step; `action` is None where actions have no regimes."""
        found = (features.take(self.feature, axis=1) > self.cut).dot(self._bits)
        return found if action is None else found + (action << len(self.feature))

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


def _left(regime: np.ndarray, size: np.ndarray, regimes: int) -> float:
    """Rows times the log of their mean size, summed over regimes and sensors."""
    count = np.bincount(regime, minlength=regimes)
    sums = np.stack([np.bincount(regime, column, regimes) for column in size.T])
    return float((count * np.log(sums / np.maximum(count, 1) + LEVEL)).sum())
