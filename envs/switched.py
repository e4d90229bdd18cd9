"""A policy that becomes another one while it plays: an older checkpoint, or one with the wrong normaliser."""

import torch
from jaxtyping import Int
from torch import Tensor

from envs.recording import Act


class Switched:
    """Acts as one policy up to an onset in each episode, and as another from there on; neither remembers."""

    def __init__(self, act: Act, other: Act, onset: Int[Tensor, " E"]) -> None:
        """`onset` (E,): each episode's first step, counted from the reset, of the other policy."""
        self._act, self._other, self._onset = act, other, onset
        self._step = 0

    def begin(self) -> None:
        """All episodes start."""
        self._step = 0

    def __call__(self, obs: Tensor) -> Tensor:
        ours, theirs = self._act(obs), self._other(obs)
        late = (self._step >= self._onset).to(ours.device)
        self._step += 1
        return torch.where(late.reshape(-1, *[1] * (ours.ndim - 1)), theirs, ours)
