"""Rewards divided by the deviation of the discounted sum of rewards so far, as in Engstrom et al., 2020
(arXiv:2005.12729), section 3:

    S_t = γ (1 − ended_{t−1}) S_{t−1} + r_t,   r̃_t = r_t / deviation(S)

The deviation is that of all S up to the end of the rollout that is judged.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from envs import Transition
from training.normalise import LIMIT, RunningNorm
from training.state import capture, restore


class RewardNorm:
    """Scales the rewards of one rollout after another."""

    STATE = ("norm", "sums")

    def __init__(self, gamma: float, device: torch.device) -> None:
        self.gamma = gamma
        self.norm = RunningNorm(1).to(device)
        self.sums = torch.zeros((), device=device)  # of each environment, from the first rollout on

    @property
    def deviation(self) -> Float[Tensor, "1"]:
        """deviation(S) of all rollouts so far; 1 where nothing has varied yet."""
        return self.norm.deviation.float()

    def scaled(self, rollout: Transition, begins: Bool[Tensor, " N"]) -> Float[Tensor, "T N"]:
        """The rewards of a rollout (T, N) that is noticed here, scaled, and clipped as observations are."""
        self.notice(rollout, begins)
        return (rollout.reward / self.deviation).clamp(-LIMIT, LIMIT)

    def notice(self, rollout: Transition, begins: Bool[Tensor, " N"]) -> None:
        """Takes the rewards of a rollout (T, N) into the deviation.

        `begins` says where its first row is the first of an episode: a restart of the environments cuts
        episodes off without a row that says so.
        """
        self.sums = torch.where(begins, 0.0, self.sums)
        going = torch.where(rollout.terminated | rollout.truncated, 0.0, self.gamma)
        seen = []
        for reward, goes_on in zip(rollout.reward, going, strict=True):
            self.sums = self.sums + reward
            seen.append(self.sums)
            self.sums = self.sums * goes_on
        self.norm.update(torch.stack(seen)[rollout.valid][:, None])

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs."""
        return capture(self, self.STATE)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave."""
        restore(self, state)
