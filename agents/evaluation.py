"""How good a policy is: episodes from fresh seeds, and statistics with their uncertainty.

The interquartile mean and its bootstrap interval follow Agarwal et al., 2021 (arXiv:2108.13264).
"""

from collections.abc import Callable

import numpy as np
import torch

from envs.recording import Act, Episodes, record
from training.seeds import numpy_generator, stream

BOOTSTRAPS = 2_000


def evaluate(act: Act, env: str, episodes: int, seed: int, device: torch.device | str = "cpu") -> Episodes:
    """Plays `episodes` episodes whose seeds come from `seed` and from nothing else.

    Each is played by an environment of its own, so that short episodes are not favoured.
    """
    first = stream(seed, "evaluation") % 2**31
    return record(act, env, range(first, first + episodes), device=device)


def iqm(values: np.ndarray) -> float:
    """The interquartile mean: the mean of the middle half, its outermost values counted in part."""
    values = np.sort(values)
    position = (np.arange(len(values) + 1) / len(values)).clip(0.25, 0.75)
    return float(np.average(values, weights=np.diff(position)))


def interval(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], float] = np.mean,
    level: float = 0.95,
) -> tuple[float, float]:
    """The percentile bootstrap interval of a statistic of independent values."""
    rng = numpy_generator(0, "bootstrap")
    drawn = rng.choice(values, (BOOTSTRAPS, len(values)))
    low, high = np.quantile([statistic(row) for row in drawn], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def summary(episodes: Episodes) -> dict[str, float]:
    """Mean, interquartile mean and 95 % intervals of the return; mean length."""
    returns = episodes.returns
    low, high = interval(returns)
    iqm_low, iqm_high = interval(returns, iqm)
    return {
        "eval/return": float(returns.mean()),
        "eval/return_low": low,
        "eval/return_high": high,
        "eval/iqm": iqm(returns),
        "eval/iqm_low": iqm_low,
        "eval/iqm_high": iqm_high,
        "eval/length": float(episodes.length.mean()),
    }
