"""The one object that flows from environments to learners."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Transition(NamedTuple):
    """What one action did, in every environment; the leading axes `...` are `N`, `T N` or `B`.

    `next_obs` is where the action led, even at an episode's end. `terminated` says that the world ended
    there (nothing can follow), `truncated` that it was cut off from outside (a time limit: bootstrap).
    `valid` is false for a row in which an environment was only being reset and no action was taken.
    """

    obs: Tensor  # (..., O) float32
    action: (
        Tensor  # (...) or, of several numbers, (..., K) int64; or (..., A) float32, whose bounds are [-1, 1]
    )
    reward: Tensor  # (...) float32
    terminated: Tensor  # (...) bool
    truncated: Tensor  # (...) bool
    next_obs: Tensor  # (..., O) float32
    valid: Tensor  # (...) bool

    def map(self, function: Callable[[Tensor], Tensor]) -> "Transition":
        """`function` of every field."""
        return Transition(*map(function, self))

    @staticmethod
    def stack(rows: Sequence["Transition"]) -> "Transition":
        """Rows one after another: fields (N, ...) become (T, N, ...)."""
        return Transition(*(torch.stack(field) for field in zip(*rows, strict=True)))
