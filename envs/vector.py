"""Many environments at once, and what happens at the ends of their episodes.

Gymnasium offers three autoreset modes, and nothing outside this file knows them:

- NEXT_STEP: the step after an end ignores its action and returns the reset observation. That step becomes a
  row with `valid` false.
- SAME_STEP: the ending step already returns the next episode's first observation, and hides the true last
  one in `info["final_obs"]`.
- DISABLED: we reset the environments that ended.
"""

from copy import deepcopy
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor

from envs.masks import MaskedEnv, masked
from envs.own import made
from envs.pictures import Pictures, colours
from envs.replayable import Replayable
from envs.spaces import Spaces, of_pixels
from envs.transition import Transition
from envs.workers import Workers
from training.errors import InputError
from training.metrics import Metrics
from training.state import capture, restore

BACKENDS = ("gymnasium", "processes", "envpool", "tensor")
_NATIVE = "gymnasium.envs.classic_control.cartpole:CartPoleVectorEnv"  # the one whose state can be saved
_CARTPOLE = ("state", "steps", "prev_done", "low", "high")  # what Gymnasium's vector CartPole holds
_COUNTS = (
    "begins",
    "_resetting",
    "_return",
    "_length",
    "_returns",
    "_lengths",
)  # what we hold about episodes


class VectorEnv:
    """N environments that never end: `step` takes actions (N,) or (N, A) and returns a `Transition`.

    `obs` (N, O) is what to act on next, `begins` (N,) says where it is the first of an episode.
    """

    checkpoint_every = 0  # steps of each between checkpoints, where these end all episodes; 0: none does

    def __init__(self, envs: gym.vector.VectorEnv, seed: int | None, name: str = "") -> None:
        self._envs = envs
        self._device = torch.device("cpu")
        self._mode = _autoreset_mode(envs)
        self.num_envs = envs.num_envs
        name = name or (envs.spec.id if envs.spec else type(envs).__name__)
        self.spaces = Spaces.of(envs.single_observation_space, envs.single_action_space, name)
        self._returns: list[float] = []
        self._lengths: list[int] = []
        self._begin(envs.reset(seed=seed)[0])

    def _begin(self, obs: np.ndarray) -> None:
        """All episodes are at their first observation."""
        self.obs = self._seen(obs)
        self.begins = self._flags(np.ones(self.num_envs, np.bool_))
        self._resetting = np.zeros(self.num_envs, np.bool_)
        self._return = np.zeros(self.num_envs)
        self._length = np.zeros(self.num_envs, np.int64)

    def step(self, action: Tensor) -> Transition:
        """Acts in every environment and resets those whose episodes ended."""
        found = self._envs.step(self.spaces.to_env(action.cpu().numpy()))
        obs, reward, terminated, truncated, info = found
        valid = ~self._resetting
        ended = terminated | truncated
        self._count(reward, valid, ended)
        reached = obs
        begins = ended
        if self._mode == AutoresetMode.NEXT_STEP:
            self._resetting, begins = ended, ~valid
        elif ended.any() and self._mode == AutoresetMode.SAME_STEP:
            reached = obs.copy()
            reached[ended] = np.stack(list(info["final_obs"][ended]))
        elif ended.any():
            obs, _ = self._envs.reset(options={"reset_mask": ended})
        next_obs = self._seen(reached)
        transition = Transition(
            self.obs,
            action,
            self._tensor(reward),
            self._flags(terminated),
            self._flags(truncated),
            next_obs,
            self._flags(valid),
        )
        self.obs = next_obs if obs is reached else self._seen(obs)
        self.begins = self._flags(begins)
        return transition

    def episodes(self) -> Metrics:
        """Returns and lengths of the episodes that ended since the last call; nothing when none did."""
        if not self._returns:
            return {}
        found: Metrics = {
            "episode/return": np.array(self._returns),
            "episode/length": np.array(self._lengths, float),
        }
        self._returns, self._lengths = [], []
        return found

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, copied.

        Raises:
            InputError: for environments that `make` did not make and that keep their state to themselves.
        """
        inner = self._envs
        if isinstance(inner, CartPoleVectorEnv):
            held: Any = {name: getattr(inner, name) for name in _CARTPOLE}
            held["random"] = inner.np_random.bit_generator.state
        elif isinstance(inner, SyncVectorEnv) and all(isinstance(env, Replayable) for env in inner.envs):
            held = [env.state_dict() for env in inner.envs]  # type: ignore[attr-defined]
        elif isinstance(inner, Workers):
            held = inner.state_dicts()
        else:
            raise InputError(f"{type(inner).__name__} cannot be saved, expected environments made by `make`")
        return deepcopy({"obs": self.obs, "counts": capture(self, _COUNTS), "inner": held})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave.

        Raises:
            InputError: when an environment did not do the same again.
        """
        inner, held = self._envs, state["inner"]
        if isinstance(inner, CartPoleVectorEnv):
            for name in _CARTPOLE:
                setattr(inner, name, held[name])
            inner.np_random.bit_generator.state = held["random"]
        else:
            if isinstance(inner, Workers):
                shown = inner.load_state_dicts(held)
            else:
                assert isinstance(inner, SyncVectorEnv)
                pairs: Any = zip(inner.envs, held, strict=True)
                shown = [env.load_state_dict(one) for env, one in pairs]
            for i, seen in enumerate(shown):
                if not np.array_equal(np.ravel(seen).astype(np.float32), state["obs"][i].cpu().numpy()):
                    raise InputError(
                        f"environment {i} did not repeat its episode: it draws from a generator of its own,"
                        " and cannot be resumed"
                    )
        self.obs = state["obs"].to(self._device)
        restore(self, state["counts"])

    def to(self, device: torch.device) -> None:
        """Moves what `obs` and transitions hold to `device`; the environments stay on the CPU."""
        self._device = device
        self.obs, self.begins = self.obs.to(device), self.begins.to(device)

    def close(self) -> None:
        """Frees the environments."""
        self._envs.close()

    def _count(self, reward: np.ndarray, valid: np.ndarray, ended: np.ndarray) -> None:
        self._return += reward
        self._length += valid
        if ended.any():
            self._returns += self._return[ended].tolist()
            self._lengths += self._length[ended].tolist()
            self._return[ended] = 0.0
            self._length[ended] = 0

    def _seen(self, obs: np.ndarray) -> Tensor:
        return self._tensor(obs).flatten(1)

    def _tensor(self, array: np.ndarray) -> Tensor:
        own = np.array(array, np.float32)  # environments may use their memory again
        return torch.from_numpy(own).to(self._device)

    def _flags(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)


