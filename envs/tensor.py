"""Environments that live in tensors: all copies in one call, and nothing leaves the device."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from envs.spaces import Spaces
from envs.transition import Transition
from envs.vector import VectorEnv, make_one
from envs.worlds import WORLDS
from training.errors import InputError
from training.metrics import Metrics
from training.seeds import torch_generator
from training.state import Tree, capture, restore


class TensorEnv(VectorEnv):
    """A `VectorEnv` of a world of `envs.worlds`; ended episodes begin again in the same step."""

    STATE = ("begins", "_state", "_played", "_paid", "_generator", "_ended")

    def __init__(self, env: str, num_envs: int, seed: int) -> None:
        """Raises InputError for an environment that is no tensor world."""
        if env not in WORLDS:
            raise InputError(f"{env} is no tensor environment, expected one of {', '.join(WORLDS)}")
        one = make_one(env)
        self.spaces = Spaces.of(one.observation_space, one.action_space, env)
        one.close()
        self.num_envs, self._world, self._seed = num_envs, WORLDS[env], seed
        self.to(torch.device("cpu"))

    def to(self, device: torch.device) -> None:
        """Begins on `device`; what was played elsewhere is forgotten."""
        self._device = device
        self._generator = torch_generator(self._seed, "tensor", device)
        self._low, self._high = (
            torch.tensor(bound, device=device) for bound in (self._world.low, self._world.high)
        )
        self._scale = torch.tensor(self.spaces.high, device=device)  # bounds are symmetric in these worlds
        self._state = self._begun()
        self._played = torch.zeros(self.num_envs, dtype=torch.int64, device=device)
        self._paid = torch.zeros(self.num_envs, device=device)
        self._ended: list[list[Tensor]] = []  # of each step: who ended, returns and lengths
        self._always = torch.ones(self.num_envs, dtype=torch.bool, device=device)
        self.obs, self.begins = self._world.look(self._state), self._always

    def step(self, action: Tensor) -> Transition:
        """Acts in every environment and resets those whose episodes ended."""
        given = action if self.spaces.discrete else action.clamp(-1.0, 1.0) * self._scale
        state, reward, terminated = self._world.step(self._state, given)
        self._played = self._played + 1
        self._paid = self._paid + reward
        truncated = self._played >= self._world.limit
        ended = terminated | truncated
        self._ended.append([ended, self._paid, self._played])
        seen, reached = self.obs, self._world.look(state)
        self._state = torch.where(ended[:, None], self._begun(), state)
        self._played = torch.where(ended, 0, self._played)
        self._paid = torch.where(ended, 0.0, self._paid)
        self.obs, self.begins = self._world.look(self._state), ended
        return Transition(seen, action, reward, terminated, truncated, reached, self._always)

    def episodes(self) -> Metrics:
        """Returns and lengths of the episodes that ended since the last call; nothing when none did."""
        if not self._ended:
            return {}
        ended, returns, lengths = (torch.stack(field) for field in zip(*self._ended, strict=True))
        self._ended = []
        if not ended.any():
            return {}
        return {"episode/return": returns[ended], "episode/length": lengths[ended].float()}

    def state_dict(self) -> dict[str, Tree]:
        """Everything that the next step depends on."""
        return capture(self, self.STATE)

    def load_state_dict(self, state: dict[str, Tree]) -> None:
        """Puts back what `state_dict` gave."""
        restore(self, state)
        self.obs = self._world.look(self._state)

    def close(self) -> None:
        """There is nothing to free."""

    def _begun(self) -> Tensor:
        """States at the beginning of an episode, one for every environment."""
        shape = self.num_envs, len(self._world.low)
        even = torch.rand(shape, generator=self._generator, device=self._device)
        return self._low + (self._high - self._low) * even


class TensorVectorEnv(gym.vector.VectorEnv):
    """A tensor world as Gymnasium's vector environments are: `gym.make_vec("tensor/CartPole-v1", 8)`."""

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}  # noqa: RUF012  (as Gymnasium has it)

    def __init__(self, env: str, num_envs: int = 1) -> None:
        one = make_one(env)
        self.single_observation_space, self.single_action_space = one.observation_space, one.action_space
        one.close()
        batch = gym.vector.utils.batch_space
        self.observation_space = batch(self.single_observation_space, num_envs)
        self.action_space = batch(self.single_action_space, num_envs)
        self.num_envs, self._env = num_envs, env

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins all episodes; the seed is one for all of them.

        Raises:
            InputError: for a list of seeds and for options.
        """
        if isinstance(seed, list) or options:
            raise InputError("tensor environments share one seed and have no options of a reset")
        super().reset(seed=seed)
        first = int(self.np_random.integers(2**31)) if seed is None else seed
        self._inner = TensorEnv(self._env, self.num_envs, first)
        return self._inner.obs.numpy(), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Acts; what ended has its last observation in `info["final_obs"]`."""
        given = torch.as_tensor(actions)
        if not self._inner.spaces.discrete:
            given = given / self._inner.spaces.high[0]
        row = self._inner.step(given)
        ended = (row.terminated | row.truncated).numpy()
        info: dict[str, Any] = {}
        if ended.any():
            last = np.full(self.num_envs, None, object)
            for i in ended.nonzero()[0]:
                last[i] = row.next_obs[i].numpy()
            info = {"final_obs": last, "_final_obs": ended}
        flags = row.terminated.numpy(), row.truncated.numpy()
        return self._inner.obs.numpy(), row.reward.numpy(), *flags, info


for _env in WORLDS:
    gym.register(
        f"tensor/{_env}",
        vector_entry_point="envs.tensor:TensorVectorEnv",
        kwargs={"env": _env},
    )
