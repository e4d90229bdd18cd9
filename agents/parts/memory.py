"""Policies that remember: what an LSTM keeps from step to step, and who keeps it during play."""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Memory(NamedTuple):
    """What an LSTM remembers: h and c, each (*N, H)."""

    h: Tensor
    c: Tensor

    def emptied(self, where: Bool[Tensor, " N"]) -> "Memory":
        """Zero where an episode begins."""
        return Memory(*(torch.where(where[:, None], 0.0, field) for field in self))


@runtime_checkable
class Remembering(Protocol):
    """A policy that is told what it remembers, and tells what it will."""

    def blank(self, count: int) -> Memory:
        """What is remembered before an episode: (count, H)."""
        ...

    def decide(self, obs: Tensor, memory: Memory, generator: torch.Generator | None) -> tuple[Tensor, Memory]:
        """Actions for observations (N, O), the likeliest or drawn ones, and the memories afterwards."""
        ...


class Player:
    """A policy that plays N episodes from their beginnings; it remembers what it has seen of each."""

    def __init__(self, model: Remembering) -> None:
        self.model = model
        self.begin()

    def begin(self) -> None:
        """Forgets: the next observations are the first of their episodes."""
        self.memory: Memory | None = None

    @torch.inference_mode()
    def __call__(
        self, obs: Float[Tensor, "N O"], generator: torch.Generator | None = None
    ) -> Int[Tensor, " N"] | Int[Tensor, "N K"] | Float[Tensor, "N A"]:
        """The likeliest actions, or drawn ones."""
        memory = self.model.blank(len(obs)) if self.memory is None else self.memory
        action, self.memory = self.model.decide(obs, memory, generator)
        return action
