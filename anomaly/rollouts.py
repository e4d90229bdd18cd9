"""A generative model that watches episodes: how strange each step is, and when to raise an alarm.

The alarm's promise is about whole episodes, which are exchangeable where steps are not: the threshold is the
conformal quantile of the episodes' highest scores, so that at most a share alpha of clean episodes raises any
alarm, in the mean over calibration sets.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from anomaly.calibration import check_alpha, threshold
from anomaly.detector import fit_model, score_rows
from envs.recording import Episodes
from generative.data import of_episodes, split_table
from generative.registry import Model, preset
from training.errors import InputError
from training.seeds import numpy_generator

BOOTSTRAPS = 1_000


class RolloutDetector:
    """A model of clean transitions, and the score above which an episode raises an alarm."""

    def __init__(self, model: Model, columns: tuple[str, ...]) -> None:
        self.model, self.columns = model, columns
        self.threshold = np.inf

    @staticmethod
    def fit(clean: Episodes, kind: str = "vae", seed: int = 0, cfg: Any = None) -> "RolloutDetector":
        """Learns clean transitions; one episode in five selects when to stop.

        Raises:
            InputError: for fewer than two episodes.
        """
        table = of_episodes(clean, f"{len(clean)} episodes of {clean.env}")
        fit, select = split_table(table, seed, 0.8, 0.2)
        cfg = preset(kind, table.source) if cfg is None else cfg
        cfg = replace(cfg, run=replace(cfg.run, seed=seed))
        return RolloutDetector(fit_model(kind, cfg, table, fit, select), table.columns)

    def score(self, episodes: Episodes) -> Float[np.ndarray, "E T"]:
        """How strange each step is (E, T); NaN after an episode's end."""
        x, names = episodes.transitions()
        if tuple(names) != self.columns:
            raise InputError(f"the episodes have {names}, the detector expects {list(self.columns)}")
        return episodes.by_time(score_rows(self.model, x))

    def calibrate(self, clean: Episodes, alpha: float) -> None:
        """Sets the threshold from the highest score of each episode.

        Raises:
            InputError: when there are too few episodes for alpha.
        """
        check_alpha(alpha, len(clean))
        self.threshold = threshold(np.sort(np.nanmax(self.score(clean), axis=1)), alpha)

    def alarms(self, score: Float[np.ndarray, "E T"]) -> Bool[np.ndarray, "E T"]:
        """Whether each step is above the threshold."""
        return score > self.threshold


@dataclass(frozen=True)
class AUROC:
    """P(a faulty step scores higher than a clean one), with its 95 % interval; NaN without pairs."""

    value: float
    low: float
    high: float


def after(score: Float[np.ndarray, "E T"], onset: Int[np.ndarray, " E"]) -> Float[np.ndarray, "E T"]:
    """The scores from each episode's onset on, NaN before."""
    return np.where(np.arange(score.shape[1]) >= onset[:, None], score, np.nan)


def around(
    score: Float[np.ndarray, "E T"], onset: Int[np.ndarray, " E"], steps: Int[np.ndarray, " S"]
) -> Float[np.ndarray, "E S"]:
    """The scores at the given steps counted from each onset; NaN outside of an episode."""
    at = onset[:, None] + steps
    outside = (at < 0) | (at >= score.shape[1])
    return np.where(outside, np.nan, np.take_along_axis(score, np.where(outside, 0, at), axis=1))


def time_matched_auroc(
    faulty: Float[np.ndarray, "E T"], clean: Float[np.ndarray, "C S"], seed: int = 0
) -> AUROC:
    """Compares each faulty step with the clean steps at the same time since their start.

    Scores drift over an episode, so pooling early clean with late faulty steps measures the clock. Steps that
    are NaN on either side are left out; the bootstrap draws faulty and clean episodes.
    """
    length = min(faulty.shape[1], clean.shape[1])
    faulty, clean = faulty[:, :length], clean[:, :length]
    pairs = np.zeros((len(faulty), len(clean)))
    wins = np.zeros_like(pairs)
    for i, row in enumerate(faulty):
        both = ~np.isnan(row) & ~np.isnan(clean)
        pairs[i] = both.sum(axis=1)
        wins[i] = ((row > clean) & both).sum(axis=1) + 0.5 * ((row == clean) & both).sum(axis=1)
    if not pairs.any():
        return AUROC(np.nan, np.nan, np.nan)
    rng = numpy_generator(seed, "auroc")
    weights = [rng.multinomial(n, np.full(n, 1 / n), BOOTSTRAPS).astype(float) for n in pairs.shape]
    won, met = (np.einsum("bi,ij,bj->b", weights[0], table, weights[1]) for table in (wins, pairs))
    low, high = np.quantile(won[met > 0] / met[met > 0], [0.025, 0.975])
    return AUROC(float(wins.sum() / pairs.sum()), float(low), float(high))


def time_matched_p(
    faulty: Float[np.ndarray, "E T"], clean: Float[np.ndarray, "C S"]
) -> Float[np.ndarray, " steps"]:
    """For each faulty step the share of clean steps at its time that score as high: their ROC's x-axis."""
    length = min(faulty.shape[1], clean.shape[1])
    shares = []
    for now, then in zip(faulty.T[:length], clean.T[:length], strict=True):
        reference = np.sort(then[~np.isnan(then)])
        if len(reference):
            above = len(reference) - np.searchsorted(reference, now[~np.isnan(now)], side="left")
            shares.append(above / len(reference))
    return np.concatenate([np.zeros(0), *shares])


def delays(alarm: Bool[np.ndarray, "E T"], onset: Int[np.ndarray, " E"]) -> Float[np.ndarray, " E"]:
    """Steps from each onset to the first alarm not before it; infinite where none came."""
    from_onset = alarm & (np.arange(alarm.shape[1]) >= onset[:, None])
    return np.where(from_onset.any(axis=1), from_onset.argmax(axis=1) - onset, np.inf)
