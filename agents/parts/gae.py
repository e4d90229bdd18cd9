"""Generalised advantage estimation: Schulman et al., 2016 (arXiv:1506.02438), equation 16.

    δ_t = r_t + γ (1 − terminated_t) V(s'_t) − V(s_t)
    A_t = δ_t + γ λ (1 − ended_t) A_{t+1}

A termination is worth nothing; a truncation is worth the value of the state it was cut off in (Pardo et al.,
2018, arXiv:1712.00378).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def gae(
    reward: Float[Tensor, "T N"],
    value: Float[Tensor, "T N"],
    next_value: Float[Tensor, "T N"],
    terminated: Bool[Tensor, "T N"],
    truncated: Bool[Tensor, "T N"],
    *,
    gamma: float,
    lam: float,
) -> Float[Tensor, "T N"]:
    """Advantages of the actions taken; `next_value` is the value of where each action led."""
    delta = torch.where(terminated, reward, reward + gamma * next_value) - value
    decay = torch.where(terminated | truncated, 0.0, gamma * lam)
    later = torch.zeros_like(delta[0])
    advantage = []
    for delta_t, decay_t in zip(delta.flip(0), decay.flip(0), strict=True):
        later = torch.addcmul(delta_t, decay_t, later)
        advantage.append(later)
    return torch.stack(advantage[::-1])
