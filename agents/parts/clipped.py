"""The clipped surrogate of PPO: Schulman et al., 2017 (arXiv:1707.06347), equation 7."""

import torch
from jaxtyping import Float
from torch import Tensor


def clipped(
    log_prob: Float[Tensor, " B"],
    old_log_prob: Float[Tensor, " B"],
    advantage: Float[Tensor, " B"],
    clip: float,
) -> Float[Tensor, ""]:
    """L_π = −mean min(ρ Â, (1 + ε sign Â) Â), ρ being the ratio of the probabilities and ε the clip."""
    ratio = (log_prob - old_log_prob).exp()
    bound = torch.where(advantage > 0, 1 + clip, 1 - clip)
    return -torch.minimum(ratio * advantage, bound * advantage).mean()
