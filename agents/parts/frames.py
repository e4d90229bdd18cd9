"""Pictures of several frames each, of which every frame is kept once, as bytes.

Pictures of the shape of `envs.pictures`, which EnvPool's Atari have too, are stacks of frames; those of any
other shape, in colour for one, are a frame each, and kept whole.

A stack goes on from the one before when all its frames but the last are that one's last. So a step costs one
frame, and a stack is a row of frame numbers; numbers grow for ever, and the oldest frames give way.
"""

from math import prod
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from envs import Transition
from envs.pictures import SIDE, STACK
from training.state import capture, restore


class Frames:
    """The last `room` frames of pictures (C, H, W), each of P bytes; F of them make a picture."""

    STATE = ("added", "seen", "numbers")

    def __init__(self, picture: tuple[int, ...], room: int, device: torch.device | str = "cpu") -> None:
        self.count, self.room = STACK if picture == (STACK, SIDE, SIDE) else 1, room
        self.store = torch.zeros(room, prod(picture) // self.count, dtype=torch.uint8, device=device)
        self.added = 0  # frames ever added
        self.seen: Tensor | None = None  # the stacks (N, F, P) that were reached last, and their numbers
        self.numbers: Tensor | None = None

    def keep(self, rollout: Transition) -> Transition:
        """A rollout (T, N) whose observations (T, N, O) are frame numbers (T, N, F)."""
        obs, next_obs = [], []
        for before, after in zip(self._bytes(rollout.obs), self._bytes(rollout.next_obs), strict=True):
            numbers = self._fresh(before)
            obs.append(numbers)
            follows = (after[:, :-1] == before[:, 1:]).flatten(1).all(1)
            reached = torch.empty_like(numbers)
            reached[~follows] = self._new(after[~follows])
            reached[follows] = self._next(after[follows], numbers[follows])
            next_obs.append(reached)
            self.seen, self.numbers = after, reached
        return rollout._replace(obs=torch.stack(obs), next_obs=torch.stack(next_obs))

    def look(self, numbers: Int[Tensor, "B F"]) -> Float[Tensor, "B O"]:
        """The stacks with these frame numbers, as observations."""
        return self.store[numbers % self.room].flatten(1).float()

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs: the frames so far, not copied."""
        return {**capture(self, self.STATE), "store": self.store[: min(self.added, self.room)]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave."""
        restore(self, {name: state[name] for name in self.STATE})
        self.store[: len(state["store"])] = state["store"].to(self.store.device)

    def _bytes(self, obs: Float[Tensor, "T N O"]) -> UInt8[Tensor, "T N F P"]:
        return obs.byte().unflatten(-1, (self.count, -1)).to(self.store.device)

    def _fresh(self, stacks: UInt8[Tensor, "N F P"]) -> Int[Tensor, "N F"]:
        """The numbers of stacks, which are those reached last but where an episode has begun."""
        if self.seen is None or self.numbers is None:
            return self._new(stacks)
        begun = (stacks != self.seen.to(stacks.device)).flatten(1).any(1)
        numbers = self.numbers.to(stacks.device).clone()
        numbers[begun] = self._new(stacks[begun])
        return numbers

    def _new(self, stacks: UInt8[Tensor, "N F P"]) -> Int[Tensor, "N F"]:
        """Keeps all frames of stacks, those that repeat the one before them once."""
        other = (stacks[:, 1:] != stacks[:, :-1]).any(-1)
        other = torch.cat([other.new_ones(len(other), 1), other], 1)
        numbers = self.added + (other.flatten().cumsum(0) - 1).unflatten(0, other.shape)
        self._put(stacks[other])
        return numbers

    def _next(self, stacks: UInt8[Tensor, "N F P"], before: Int[Tensor, "N F"]) -> Int[Tensor, "N F"]:
        """Keeps the last frames of stacks that go on from those with the numbers `before`."""
        newest = self.added + torch.arange(len(stacks), device=stacks.device)
        self._put(stacks[:, -1])
        return torch.cat([before[:, 1:], newest[:, None]], 1)

    def _put(self, frames: UInt8[Tensor, "N P"]) -> None:
        self.store[(self.added + torch.arange(len(frames), device=frames.device)) % self.room] = frames
        self.added += len(frames)
