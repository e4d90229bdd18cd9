"""Which experiences are drawn again: proportional prioritisation, Schaul et al., 2016 (arXiv:1511.05952).

    P(i) = p_i / Σ_j p_j,   p_i = (surprise_i + 10⁻⁶)^ω
    w_i = (count · P(i))^−β, over the largest of those drawn

A sum tree finds the experience at any share of the sum of priorities in log₂ steps, which are taken for all
draws at once. It is kept in float64 on the CPU: its descent subtracts, and the last of a million leaves must
not drown in the sum.

Differs from the paper: all draws are independent, where the paper draws one from each of equal ranges.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from training.errors import InputError
from training.seeds import torch_generator
from training.state import capture, restore

LEAST = 1e-6  # added to every surprise, so that nothing is forgotten


class Priorities:
    """Priorities of the places of a replay; a new experience gets the highest that was ever seen."""

    STATE = ("tree", "highest", "generator")

    def __init__(self, capacity: int, omega: float, seed: int) -> None:
        self.omega = omega
        self.levels = (capacity - 1).bit_length()
        try:
            self.tree = torch.zeros(2 << self.levels, dtype=torch.float64)  # node n is 2n and 2n + 1; root 1
        except RuntimeError as error:  # what torch raises when memory does not suffice
            raise InputError(f"replay is {capacity}, expected what memory holds: {error}") from None
        self.highest = 1.0
        self.generator = torch_generator(seed, "priorities")

    def add(self, index: Int[Tensor, " B"]) -> None:
        """Gives new experiences at these places the highest priority."""
        self._put(index.cpu(), torch.full((len(index),), self.highest, dtype=torch.float64))

    def update(self, index: Int[Tensor, " B"], surprise: Float[Tensor, " B"]) -> None:
        """Sets the priorities at these places; where a place is named twice, its highest counts."""
        priority = (surprise.cpu().double() + LEAST) ** self.omega
        self.highest = max(self.highest, float(priority.max()))
        self._put(index.cpu(), priority)

    def draw(self, count: int) -> Int[Tensor, " count"]:
        """`count` places, each with its probability."""
        left = torch.rand(count, generator=self.generator, dtype=torch.float64) * self.tree[1]
        node = torch.ones(count, dtype=torch.int64)
        for _ in range(self.levels):
            node = 2 * node
            mass = self.tree[node]
            right = (left >= mass) & (self.tree[node + 1] > 0)  # rounding never leads to an empty place
            left = torch.where(right, left - mass, left)
            node = node + right
        return node - (1 << self.levels)

    def weights(self, index: Int[Tensor, " B"], count: int, beta: float) -> Float[Tensor, " B"]:
        """w of the module docstring for places that were drawn out of `count`."""
        share = self.tree[index + (1 << self.levels)] / self.tree[1]
        weight = (count * share) ** -beta
        return (weight / weight.max()).float()

    def _put(self, index: Tensor, priority: Tensor) -> None:
        node = index + (1 << self.levels)
        self.tree.scatter_reduce_(0, node, priority, "amax", include_self=False)
        for _ in range(self.levels):
            node = node // 2
            self.tree[node] = self.tree[2 * node] + self.tree[2 * node + 1]

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs."""
        return capture(self, self.STATE)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave."""
        restore(self, state)
