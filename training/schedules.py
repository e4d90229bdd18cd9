"""Shares of the highest learning rate over a run; `done` is the share of the run that is over."""

import math
from collections.abc import Callable
from typing import Literal

Schedule = Literal["constant", "linear", "cosine", "one-cycle", "range"]

RANGE = 1e-4, 100.0  # a range test goes from lr times the first to lr times the second


def constant(done: float) -> float:
    """All of the learning rate, always."""
    return 1.0


def linear(done: float) -> float:
    """The share of the learning rate that is left on a straight way to zero; `done` is the share gone."""
    return max(0.0, 1.0 - done)


def cosine(done: float) -> float:
    """The share that is left on a half cosine to zero (Loshchilov and Hutter, 2017, arXiv:1608.03983)."""
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def one_cycle(done: float) -> float:
    """From 1/25 to all at 30 % of the run, then down to zero: Smith and Topin, 2018, arXiv:1708.07120."""
    if done < 0.3:
        return 1.0 - 0.96 * cosine(done / 0.3)
    return cosine((done - 0.3) / 0.7)


def range_test(done: float) -> float:
    """From the first to the second of `RANGE`, by equal factors (Smith, 2017, arXiv:1506.01186)."""
    low, high = RANGE
    return low * (high / low) ** min(1.0, done)


SCHEDULES: dict[Schedule, Callable[[float], float]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "one-cycle": one_cycle,
    "range": range_test,
}
