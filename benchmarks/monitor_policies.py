"""The policies that the monitor's benchmark watches: some by hand, some trained by the lab and kept."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from agents import ppo, registry
from agents.presets import PPO, WALKER
from benchmarks.monitor_cells import MUJOCO, NOISY, TRAINED
from envs import make
from envs.adversarial import against, fgsm
from envs.faults import Fault
from envs.recording import Act
from training.run import RunConfig
from training.seeds import stream

STEPS = {"CartPole-v1": 100_000}  # 500,000 of the others
POOLED = ("LunarLander-v3", *MUJOCO)  # by EnvPool: an eighth of the time of Gymnasium's on LunarLander
OFF, WIDER = 0.1, 1.25  # of the wrong normaliser: mean, in deviations, and deviation
EARLY = 0.1  # of the steps: when the older checkpoint is made


@dataclass(frozen=True)
class Watched:
    """A policy; of one that the lab trained also an older checkpoint, and its logits."""

    act: Act
    older: Act | None = None
    logits: Callable[[Tensor], Tensor] | None = None


def trained(name: str, seed: int, folder: Path) -> Watched:
    """PPO with its preset, or that of robots: ten to a hundred CPU seconds; read where it is kept."""
    if not (folder / "policy").exists():
        steps = STEPS.get(name, 500_000)
        preset = PPO.get(name, replace(WALKER, env=name))
        cfg = replace(preset, run=RunConfig(steps=steps, seed=seed, device="cpu"))
        envs = make(f"envpool/{name}" if name in POOLED else name, cfg.num_envs, stream(seed, "envs"))
        learner, early = ppo.Learner(cfg, envs.spaces), None
        for step, _ in ppo.train(cfg, learner, envs):
            if early is None and step >= EARLY * steps:
                early = deepcopy(learner.model.state_dict())
        envs.close()
        registry.save(folder / "policy", "ppo", learner)
        assert early is not None
        learner.model.load_state_dict(early)
        registry.save(folder / "older", "ppo", learner)
    now, older = (registry.load(folder / which).policy for which in ("policy", "older"))
    return Watched(now.act, older.act, lambda obs: now(obs)[0])


def policy_cell(cell: str, policy: Watched, scale: tuple[float, ...]) -> tuple[Fault, Act | None]:
    """The fault of a cell in POLICY, and the policy that takes over at its onset, where one does."""
    assert policy.logits is not None
    assert policy.older is not None
    if cell.startswith("attack"):
        size = float(cell.split()[1])
        return Fault(kind="attack", attack=fgsm(against(policy.logits, True), size, scale)), None
    if cell == "older policy":
        return Fault(kind="none"), policy.older
    off = OFF * torch.tensor(scale)
    return Fault(kind="none"), lambda obs: policy.act((obs + off) / WIDER)


def pendulum() -> Act:
    """Energy is pumped up to that of the upright pendulum, which is then held (Astrom and Furuta, 2000)."""

    def act(obs: Tensor) -> Tensor:
        cos, sin, speed = obs.T
        lacking = 15 - (speed * speed / 2 + 15 * cos)
        hold = -(10 * torch.atan2(sin, cos) + 2 * speed)
        pump = torch.where(speed < 0, -2.0, 2.0) * lacking.sign()
        return (torch.where(cos > 0.9, hold, pump) / 2).clamp(-1, 1)[:, None]

    return act


def acrobot() -> Act:
    """The torque goes with the second joint's speed."""
    return lambda obs: (obs[:, 5] > 0).long() * 2


def watched(name: str, seed: int, folder: Path) -> Watched:
    """The policy of an environment; those that are trained are kept in the folder."""
    if name in (*TRAINED, *MUJOCO, NOISY):
        return trained("CartPole-v1" if name == NOISY else name, seed, folder)
    return Watched({"Pendulum-v1": pendulum, "Acrobot-v1": acrobot}[name]())
