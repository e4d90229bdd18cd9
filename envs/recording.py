"""Whole episodes: how they are played from known seeds, and the one file they are kept in.

The file is an uncompressed `.npz` of plain arrays, one row a step, episodes one after another:

    obs (rows, O) f4 · action (rows,) or (rows, K) i8, or (rows, A) f4, as the environment got it
    reward (rows,) f4 · next_obs (rows, O) f4 · terminated, truncated, fault (rows,) bool
    length (E,) i8: steps of each episode · seed (E,) i8: what each was reset with · env: the id, text
    first, actions: discrete actions are first .. first + actions - 1; `actions` is 0 for continuous ones
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from envs.faults import Fault, FaultyEnv
from envs.replayable import Replayable
from envs.spaces import Spaces
from envs.vector import make_one
from training.arrays import npz
from training.errors import InputError
from training.files import writing

Act = Callable[[Tensor], Tensor]
AnyAct = Callable[[Tensor], Tensor | np.ndarray]  # of who knows no torch
"""Observations (N, O) to actions (N,) or (N, A). One that remembers has a method `begin`, which is called
before the first observations of episodes."""

ROW = ("obs", "action", "reward", "next_obs", "terminated", "truncated", "fault")  # one value a step

UNLIMITED = 10_000  # steps of an episode where the environment has no time limit


@dataclass(frozen=True)
class Episodes:
    """Recorded episodes, as the module docstring lists them."""

    obs: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_obs: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    fault: np.ndarray
    length: np.ndarray
    seed: np.ndarray
    env: str
    first: int = 0
    actions: int = 0

    def __len__(self) -> int:
        return len(self.length)

    @property
    def returns(self) -> np.ndarray:
        """The sum of rewards of each episode (E,)."""
        return np.add.reduceat(self.reward, self.starts, dtype=np.float64) if len(self) else np.zeros(0)

    @property
    def starts(self) -> np.ndarray:
        """The row at which each episode starts (E,)."""
        return np.cumsum(self.length) - self.length

    def part(self, which: np.ndarray) -> "Episodes":
        """Some of the episodes, by number."""
        rows = [
            np.arange(start, start + length) for start, length in zip(self.starts, self.length, strict=True)
        ]
        at = np.concatenate([np.zeros(0, int), *(rows[i] for i in which)])
        cut = {name: getattr(self, name)[at] for name in ROW}
        return replace(self, **cut, length=self.length[which], seed=self.seed[which])

    def by_time(self, values: np.ndarray) -> np.ndarray:
        """One number a row (rows,) as (E, T), T being the longest episode; NaN after an episode's end."""
        table = np.full((len(self), int(self.length.max(initial=0))), np.nan)
        table[np.arange(table.shape[1]) < self.length[:, None]] = values
        return table

    def transitions(self) -> tuple[np.ndarray, list[str]]:
        """What each step did, as rows (rows, F) float32 with names: observation, action, change of it.

        Discrete actions are one-hot. The change `next_obs - obs` stands for `next_obs`, because what a step
        changes is small beside what it leaves alone.
        """
        action, kinds = self.action, "action"
        if action.ndim == 1:
            action, kinds = np.eye(self.actions)[action - self.first], "action="
        columns = {"obs": self.obs, kinds: action, "change": self.next_obs - self.obs}
        names = [f"{name}{i}" for name, values in columns.items() for i in range(values.shape[1])]
        return np.concatenate(list(columns.values()), axis=1).astype(np.float32), names

    def save(self, file: Path) -> None:
        """Writes the file, whole or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        with writing(file) as out:
            np.savez(out, **arrays)  # type: ignore[arg-type]  # the stub takes any keyword for allow_pickle

    @staticmethod
    def load(file: Path) -> "Episodes":
        """Reads what `save` wrote.

        Raises:
            InputError: when the file is missing, is something else, or its arrays do not fit together.
        """
        with npz(file, "recorded episodes") as arrays:
            found: dict[str, Any] = {f.name: arrays[f.name] for f in fields(Episodes)}
        for name in ("first", "actions"):
            if found[name].shape or not _whole(found[name]):
                raise InputError(f"{file}: {name} is {found[name]}, expected a whole number")
            found[name] = int(found[name])
        episodes = Episodes(**found | {"env": str(found["env"])})
        if episodes.length.ndim != 1 or not (episodes.length > 0).all():
            raise InputError(f"{file}: length is {episodes.length}, expected the steps of each episode")
        if episodes.seed.shape != episodes.length.shape or not _whole(episodes.seed):
            raise InputError(f"{file}: seed is {episodes.seed}, expected that of each episode")
        for name in ROW:
            axes = (2,) if name.endswith("obs") else (1, 2) if name == "action" else (1,)
            if found[name].dtype.kind not in "fiub" or found[name].ndim not in axes:
                raise InputError(
                    f"{file}: {name} is {found[name].dtype} {found[name].shape}, expected numbers"
                )
        if episodes.obs.shape != episodes.next_obs.shape or not _whole(episodes.length):
            raise InputError(f"{file}: obs, next_obs and length do not fit together")
        choice = episodes.action - episodes.first
        if episodes.action.ndim == 1 and not _whole(choice):
            raise InputError(
                f"{file} has actions of type {choice.dtype}, expected whole numbers or rows of numbers"
            )
        if episodes.action.ndim == 1 and not ((choice >= 0) & (choice < episodes.actions)).all():
            raise InputError(f"{file} has an action outside of {episodes.actions} from {episodes.first} on")
        rows = int(episodes.length.sum())
        for name in ROW:
            if len(found[name]) != rows:
                raise InputError(
                    f"{file}: {name} has {len(found[name])} rows, expected {rows} (sum of length)"
                )
        return episodes


def _whole(array: np.ndarray) -> bool:
    return array.dtype.kind in "iu"


def record(
    act: AnyAct,
    env: str,
    seeds: Sequence[int],
    faults: Sequence[Fault] | None = None,
    *,
    max_steps: int | None = None,
    device: torch.device | str = "cpu",
) -> Episodes:
    """One episode for each seed, played side by side; with `faults`, one for each episode. Pictures are shown
    to `act`, but not kept: their rows have no numbers.

    Every call of `act` sees all episodes, those that ended too, so that what it does in one depends on
    nothing that happens in another. Episodes are cut (truncated) after `max_steps`; by default after
    UNLIMITED where the environment has no time limit of its own.

    Raises:
        InputError: for an environment that is not named, and without seeds.
    """
    if not isinstance(env, str):
        raise InputError(f"env is {env!r}, expected a Gymnasium id or module:Class")
    envs: list[gym.Env] = [Replayable(make_one(env), i) for i in range(len(seeds))]
    if faults is not None:
        envs = [FaultyEnv(one, fault) for one, fault in zip(envs, faults, strict=True)]
    if not envs:
        raise InputError("there are no seeds to play, expected one or more")
    if max_steps is None:
        limited = envs[0].spec is not None and envs[0].spec.max_episode_steps is not None
        max_steps = sys.maxsize if limited else UNLIMITED
    spaces = Spaces.of(envs[0].observation_space, envs[0].action_space, env)
    obs = np.stack([one.reset(seed=seed)[0] for one, seed in zip(envs, seeds, strict=True)])
    obs = obs.reshape(len(envs), -1).astype(np.float32)
    kept = 0 if spaces.picture else spaces.obs
    played: list[list[tuple]] = [[] for _ in envs]
    live = list(range(len(envs)))
    getattr(act, "begin", lambda: None)()
    while live:
        action = spaces.to_env(_array(act(torch.from_numpy(obs).to(device))))
        seen, obs = obs, obs.copy()
        live = [i for i in live if not _step(envs[i], i, seen, action, obs, played[i], max_steps, kept)]
    for one in envs:
        one.close()
    columns = zip(*(row for episode in played for row in episode), strict=True)
    kinds: dict[str, Any] = {
        "action": action.dtype,
        "terminated": np.bool_,
        "truncated": np.bool_,
        "fault": np.bool_,
    }
    rows = {
        name: np.array(column).astype(kinds.get(name, np.float32))
        for name, column in zip(ROW, columns, strict=True)
    }
    return Episodes(
        **rows,
        length=np.array([len(e) for e in played]),
        seed=np.array(seeds, np.int64),
        env=env,
        first=spaces.start,
        actions=spaces.discrete,
    )


def act_once(
    act: AnyAct, obs: np.ndarray, spaces: Spaces, device: torch.device | str = "cpu"
) -> int | np.ndarray:
    """The action of `act` on one observation, as the environment wants it."""
    shown = torch.from_numpy(np.float32(obs)).reshape(1, -1).to(device)
    action = spaces.to_env(_array(act(shown)))[0]
    return int(action) if spaces.discrete else action


def _array(action: Tensor | np.ndarray) -> np.ndarray:
    return action.cpu().numpy() if isinstance(action, Tensor) else np.asarray(action)


def _step(
    env: gym.Env,
    i: int,
    seen: np.ndarray,
    action: np.ndarray,
    obs: np.ndarray,
    rows: list[tuple],
    max_steps: int,
    kept: int,
) -> bool:
    """Steps environment `i`, adds its row, puts its new observation into `obs`; true when it ended."""
    chosen = int(action[i]) if action.ndim == 1 else action[i]
    found, reward, terminated, truncated, info = env.step(chosen)
    obs[i] = np.ravel(found)
    truncated = truncated or len(rows) + 1 >= max_steps
    fault = info.get("fault", False)
    rows.append((seen[i, :kept], action[i], reward, obs[i, :kept].copy(), terminated, truncated, fault))
    return terminated or truncated
