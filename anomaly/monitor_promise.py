"""What a monitor promises about false alarms: for whole episodes, or for runs that do not end.

Episodes are exchangeable: the threshold is the conformal quantile of their highest scores. A run without an
end is cut into stretches of S steps, which are long beside the monitor's memory and so nearly exchangeable.
When at most a share α of them has an alarm, and an alarm is armed again after S quiet steps, there are at
least S / α steps from one false alarm to the next, in the mean: the average run length.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from anomaly.calibration import needed, realised_range, threshold
from training.errors import InputError

STRETCH = 128  # S: twice the memory of the slowest average
WARM = 64  # first steps of an episode, which an endless run has only once


@dataclass(frozen=True)
class Promise:
    """A threshold, and the false alarms it allows; the default promises nothing and raises none."""

    threshold: float = math.inf
    alpha: float = math.nan  # share of episodes, or of stretches, with a false alarm at most
    count: int = 0  # of episodes, or stretches, that it was calibrated on
    run_length: int = 0  # steps between false alarms, in the mean; 0: the promise is about episodes
    longest: int = 0  # steps after which such episodes were cut, if any was: it is about no more of them

    @staticmethod
    def of_episodes(score: Float[np.ndarray, "E T"], alpha: float, longest: int = 0) -> "Promise":
        """From the scores of clean episodes."""
        highest = np.sort(np.nanmax(score, axis=1))
        return Promise(threshold(highest, alpha), alpha, len(highest), 0, longest)

    @staticmethod
    def of_runs(score: Float[np.ndarray, "E T"], run_length: int) -> "Promise":
        """From the scores of long clean episodes.

        Raises:
            InputError: when there are too few steps for a run length, or it is shorter than a stretch.
        """
        check_run_length(run_length)
        check_stretches((~np.isnan(score)).sum(axis=1), run_length)
        highest, alpha = np.sort(stretches(score)), STRETCH / run_length
        return Promise(threshold(highest, alpha), alpha, len(highest), run_length)

    def kept(self, score: Float[np.ndarray, "E T"]) -> str:
        """What was promised, and whether the scores of other clean episodes fit it."""
        highest = stretches(score) if self.run_length else np.nanmax(score, axis=1)
        alarms, tests = int((highest > self.threshold).sum()), len(highest)
        low, high = realised_range(self.count, self.alpha, tests)
        if self.run_length:
            return (
                f"{alarms} of {tests} stretches of {STRETCH} clean steps had a false alarm. At least"
                f" {self.run_length} steps from one to the next are promised, in the mean over sets of"
                f" {self.count} stretches to calibrate; {low} to {high} of {tests} fit that."
            )
        of_up_to = f" of up to {self.longest} steps" if self.longest else ""
        return (
            f"{alarms} of {tests} clean episodes raised a false alarm. At most {self.alpha:.0%} are promised,"
            f" in the mean over sets of {self.count} calibration episodes{of_up_to};"
            f" {low} to {high} of {tests} fit that."
        )


def stretches(score: Float[np.ndarray, "E T"]) -> Float[np.ndarray, " n"]:
    """The highest score of every whole stretch; NaN is after an episode's end."""
    count = max(0, (score.shape[1] - WARM) // STRETCH)
    cut = score[:, WARM : WARM + count * STRETCH].reshape(len(score), count, STRETCH)
    return cut[~np.isnan(cut).any(axis=2)].max(axis=1, initial=-math.inf)


def check_stretches(length: Int[np.ndarray, " E"], run_length: int) -> None:
    """Raises InputError unless clean episodes of these lengths have the stretches that a run length takes."""
    found, wanted = int((np.maximum(length - WARM, 0) // STRETCH).sum()), needed(STRETCH / run_length)
    if found < wanted:
        raise InputError(
            f"a run length of {run_length} steps takes {wanted} stretches of {STRETCH} clean steps, found"
            f" {found} (an episode's first {WARM} steps are left out), expected more or longer episodes"
        )


def check_episodes(alpha: float, episodes: int) -> int:
    """How many episodes a rate needs.

    Raises:
        InputError: when there are fewer, or alpha is no rate.
    """
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha}, expected a rate between 0 and 1")
    if episodes < needed(alpha):
        raise InputError(
            f"alpha is {alpha} with {episodes} episodes to calibrate, expected {needed(alpha)} or more"
        )
    return needed(alpha)


def check_run_length(steps: int) -> None:
    """Raises InputError for one that is no longer than a stretch."""
    if steps <= STRETCH:
        raise InputError(f"the run length is {steps} steps, expected more than {STRETCH}")
