"""The `.zip` files of Stable-Baselines3, read as agents of ours.

Parts of such a file are code: reading them runs it. That happens in a process of its own, and only when the
user trusts the file; it hands back tensors and JSON, no more.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Space
from gymnasium.spaces.utils import flatten_space
from torch import Tensor

from agents import registry, sb3
from agents.parts.sb3_policy import CLIP_MEAN, Algo, Policy, acting
from envs import Spaces
from envs.spaces import of_pixels
from envs.vector import make_one
from training.checkpoint import load_model, save_model
from training.config import from_dict
from training.errors import InputError

TIMEOUT_S = 120
NEEDED = ("policy_class", "policy_kwargs", "observation_space", "action_space")  # of what is code
QR_DQN = "sb3_contrib.qrdqn.policies."
MASKABLE = "sb3_contrib.common.maskable.policies."
ALGOS: dict[str, Algo] = {  # A2C and TRPO share the class of PPO, DDPG that of TD3; QR-DQN acts like DQN
    "stable_baselines3.common.policies.ActorCriticPolicy": "PPO",
    "stable_baselines3.common.policies.ActorCriticCnnPolicy": "PPO",
    "stable_baselines3.dqn.policies.DQNPolicy": "DQN",
    "stable_baselines3.dqn.policies.CnnPolicy": "DQN",
    "stable_baselines3.sac.policies.SACPolicy": "SAC",
    "stable_baselines3.sac.policies.CnnPolicy": "SAC",
    "stable_baselines3.td3.policies.TD3Policy": "TD3",
    "stable_baselines3.td3.policies.CnnPolicy": "TD3",
    "sb3_contrib.common.recurrent.policies.RecurrentActorCriticPolicy": "PPO",
    "sb3_contrib.common.recurrent.policies.RecurrentActorCriticCnnPolicy": "PPO",
    f"{MASKABLE}MaskableActorCriticPolicy": "PPO",
    f"{MASKABLE}MaskableActorCriticCnnPolicy": "PPO",
    f"{QR_DQN}QRDQNPolicy": "DQN",
    f"{QR_DQN}CnnPolicy": "DQN",
}
FEATURES = (
    "stable_baselines3.common.torch_layers.FlattenExtractor",
    "stable_baselines3.common.torch_layers.NatureCNN",
)


def read(file: Path, env: str, statistics: Path | None = None) -> registry.Agent:
    """The agent in a file that the user trusts, as a player of `env`.

    `statistics` is what VecNormalize saved, where observations went through one; it is trusted as much.

    Raises:
        InputError: when a file is something else, its policy is of a class that the lab does not know, or
            it was trained on other spaces than those of `env`.
    """
    one = make_one(env)
    spaces = Spaces.of(one.observation_space, one.action_space, env)
    one.close()
    with tempfile.TemporaryDirectory() as place:
        weights, found = _unpacked(file, statistics, Path(place))
    theirs = from_dict(Spaces, found["spaces"], str(file))
    seen = spaces
    if spaces.masked:  # theirs come beside the observation, not in it
        seen = replace(spaces, obs=spaces.obs - spaces.actions, masked=False)
    if theirs != seen:
        raise InputError(f"{file} was trained on {theirs}, expected what {env} has: {seen}")
    told = {**found["config"], "masks": found["takes_masks"] and spaces.masked}
    cfg = from_dict(sb3.Config, {**told, "env": env, "source": file.name}, str(file))
    policy = Policy(cfg, spaces)
    policy.load_state_dict(weights)
    return registry.Agent("sb3", cfg, policy, spaces, found["step"])


def _unpacked(file: Path, statistics: Path | None, place: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights and description, by a process of its own."""
    if not zipfile.is_zipfile(file):
        raise InputError(f"{file} is no zip file, expected a model that Stable-Baselines3 saved")
    if statistics is not None and not statistics.is_file():
        raise InputError(f"{statistics} does not exist, expected what VecNormalize saved")
    more = [] if statistics is None else [str(statistics.resolve())]
    command = [sys.executable, "-m", "agents.sb3_zip", str(file.resolve()), str(place / "model"), *more]
    try:
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise InputError(f"{file} was not read within {TIMEOUT_S} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"the reader ended with {done.returncode}"]
        raise InputError(f"{file} cannot be read: {lines[-1]}")
    return load_model(place / "model")


def main(file: Path, folder: Path, statistics: Path | None = None) -> None:
    """Reads the files, and with them runs their code; writes a model folder of tensors and JSON."""
    from stable_baselines3.common.save_util import load_from_zip_file

    with zipfile.ZipFile(file) as archive:
        if not {"data", "policy.pth"} <= set(archive.namelist()):
            raise InputError("it has no data and policy.pth, expected a model that Stable-Baselines3 saved")
        told = json.loads(archive.read("data"))
    others = {name: None for name, item in told.items() if isinstance(item, dict) and name not in NEEDED}
    data, parameters, _ = load_from_zip_file(file, custom_objects=others, device="cpu")
    if data is None or (missing := [name for name in NEEDED if name not in data]):
        whose = told["policy_class"].get("__module__", "") if data and "policy_class" in missing else ""
        origin = f" (of {whose}, which may have to be installed)" if whose else ""
        raise InputError(
            f"{', '.join(missing)} cannot be read here{origin}, expected what Stable-Baselines3 has"
        )
    algo = _algo(data)
    state: Any = parameters["policy"]
    name = _name(data["policy_class"])
    if name.startswith(QR_DQN):
        state = _values(state, int(data["action_space"].n))
    sde = bool(data.get("use_sde"))
    binary = isinstance(data["action_space"], MultiBinary)
    weights, sizes = acting(algo, state, sde, binary)
    activation = _activation(algo, data["policy_kwargs"])
    spaces = Spaces.of(_seen(data["observation_space"]), data["action_space"], "the file")
    norm, clip_obs = _normaliser(statistics, spaces) if statistics else ({}, 0.0)
    weights |= norm
    description = {
        "config": {
            "algo": algo,
            "activation": activation,
            "sde": sde,
            "clip_obs": clip_obs,
            **sizes._asdict(),
        },
        "takes_masks": name.startswith(MASKABLE),
        "spaces": asdict(spaces),
        "step": int(data.get("num_timesteps", 0)),
    }
    save_model(folder, weights, description)


def _normaliser(file: Path, spaces: Spaces) -> tuple[dict[str, Tensor], float]:
    """The state of a `RunningNorm` that does what VecNormalize did to observations, and its limit."""
    from stable_baselines3.common.save_util import load_from_pkl
    from stable_baselines3.common.vec_env import VecNormalize

    found = load_from_pkl(file)
    if not isinstance(found, VecNormalize):
        raise InputError(f"{file} holds a {type(found).__qualname__}, expected a VecNormalize")
    if not found.norm_obs:
        return {}, 0.0
    rms: Any = found.obs_rms
    if isinstance(rms, dict) or spaces.picture or rms.mean.size != spaces.obs:
        shape = "a dictionary" if isinstance(rms, dict) else f"{rms.mean.size} numbers"
        raise InputError(f"{file} normalises {shape}, expected {spaces.obs} numbers, no pixels among them")
    norm = {  # of one row, as it were
        "mean": torch.from_numpy(rms.mean.reshape(-1)),
        "square": torch.from_numpy(rms.var.reshape(-1) + found.epsilon),
        "count": torch.ones((), dtype=torch.float64),
    }
    return {f"norm.{name}": value.double() for name, value in norm.items()}, float(found.clip_obs)


def _seen(space: Space) -> Space:
    """What the network sees: like `envs.vector.make_one`, discrete numbers one-hot, arrays row by row."""
    if isinstance(space, Box) and of_pixels(space):
        return space
    rows = isinstance(space, Box | Discrete | MultiDiscrete | MultiBinary)
    return flatten_space(space) if rows else space


def _algo(data: dict[str, Any]) -> Algo:
    """Which algorithm it was; raises InputError where a class of the policy is not one we can rebuild."""
    policy, options = data["policy_class"], data["policy_kwargs"]
    name = _name(policy)
    if name not in ALGOS:
        raise InputError(
            f"its policy is {name}, expected MlpPolicy or CnnPolicy of PPO, A2C, DQN, SAC, TD3, DDPG, TRPO, "
            "QR-DQN or MaskablePPO, or those with Lstm of RecurrentPPO"
        )
    extractor = options.get("features_extractor_class")
    if extractor is not None and _name(extractor) not in FEATURES:
        raise InputError(f"its features come from {extractor.__qualname__}, expected Flatten or NatureCNN")
    if not options.get("normalize_images", True):
        raise InputError("it was trained without normalize_images, expected pixels divided by 255")
    if options.get("n_lstm_layers", 1) != 1 or options.get("lstm_kwargs"):
        raise InputError("its LSTM has several layers or options of its own, expected one plain layer")
    if data.get("use_sde") and (
        options.get("squash_output") or options.get("clip_mean", CLIP_MEAN) != CLIP_MEAN
    ):
        raise InputError("its gSDE has squash_output or clip_mean of its own, expected those of its class")
    algo = ALGOS[name]
    if algo == "PPO" and "clip_range" not in data:
        return "A2C"
    if algo == "TD3" and options.get("n_critics") == 1:
        return "DDPG"
    return algo


def _name(policy: type) -> str:
    return f"{policy.__module__}.{policy.__qualname__}"


def _values(state: dict[str, Tensor], actions: int) -> dict[str, Tensor]:
    """A Q network that gives the means of a network of quantiles: the last layer's, over quantiles."""
    net = {
        name.replace("quantile_net", "q_net"): value
        for name, value in state.items()
        if name.startswith("quantile_net.")
    }
    last = max(int(name.split(".")[2]) for name in net if name.startswith("q_net.q_net."))
    for name in (f"q_net.q_net.{last}.weight", f"q_net.q_net.{last}.bias"):
        net[name] = net[name].unflatten(0, (-1, actions)).mean(0)
    return net


def _activation(algo: Algo, options: dict[str, Any]) -> str:
    layer = options.get("activation_fn")
    if layer is None:
        return "tanh" if algo in ("PPO", "A2C") else "relu"
    if layer not in sb3.ACTIVATIONS:
        known = ", ".join(kind.__name__ for kind in sb3.ACTIVATIONS)
        raise InputError(f"its activation is {layer.__qualname__}, expected one of {known}")
    return sb3.ACTIVATIONS[layer]


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:]))
    except InputError as error:
        sys.exit(str(error))
