"""What was experienced, kept to learn from again: Lin, 1992 (doi:10.1007/BF00992699), with n-step returns
(Sutton, 1988, doi:10.1007/BF00115009).

    R = Σ_{k<m} γᵏ r_{t+k},   y = R + d · value(s_{t+m}),   d = γᵐ, or 0 after a termination

m is n, or less where the episode ends within n steps. A truncated episode leads on to the value of the state
it was cut off in. Sums are formed once, when rows come in: rows are drawn far more often than they are added.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from agents.parts.frames import Frames
from agents.parts.reward_norm import RewardNorm
from envs import Transition
from training.errors import InputError
from training.state import capture, restore

MARGIN = 8  # one spare frame per 8 experiences, for first frames of episodes
SPARE = 1_000  # and no fewer than these


def check_replay(replay: int, num_envs: int, collect: int) -> None:
    """Raises InputError for a replay that does not hold what is played between two bouts of learning."""
    if replay < num_envs * collect:
        raise InputError(f"replay is {replay}, expected num_envs · collect or more")


class Experience(NamedTuple):
    """An action with the n steps that followed; the leading axis is `B`."""

    obs: Tensor  # (B, O) float32
    action: Tensor  # (B) or, of several numbers, (B, K) int64; or (B, A) float32
    reward: Tensor  # (B) float32, R of the module docstring
    discount: Tensor  # (B) float32, d
    next_obs: Tensor  # (B, O) float32, s_{t+m}


class Windows:
    """Turns rollouts into experiences of n steps; windows go on from one rollout to the next."""

    STATE = ("waiting",)

    def __init__(self, n: int, gamma: float, reward_scale: float = 1.0) -> None:
        self.n, self.gamma, self.reward_scale = n, gamma, reward_scale
        self.waiting: Transition | None = None  # the last rows (T, N): their windows are not whole yet

    def whole(self, rollout: Transition, begins: Bool[Tensor, " N"] | None = None) -> Experience:
        """The experiences that `rollout` (T, N) completes; rows without an action start none.

        `begins` says where its first row is the first of an episode: a restart of the environments cuts
        episodes off without a row that says so, and no window leads across.
        """
        if self.waiting is not None:
            waiting = self.waiting.map(lambda field: field.to(rollout.obs.device))  # from a checkpoint: CPU
            if begins is not None:
                last = torch.cat([waiting.truncated[:-1], waiting.truncated[-1:] | begins])
                waiting = waiting._replace(truncated=last)
            rollout = Transition(*map(torch.cat, zip(waiting, rollout, strict=True)))
        count = max(0, len(rollout.reward) - (self.n - 1))
        self.waiting = rollout.map(lambda field: field[count:]) if self.n > 1 else None
        return self._sum(rollout, count)

    def _sum(self, rollout: Transition, count: int) -> Experience:
        """The windows that start in the first `count` rows."""
        first = rollout.map(lambda field: field[:count])
        reward = first.reward * self.reward_scale
        discount = torch.where(first.terminated, 0.0, self.gamma)
        next_obs = first.next_obs
        going = ~(first.terminated | first.truncated)
        for k in range(1, self.n):
            later = rollout.map(lambda field, k=k: field[k : k + count])  # type: ignore[misc]
            reward = torch.where(going, reward + discount * later.reward * self.reward_scale, reward)
            after = torch.where(later.terminated, 0.0, discount * self.gamma)
            discount = torch.where(going, after, discount)
            next_obs = torch.where(going[..., None], later.next_obs, next_obs)
            going = going & ~(later.terminated | later.truncated)
        fields = (first.obs, first.action, reward, discount, next_obs)
        return Experience(*(field[first.valid] for field in fields))

    def state_dict(self) -> dict[str, Any]:
        """The rows that wait."""
        return capture(self, self.STATE)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave."""
        waiting = state["waiting"]
        restore(self, {"waiting": None if waiting is None else Transition(*waiting)})


