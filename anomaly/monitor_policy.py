"""What a policy makes of what arrived: for observations that mislead it, and for another policy.

    swing = log mean (π(o') − π(ô'))²        ô' is foretold: an input that turns the policy though it is near
    blame = log mean (π(o) − a)²             a was done where π would have done something else

π is the policy that was watched when episodes were clean, from observations to actions, or to the values or
logits of discrete ones, which are in deviations of clean steps; of those the blame is
log (max π(o) − π(o)_a)²: none while the best action is done. An older checkpoint or a wrong normaliser is
blamed at its first other action, where nothing about the world is strange.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from anomaly.monitor_state import Scales
from envs.recording import Episodes
from training.errors import InputError

Policy = Callable[[np.ndarray], np.ndarray]
"""Observations (B, O) float32 to actions (B,) or (B, A) as the environment gets them, or values (B, n) of
discrete ones."""

SAME = 1e-6  # added within logarithms: what is closer is equal
CHECKS = 2  # numbers that a policy adds to the channels
SAMPLE = 2_000  # clean steps that the unit of values is taken of


class PolicyCheck:
    """The two numbers of the module docstring, for observations in deviations and encoded actions."""

    def __init__(self, policy: Policy, scales: Scales, unit: float) -> None:
        """`unit` is the deviation of the policy's values.

        Raises:
            InputError: when the policy gives something else than actions or their values.
        """
        self._policy, self._scales, self.unit = policy, scales, unit
        found = np.asarray(policy(np.tile(scales.mean, (3, 1)).astype(np.float32)))
        self._chooses = bool(scales.actions) and found.shape == (3,)
        if not self._chooses and found.shape != (3, scales.actuators):
            raise InputError(
                f"the policy gives {found.shape} for 3 observations, expected actions or values"
                f" (3, {scales.actuators})"
            )

    @staticmethod
    def of(policy: Policy, scales: Scales, clean: Episodes) -> "PolicyCheck":
        """With the unit that the policy's values have in clean episodes."""
        some = clean.obs[:: max(1, len(clean.obs) // SAMPLE)].astype(np.float32)
        return PolicyCheck(policy, scales, max(float(np.asarray(policy(some), float).std()), 1e-6))

    def __call__(
        self,
        received: Float[np.ndarray, "B O"],
        foretold: Float[np.ndarray, "B O"],
        before: Float[np.ndarray, "B O"],
        action: Float[np.ndarray, "B A"],
    ) -> Float[np.ndarray, "B 2"]:
        """Swing and blame; `before` is the observation that the action should follow from."""
        scales, rows = self._scales, len(received)
        seen = np.concatenate([received, foretold, before]) * scales.deviation + scales.mean
        found = np.asarray(self._policy(seen.astype(np.float32)))
        if self._chooses:
            code = scales.encode(found)
            off, blame = code[:rows] - code[rows : 2 * rows], _log_mean(code[2 * rows :] - action)
        else:
            off, blame = (
                (found[:rows] - found[rows : 2 * rows]) / self.unit,
                self._blame(found[-rows:], action),
            )
        return np.stack([_log_mean(off), blame], axis=1)

    def _blame(self, found: np.ndarray, action: np.ndarray) -> np.ndarray:
        scales = self._scales
        if not scales.actions:
            return _log_mean(scales.encode(found) - action)
        chosen = found[np.arange(len(found)), action.argmax(axis=1)]
        return _log_mean(((found.max(axis=1) - chosen) / self.unit)[:, None])


def _log_mean(off: np.ndarray) -> np.ndarray:
    return np.log((off * off).mean(axis=1) + SAME)