def vectorised(env: str, num_envs: int, seed: int, processes: bool) -> VectorEnv:
    """`num_envs` environments of Gymnasium: CartPole in Gymnasium's own vector form, others in a loop, or
    each in a process of its own.

    Raises:
        InputError: for an environment that Gymnasium does not know or cannot make.
    """
    one = make_one(env)
    Spaces.of(one.observation_space, one.action_space, env)
    native = one.spec is not None and one.spec.vector_entry_point == _NATIVE
    one.close()
    maker = partial(_replayable, env)
    if processes:
        return VectorEnv(Workers(maker, num_envs), seed)
    if native:
        return VectorEnv(gym.make_vec(env, num_envs, vectorization_mode="vector_entry_point"), seed)
    makers = [partial(maker, index) for index in range(num_envs)]
    return VectorEnv(SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP), seed)


def _replayable(env: str, index: int) -> Replayable:
    return Replayable(make_one(env), index)


def make_one(env: str, **options: Any) -> gym.Env:
    """One environment called `env`, an id or `module:Class`.

    Its observations are flattened to one axis by Gymnasium's `flatten`: entries of a Dict in the order of
    their names, of a Tuple one after another, arrays row by row, discrete numbers one-hot. The mask of
    allowed actions stands after them where there is one. Pictures (H, W, 1 or 3) of bytes become the last
    four frames (4, 84, 84), grey; other boxes of bytes with three axes are pictures (C, H, W) as they are.

    Raises:
        InputError: for an environment that Gymnasium does not know or cannot make, and for pictures with a
            mask.
    """
    env = split(env)[1]
    one = made(env, **options)
    space = one.observation_space
    if of_pixels(space):
        if masked(env, one.action_space):
            one.close()
            raise InputError(f"{env} shows pictures and gives an action_mask, expected one of them alone")
        return Pictures(one) if colours(space) else one
    flat = isinstance(space, gym.spaces.Box) and len(space.shape) == 1
    row = one if flat else gym.wrappers.FlattenObservation(one)
    return MaskedEnv(row) if masked(env, one.action_space) else row


def shows_pictures(env: str) -> bool:
    """Whether what the environment called `env` shows are pictures, not rows of numbers."""
    one = made(split(env)[1])
    try:
        return of_pixels(one.observation_space)
    finally:
        one.close()


def _autoreset_mode(envs: gym.vector.VectorEnv) -> AutoresetMode:
    mode = envs.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise InputError(f"{type(envs).__name__} has the autoreset mode {mode!r}, expected an AutoresetMode")
    return mode


def split(env: str) -> tuple[str, str]:
    """The backend and the id in `tensor/CartPole-v1`; other ids are Gymnasium's."""
    backend, _, name = env.partition("/")
    return (backend, name) if backend in BACKENDS else ("gymnasium", env)
