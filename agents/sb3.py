"""Stable-Baselines3 as a second engine: Raffin et al., 2021 (jmlr.org/papers/v22/20-1364.html).

Its algorithms learn behind the commands of the lab, and what they learned becomes a policy of ours: the
network that acts, as plain tensors. They keep their state to themselves, so a run cannot be resumed.

    lab train sb3 --algo TD3 --env Pendulum-v1 --noise 0.1
"""

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from torch import nn

from agents.parts.sb3_policy import Algo, Policy, acting
from agents.parts.turns import turns
from envs import Spaces
from envs.replayable import Replayable
from envs.vector import make_one, split
from training.config import check_not_negative, check_positive
from training.device import pick
from training.errors import InputError
from training.metrics import Metrics
from training.networks import Activation
from training.run import RunConfig
from training.seeds import stream

ACTIVATIONS: dict[type, Activation] = {
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    nn.SiLU: "silu",
    nn.Sigmoid: "sigmoid",
}

_OWN = {  # arguments that are not the user's to give, or that are no plain values
    *("policy", "env", "seed", "device", "policy_kwargs", "action_noise", "tensorboard_log", "verbose"),
    *("use_sde", "sde_sample_freq", "use_sde_at_warmup", "_init_setup_model", "stats_window_size"),
    *("rollout_buffer_class", "rollout_buffer_kwargs", "replay_buffer_class", "replay_buffer_kwargs"),
}
_METRICS = {  # what Stable-Baselines3 calls what the lab knows by other names
    "train/policy_gradient_loss": "loss/policy",
    "train/policy_loss": "loss/policy",
    "train/actor_loss": "loss/policy",
    "train/value_loss": "loss/value",
    "train/critic_loss": "loss/td",
    "train/ent_coef_loss": "loss/temperature",
    "train/approx_kl": "policy/kl",
    "train/ent_coef": "explore/temperature",
    "rollout/exploration_rate": "explore/epsilon",
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of an algorithm of Stable-Baselines3."""

    env: str = "CartPole-v1"  # a Gymnasium id
    algo: Algo = "PPO"  # which algorithm
    num_envs: int = 1  # environments side by side
    hidden: tuple[int, ...] | None = None  # sizes of the hidden layers; default: the algorithm's own
    activation: Activation | None = None  # of the hidden layers; default: the algorithm's own
    noise: float = 0.0  # deviation of normal noise added to actions (SAC, TD3, DDPG)
    options: str = "{}"  # more arguments of the algorithm, as JSON: '{"learning_rate": 1e-3}'
    features: int = 0  # what convolutions see in a picture, of an agent that was read from a file
    memory: int = 0  # numbers in h and in c of its LSTM, if any
    masks: bool = False  # whether it keeps to what masks allow
    clip_obs: float = 0.0  # its observations were normalised and clipped to this; 0: it sees them as they are
    sde: bool = False  # whether its noise depended on the state, of which only the means of actions are kept
    source: str = ""  # the file this agent was read from, when it was not trained here
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_positive(self, "num_envs")
        check_not_negative(self, "noise")
        if self.hidden:
            check_positive(self, "hidden")
        if (self.run.mode, self.run.if_nan) != ("eager", "stop"):
            raise InputError("sb3 knows no other mode than eager, and nothing but stop for if_nan")
        if self.run.precision not in ("fp32", "tf32"):
            raise InputError(f"precision is {self.run.precision}, sb3 knows none but fp32 and tf32")
        if self.noise and self.algo in ("PPO", "A2C", "DQN"):
            raise InputError(f"noise is {self.noise}, expected 0: {self.algo} adds none to its actions")
        try:
            told = json.loads(self.options)
        except ValueError as error:
            raise InputError(f"options is no JSON: {error}") from None
        if not isinstance(told, dict):
            raise InputError(f"options is {self.options}, expected a JSON object")


class Learner:
    """An algorithm of Stable-Baselines3 with its environments; `model` is what it has learned so far."""

    def __init__(self, cfg: Config) -> None:
        import stable_baselines3 as sb3  # a second of imports that only such runs need
        from stable_baselines3.common.logger import Logger
        from stable_baselines3.common.monitor import Monitor
        from stable_baselines3.common.noise import NormalActionNoise
        from stable_baselines3.common.vec_env import DummyVecEnv

        if (backend := split(cfg.env)[0]) != "gymnasium":
            raise InputError(
                f"env is {cfg.env}, expected one of Gymnasium: sb3 does not step those of {backend}"
            )
        one = make_one(cfg.env)
        self.spaces = Spaces.of(one.observation_space, one.action_space, cfg.env)
        one.close()
        if cfg.features or cfg.memory or cfg.masks or cfg.sde:
            raise InputError(
                "features, memory, masks or sde is told, expected none: they are of agents read from files"
            )
        if self.spaces.masked:
            raise InputError(f"{cfg.env} forbids actions, sb3 knows no masks: try lab train ppo")
        if self.spaces.picture:
            raise InputError(f"{cfg.env} shows pictures, sb3 sees rows of numbers: try lab train ppo")
        self.device = pick(cfg.run.device)
        algorithm = getattr(sb3, cfg.algo)
        options = _options(algorithm, cfg)
        if cfg.noise:
            zeros = np.zeros(self.spaces.actions)
            options["action_noise"] = NormalActionNoise(zeros, zeros + cfg.noise)
        shape: dict[str, Any] = {} if cfg.hidden is None else {"net_arch": list(cfg.hidden)}
        if cfg.activation is not None:
            shape["activation_fn"] = next(
                layer for layer, name in ACTIVATIONS.items() if name == cfg.activation
            )

        def one_of_them(index: int) -> gym.Env:
            return Monitor(Replayable(make_one(cfg.env), index))  # which names what fails

        try:
            self.engine = algorithm(
                "MlpPolicy",
                DummyVecEnv([partial(one_of_them, i) for i in range(cfg.num_envs)]),
                seed=stream(cfg.run.seed, "sb3") % 2**31,
                device=self.device,
                policy_kwargs=shape,
                **options,
            )
        except (AssertionError, TypeError, ValueError) as error:
            raise InputError(f"{cfg.algo} refuses: {' '.join(str(error).split())}") from None
        self.engine.set_logger(Logger(folder=None, output_formats=[]))
        self._binary = isinstance(self.engine.action_space, gym.spaces.MultiBinary)
        _, sizes = acting(cfg.algo, self.engine.policy.state_dict(), binary=self._binary)
        activation = ACTIVATIONS[self.engine.policy.activation_fn]
        self.cfg = replace(cfg, hidden=sizes.hidden, activation=activation)
        self._model = Policy(self.cfg, self.spaces).to(self.device)

    @property
    def step(self) -> int:
        """Steps of the environments so far."""
        return self.engine.num_timesteps

    def close(self) -> None:
        """Frees the environments."""
        self.engine.env.close()

    @property
    def model(self) -> Policy:
        """What acts now."""
        weights, _ = acting(self.cfg.algo, self.engine.policy.state_dict(), binary=self._binary)
        self._model.load_state_dict(weights)
        return self._model

    def updates(self) -> Iterator[tuple[int, Metrics]]:
        """Learns to the end; yields after every rollout that was learned from."""
        from stable_baselines3.common.callbacks import BaseCallback

        seen: dict[str, list[float]] = {"episode/return": [], "episode/length": []}

        def metrics() -> Metrics:
            told = self.engine.logger.name_to_value
            found: Metrics = {ours: float(told[name]) for name, ours in _METRICS.items() if name in told}
            if "train/loss" in told and self.cfg.algo == "DQN":
                found["loss/td"] = float(told["train/loss"])
            if "train/entropy_loss" in told:
                found["policy/entropy"] = -float(told["train/entropy_loss"])
            found |= {name: np.array(values, float) for name, values in seen.items() if values}
            told.clear()
            for values in seen.values():
                values.clear()
            return found

        class Turn(BaseCallback):
            """Hands over between two rollouts, and gathers the episodes that ended."""

            def __init__(self, hand_over: Callable[[Any], bool]) -> None:
                super().__init__()
                self.hand_over, self.wanted = hand_over, True

            def _on_rollout_start(self) -> None:
                if self.num_timesteps:
                    self.wanted = self.wanted and self.hand_over((self.num_timesteps, metrics()))

            def _on_step(self) -> bool:
                for info in self.locals["infos"]:
                    if "episode" in info:
                        seen["episode/return"].append(info["episode"]["r"])
                        seen["episode/length"].append(info["episode"]["l"])
                return self.wanted

        def push(hand_over: Callable[[Any], bool]) -> None:
            turn = Turn(hand_over)
            self.engine.learn(self.cfg.run.steps, callback=turn)
            if turn.wanted:
                hand_over((self.step, metrics()))

        yield from turns(push)


def _options(algorithm: type, cfg: Config) -> dict[str, Any]:
    """The arguments in `cfg.options`; raises InputError for one that the algorithm does not have."""
    options = json.loads(cfg.options)
    known = [name for name in inspect.signature(algorithm).parameters if name not in _OWN]
    if unknown := sorted(set(options) - set(known)):
        raise InputError(f"options has {unknown[0]!r}, expected some of {', '.join(known)}")
    return options
