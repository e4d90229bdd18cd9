"""How much past foretells a world, and how bold its polynomial may be: what is held out decides.

A world without contacts and noise is told exactly by large weights on products; where a policy moves on a
narrow path, such weights go astray just beside it. The ridge is the one that leaves the least typical error
in the last fifth of the rows, the degree the one that leaves the least typical and large errors together. A
longer past filters the noise of sensors; it is taken where it leaves less of both.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from anomaly.monitor_nets import Config, Polynomial
from anomaly.monitor_state import Scales
from envs.recording import Episodes

PASTS = (1, 4)  # observations and actions
RIDGES = (1e-9, 1e-7, 1e-5, 1e-4, 1e-3)  # for each row
WORTH = 0.1  # of both errors, in nats: what a longer past must bring
EXACT = 1e-7  # errors below this are rounding


class Left(NamedTuple):
    """What a polynomial leaves of held-out changes, in logarithms of their deviations; mean over sensors."""

    typical: float  # mean log |e|
    large: float  # log of the root of the mean square


def chosen(cfg: Config, scales: Scales, clean: Episodes) -> Config:
    """The settings with a history, a degree and a ridge where they are None."""
    pasts = PASTS if cfg.history is None else (cfg.history,)
    best, left = _polynomial(replace(cfg, history=pasts[0]), scales, clean)
    for past in pasts[1:]:
        longer, found = _polynomial(replace(cfg, history=past), scales, clean)
        if found.typical < left.typical - WORTH and found.large < left.large - WORTH:
            best, left = longer, found
    return best


def _polynomial(cfg: Config, scales: Scales, clean: Episodes) -> tuple[Config, Left]:
    """The settings with a degree and a ridge for their history, and what is left with them."""
    assert cfg.history is not None
    obs, action, change = scales.histories(clean, cfg.history)
    x = np.concatenate([obs, action], axis=1)
    cut = len(x) - max(1, len(x) // 5)
    degrees = Polynomial.degrees(x.shape[1]) if cfg.degree is None else (cfg.degree,)
    ridges = RIDGES if cfg.ridge is None else (cfg.ridge,)
    best, left = cfg, Left(np.inf, np.inf)
    for degree in degrees:
        tried = Polynomial.path(x[:cut], change[:cut], degree, ridges)
        found = [_left(change[cut:] - one(x[cut:])) for one in tried]
        least = int(np.argmin([one.typical for one in found]))
        if sum(found[least]) < sum(left):
            best, left = replace(cfg, degree=degree, ridge=ridges[least]), found[least]
    return best, left


def _left(error: np.ndarray) -> Left:
    typical = np.log(np.abs(error) + EXACT).mean()
    large = 0.5 * np.log((error * error).mean(axis=0) + EXACT**2).mean()
    return Left(float(typical), float(large))
