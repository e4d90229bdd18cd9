"""Environments so small that the right values and policies are known (after rejax and bsuite)."""

from typing import Any

import gymnasium as gym
import numpy as np

GAMMA = 0.5


class Probe(gym.Env):
    """One number to see, two actions or one number to give; `kind` says what is paid for."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,))

    def __init__(self, kind: str, continuous: bool = False) -> None:
        self.kind = kind
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,)) if continuous else gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        self.steps = 0
        self.sign = float(self.np_random.choice([-1.0, 1.0])) if self.kind in ("observed", "matched") else 1.0
        return self._see(), {}

    def step(self, action: Any) -> tuple:
        seen, self.steps = self.sign, self.steps + 1
        rewards = {
            "constant": lambda: 1.0,  # V = 1
            "observed": lambda: seen,  # V(o) = o
            "delayed": lambda: float(self.steps == 2),  # V(start) = γ, V(middle) = 1
            "chosen": lambda: 1.0 if action == 1 else -1.0,  # the best action is 1
            "matched": lambda: 1.0 if 2 * action - 1 == seen else -1.0,  # the best action is what is seen
            "near": lambda: -float((action[0] - 0.5) ** 2),  # the best action is 0.5
            "gamble": lambda: float(self.np_random.choice([-1.0, 1.0])),  # V = 0, returns are -1 or 1
            "endless": lambda: 1.0,  # V = 1 / (1 − γ), whenever somebody stops looking
        }
        reward = rewards[self.kind]()
        terminated = self.kind != "endless" and self.steps == (2 if self.kind == "delayed" else 1)
        return self._see(), reward, terminated, False, {}

    def _see(self) -> np.ndarray:
        return np.array([self.sign if self.kind != "delayed" else float(self.steps)], np.float32)


for _kind in ("constant", "observed", "delayed", "chosen", "matched", "gamble"):
    gym.register(f"probe/{_kind}-v0", Probe, kwargs={"kind": _kind})
gym.register("probe/near-v0", Probe, kwargs={"kind": "near", "continuous": True})
gym.register("probe/endless-v0", Probe, kwargs={"kind": "endless"}, max_episode_steps=3)


class Counter(gym.Env):
    """Shows (episode, step); ends after 2, 3, 2, 3, ... steps, by termination and truncation in turn."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self) -> None:
        self.episode = -1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        self.episode, self.steps = self.episode + 1, 0
        return self._see(), {}

    def step(self, action: int) -> tuple:
        self.steps += 1
        ended = self.steps == 2 + self.episode % 2
        odd = self.episode % 2 == 1
        return self._see(), float(self.steps), ended and not odd, ended and odd, {}

    def _see(self) -> np.ndarray:
        return np.array([self.episode, self.steps], np.float32)


gym.register("probe/counter-v0", Counter)


class Breaks(Counter):
    """Fails in the third step."""

    def step(self, action: int) -> tuple:
        if self.steps == 2:
            raise ValueError("motor on fire")
        self.steps += 1
        return self._see(), 0.0, False, False, {}


class Pair(gym.Env):
    """Two discrete numbers to give; (1, 2) is paid best."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,))
    action_space = gym.spaces.MultiDiscrete([2, 3])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        return np.ones(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple:
        assert action.shape == (2,)
        return np.ones(1, np.float32), float(action[0] + action[1]), True, False, {}


class Wears(Pair):
    """Fails in its thousandth step."""

    done = 0

    def step(self, action: np.ndarray) -> tuple:
        self.done += 1
        if self.done == 1_000:
            raise ValueError("worn out")
        return super().step(action)


class Switches(gym.Env):
    """Three switches; the middle one should be off, the others on."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,))
    action_space = gym.spaces.MultiBinary(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        return np.ones(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple:
        assert self.action_space.contains(action)
        return np.ones(1, np.float32), float(action[0] - action[1] + action[2]), True, False, {}


class MaskedPair(Pair):
    """Only (1, 1 + steps done) may be given."""

    action_space = gym.spaces.MultiDiscrete([2, 3])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        self.steps = 0
        return super().reset(seed=seed)[0], self._mask()

    def step(self, action: np.ndarray) -> tuple:
        assert action.tolist() == [1, 1 + self.steps]
        self.steps += 1
        return *super().step(action)[:2], self.steps == 2, False, self._mask()

    def _mask(self) -> dict[str, Any]:
        return {"action_mask": np.array([0, 1, 0, self.steps == 0, self.steps == 1], np.int8)}


class MaskedLate(Pair):
    """Says what is forbidden once it is too late."""

    def step(self, action: np.ndarray) -> tuple:
        return *super().step(action)[:4], {"action_mask": np.array([1, 0, 1, 0, 0], np.int8)}


class Masked(gym.Env):
    """Three actions, the higher the better paid; the highest is never allowed, the others are in turn."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,))
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        self.low = bool(self.np_random.random() < 0.5)
        return self._see()

    def step(self, action: int) -> tuple:
        assert self.mask[action], f"{action} is forbidden"
        obs, info = self._see()
        return obs, float(action), True, False, info

    def _see(self) -> tuple:
        self.mask = np.array([1, not self.low, 0], np.int8)
        return np.ones(1, np.float32), {"action_mask": self.mask}


gym.register("probe/pair-v0", Pair)
gym.register("probe/switches-v0", Switches)
gym.register("probe/masked-v0", Masked)


class Recall(gym.Env):
    """Shows a sign once; the action two steps later must match it."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        self.steps, self.sign = 0, float(self.np_random.choice([-1.0, 1.0]))
        return np.array([self.sign], np.float32), {}

    def step(self, action: int) -> tuple:
        self.steps += 1
        ended = self.steps == 3
        return np.zeros(1, np.float32), float(ended and 2 * action - 1 == self.sign), ended, False, {}


gym.register("probe/recall-v0", Recall)


class Film(gym.Env):
    """Shows pictures."""

    observation_space = gym.spaces.Box(0, 255, (3, 40, 40), np.uint8)
    action_space: gym.Space = gym.spaces.Discrete(30)


class SteeredFilm(Film):
    """Shows pictures and takes a number."""

    action_space = gym.spaces.Box(-1.0, 1.0, (1,))


gym.register("probe/film-v0", Film)
