"""Split conformal p-values: Vovk et al., 2005; Bates et al., 2023 (arXiv:2104.08279).

    p(s) = (1 + number of calibration scores >= s) / (n + 1)

When calibration and test scores are exchangeable, P(p <= alpha) <= alpha. The promise is marginal: over the
drawing of both. The false-alarm rates of single calibration sets spread as Beta(l, n + 1 − l) with
l = floor((n + 1) alpha), for scores without ties, which `realised_range` turns into an interval.
"""

import math

import numpy as np
from jaxtyping import Float
from scipy import stats

from training.errors import InputError


def p_values(score: Float[np.ndarray, " B"], calibration: Float[np.ndarray, " n"]) -> Float[np.ndarray, " B"]:
    """p(s) of the module docstring for each score; `calibration` must be sorted, ascending."""
    as_strange = len(calibration) - np.searchsorted(calibration, score, side="left")
    return (1.0 + as_strange) / (len(calibration) + 1.0)


def threshold(calibration: Float[np.ndarray, " n"], alpha: float) -> float:
    """The score above which p <= alpha; `calibration` must be sorted, ascending.

    Raises:
        InputError: when alpha is not in (0, 1) or n is too small for any p to be that low.
    """
    check_alpha(alpha, len(calibration))
    allowed = math.floor(alpha * (len(calibration) + 1) + 1e-9)  # calibration scores above, plus one
    return float(calibration[len(calibration) - allowed])


def smallest_alpha(n: int) -> float:
    """The default: 1 in 100, or the smallest rate that n calibration scores can promise."""
    return max(0.01, 1.0 / (n + 1))


def check_alpha(alpha: float, n: int) -> None:
    """Raises InputError unless n calibration scores can promise a false-alarm rate of alpha."""
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha}, expected a rate between 0 and 1")
    if alpha * (n + 1) < 1 - 1e-9:
        needed = math.ceil(1 / alpha) - 1
        raise InputError(f"alpha is {alpha} with {n} calibration scores, expected at least {needed} of them")


def realised_range(n: int, alpha: float, tests: int, level: float = 0.95) -> tuple[int, int]:
    """How many false alarms among `tests` normal scores the promise is consistent with (beta-binomial)."""
    allowed = math.floor(alpha * (n + 1) + 1e-9)
    alarms = stats.betabinom(tests, allowed, n + 1 - allowed)
    return int(alarms.ppf((1 - level) / 2)), int(alarms.ppf((1 + level) / 2))
