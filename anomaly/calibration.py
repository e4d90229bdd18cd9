"""Split conformal p-values: Vovk et al., 2005; Bates et al., 2023 (arXiv:2104.08279).

    p(s) = (1 + number of calibration scores >= s) / (n + 1)

When calibration and test scores are exchangeable, P(p <= alpha) <= alpha. The promise is marginal: over the
drawing of both. The false-alarm rates of single calibration sets spread as Beta(l, n + 1 − l) with
l = floor((n + 1) alpha), for scores without ties, which `realised_range` turns into an interval.
"""

import math

import numpy as np
from jaxtyping import Float, Int

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
    check_rate(alpha)
    if alpha * (n + 1) < 1 - 1e-9:
        raise InputError(
            f"alpha is {alpha} with {n} calibration scores, expected at least {needed(alpha)} of them"
        )


def check_rate(rate: float, name: str = "alpha") -> None:
    """Raises InputError unless a rate lies between 0 and 1."""
    if not 0 < rate < 1:
        raise InputError(f"{name} is {rate}, expected a rate between 0 and 1")


def needed(alpha: float) -> int:
    """How many calibration scores a false-alarm rate of alpha needs."""
    return math.ceil(1 / alpha - 1e-9) - 1


def realised_range(n: int, alpha: float, tests: int, level: float = 0.95) -> tuple[int, int]:
    """How many false alarms among `tests` normal scores the promise is consistent with (beta-binomial)."""
    from scipy.stats import betabinom  # half a second to import

    allowed = math.floor(alpha * (n + 1) + 1e-9)
    alarms = betabinom(tests, allowed, n + 1 - allowed)
    return int(alarms.ppf((1 - level) / 2)), int(alarms.ppf((1 + level) / 2))


def rate_range(n: int, alpha: float, level: float = 0.95) -> tuple[float, float]:
    """Between which rates the false-alarm rate of one calibration set of n scores lies (beta)."""
    from scipy.special import betaincinv

    allowed = math.floor(alpha * (n + 1) + 1e-9)
    low, high = betaincinv(allowed, n + 1 - allowed, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def discoveries(strangers: Int[np.ndarray, " m"], rate: float) -> float:
    """The p-value up to which rows are flagged so that a share `rate` of the flagged is normal, at most.

    Benjamini and Hochberg, 1995 (doi:10.1111/j.2517-6161.1995.tb02031.x): the largest p with
    p <= rate · (rows whose p-value is p or less) / rows. Conformal p-values keep its promise (Bates et al.,
    2023). `strangers[k]` counts the rows for which k of the calibration scores are as strange, p being
    (1 + k) / (n + 1), k = 0 .. n. 0 when nothing can be flagged.
    """
    check_rate(rate, "fdr")
    p = (1.0 + np.arange(len(strangers))) / len(strangers)
    kept = np.flatnonzero(p * strangers.sum() <= rate * np.cumsum(strangers) + 1e-9)
    kept = kept[np.cumsum(strangers)[kept] > 0]
    return float(p[kept[-1]]) if len(kept) else 0.0
