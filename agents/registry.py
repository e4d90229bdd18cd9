"""The algorithms by name, and how their model folders are written and read."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from agents import a2c, dqn, ppo, ppo_lstm, pqn, presets, qr_dqn, rainbow, reinforce, sac, sb3
from agents.general import GENERAL
from agents.parts.actor_critic import ActorCritic
from agents.parts.sb3_policy import Policy
from envs import Spaces
from envs.vector import shows_pictures, split
from training.checkpoint import load_model, save_model
from training.config import from_dict
from training.errors import InputError

MODULES: dict[str, ModuleType] = {
    "a2c": a2c,
    "dqn": dqn,
    "ppo": ppo,
    "ppo_lstm": ppo_lstm,
    "pqn": pqn,
    "qr_dqn": qr_dqn,
    "rainbow": rainbow,
    "reinforce": reinforce,
    "sac": sac,
}
POLICIES: dict[str, Any] = {
    "a2c": ActorCritic,
    "dqn": dqn.QNetwork,
    "ppo": ppo.policy,
    "ppo_lstm": ppo_lstm.RecurrentActorCritic,
    "pqn": pqn.QNetwork,
    "qr_dqn": qr_dqn.QuantileNetwork,
    "rainbow": rainbow.RainbowNetwork,
    "reinforce": ActorCritic,
    "sac": sac.Actor,
    "sb3": Policy,
}
PICTURES = (
    "a2c",
    "dqn",
    "ppo",
    "pqn",
    "qr_dqn",
    "rainbow",
    "reinforce",
)  # what learns from what a camera shows
ENGINES: dict[str, ModuleType] = {"sb3": sb3}  # they learn, but their runs cannot be resumed
PRESETS: dict[str, dict[str, Any]] = {
    "a2c": presets.A2C,
    "dqn": presets.DQN,
    "ppo": presets.PPO,
    "ppo_lstm": presets.PPO_LSTM,
    "pqn": presets.PQN,
    "qr_dqn": presets.QR_DQN,
    "rainbow": presets.RAINBOW,
    "reinforce": presets.REINFORCE,
    "sac": presets.SAC,
}


def preset(kind: str, env: str) -> tuple[Any, str]:
    """The settings that an algorithm starts from on an environment, and what they are called."""
    name, config = split(env)[1], (MODULES | ENGINES)[kind].Config
    if name in PRESETS.get(kind, {}):
        return replace(PRESETS[kind][name], env=env), "the preset of the pair"
    if kind in GENERAL and not shows_pictures(name):
        return replace(GENERAL[kind], env=env), "settings for any environment"
    return config(env=env), "default settings"


@dataclass(frozen=True)
class Agent:
    """A policy with what it was trained as; `policy.act` takes observations (N, O) to actions."""

    kind: str
    cfg: Any
    policy: Any
    spaces: Spaces
    step: int

    @property
    def model(self) -> Any:
        """The policy, by the name that learners give it: an agent can be saved like one."""
        return self.policy


def save(folder: Path, kind: str, learner: Any) -> None:
    """Writes the model folder of a learner."""
    description = {
        "kind": kind,
        "config": asdict(learner.cfg),
        "spaces": asdict(learner.spaces),
        "step": learner.step,
    }
    save_model(folder, learner.model.state_dict(), description)


def load(folder: Path, device: torch.device | str = "cpu") -> Agent:
    """Reads a model folder; raises InputError when it is missing, damaged or of another kind."""
    weights, description = load_model(folder, device)
    kind = description.get("kind")
    if kind not in POLICIES:
        raise InputError(f"{folder} holds a {kind!r}, expected an agent: {', '.join(POLICIES)}")
    cfg = from_dict((MODULES | ENGINES)[kind].Config, description.get("config"), f"{folder}/model.json")
    spaces = from_dict(Spaces, description.get("spaces"), f"{folder}/model.json")
    step = description.get("step")
    if not isinstance(step, int):
        raise InputError(f"{folder}/model.json: step is {step!r}, expected int")
    policy = POLICIES[kind](cfg, spaces).to(device)
    try:
        policy.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"{folder}: the weights do not fit: {str(error).splitlines()[-1]}") from None
    return Agent(kind, cfg, policy, spaces, step)
