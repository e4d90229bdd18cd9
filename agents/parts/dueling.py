"""Dueling values: Wang et al., 2016 (arXiv:1511.06581), equation 9.

Q(s, a) = V(s) + A(s, a) − mean_a' A(s, a')
"""

from jaxtyping import Float
from torch import Tensor


def duel(outputs: Float[Tensor, "*B one_more K"]) -> Float[Tensor, "*B A K"]:
    """K numbers for each of A actions from a network's V, then A advantages."""
    value, advantage = outputs[..., :1, :], outputs[..., 1:, :]
    return value + advantage - advantage.mean(-2, keepdim=True)