class Replay:
    """The last `capacity` experiences, each field one tensor: 48 bytes each for CartPole.

    Of a `picture` (C, H, W) every frame is kept once, as bytes: 7.2 KB an experience of 84 by 84 pixels.
    `agents.parts.frames` says what is a frame.
    With `normalise`, rewards are divided by the deviation of their discounted sum when they are taken, old
    ones too: what is kept stays true while the deviation grows. They are not clipped, unlike those of
    `RewardNorm.scaled`: R sums several, and a rare large one is met again and again.
    """

    def __init__(
        self,
        capacity: int,
        windows: Windows,
        device: torch.device | str = "cpu",
        picture: tuple[int, ...] = (),
        *,
        normalise: bool = False,
    ) -> None:
        self.capacity, self.windows, self.device = capacity, windows, device
        room = capacity + max(capacity // MARGIN, SPARE)
        self.frames = Frames(picture, room, device) if picture else None
        self.rewards = RewardNorm(windows.gamma, torch.device(device)) if normalise else None
        self.added = 0  # experiences ever added
        self.rows: Experience | None = None

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, rollout: Transition, begins: Bool[Tensor, " N"] | None = None) -> Int[Tensor, " B"]:
        """Remembers what `rollout` (T, N) completes over the oldest; at most the capacity. Returns where.

        `begins` is that of the environments before the rollout, as in `Windows.whole`.
        """
        if self.rewards is not None:
            going_on = torch.zeros_like(rollout.truncated[0])
            self.rewards.notice(rollout, going_on if begins is None else begins)
        if self.frames is not None:
            rollout = self.frames.keep(rollout)
        new = self.windows.whole(rollout, begins)
        if self.rows is None:
            self._make(new)
        assert self.rows is not None
        count = len(new.obs)
        index = (torch.arange(count, device=new.obs.device) + self.added) % self.capacity
        for store, field in zip(self.rows, new, strict=True):
            store[index] = field
        self.added += count
        if self.frames is not None and self.added > self.capacity:
            self._check_frames(self.frames, count)
        return index

    def _check_frames(self, frames: Frames, count: int) -> None:
        """Raises InputError when a frame of one of the oldest experiences has given way already."""
        assert self.rows is not None
        oldest = (torch.arange(min(count, self.capacity)) + self.added) % self.capacity
        if int(self.rows.obs[oldest.to(self.rows.obs.device)].min()) < frames.added - frames.room:
            raise InputError(
                f"replay is {self.capacity}, expected more: its frames do not suffice for episodes this short"
            )

    def sample(self, count: int, generator: torch.Generator) -> Experience:
        """`count` experiences drawn uniformly, with replacement."""
        return self.take(torch.randint(len(self), (count,), generator=generator, device=generator.device))

    def take(self, index: Int[Tensor, " B"]) -> Experience:
        """The experiences at these places."""
        assert self.rows is not None
        rows = Experience(*(field[index] for field in self.rows))
        if self.rewards is not None:
            rows = rows._replace(reward=rows.reward / self.rewards.deviation)
        if self.frames is None:
            return rows
        return rows._replace(obs=self.frames.look(rows.obs), next_obs=self.frames.look(rows.next_obs))

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs: the rows so far, not copied."""
        filled = None if self.rows is None else [field[: len(self)] for field in self.rows]
        frames = None if self.frames is None else self.frames.state_dict()
        rewards = None if self.rewards is None else self.rewards.state_dict()
        parts = {"windows": self.windows.state_dict(), "frames": frames, "rewards": rewards}
        return {"added": self.added, "rows": filled, **parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave."""
        self.added, self.rows = 0, None
        self.windows.load_state_dict(state["windows"])
        if self.frames is not None:
            self.frames.load_state_dict(state["frames"])
        if self.rewards is not None:
            self.rewards.load_state_dict(state["rewards"])
        if state["rows"] is not None:
            self._make(Experience(*state["rows"]))
            assert self.rows is not None
            self.added = state["added"]
            for store, filled in zip(self.rows, state["rows"], strict=True):
                store[: len(filled)] = filled.to(store.device)

    def _make(self, like: Experience) -> None:
        def room(field: Tensor) -> Tensor:
            return torch.zeros(self.capacity, *field.shape[1:], dtype=field.dtype, device=self.device)

        try:
            self.rows = Experience(*map(room, like))
        except RuntimeError as error:  # what torch raises when memory does not suffice
            raise InputError(f"replay is {self.capacity}, expected what memory holds: {error}") from None
