"""The policy of a run as `lab monitor --policy-check` sees it, and what may happen to a policy."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agents.parts.values import ActionValues
from agents.registry import Agent
from anomaly.monitor_policy import Policy
from envs.adversarial import against, fgsm
from envs.faults import Fault
from envs.recording import Act
from training.errors import InputError
from training.seeds import torch_generator

NOISE = 0.1  # of other weights, in deviations of each layer's
OFF, WIDER = 0.1, 1.25  # of a wrong normaliser: its mean, in deviations of a sensor, and its deviation
ATTACKS = (0.05, 0.1)  # deviations of a sensor
POLICY_TRIALS = 2 + len(ATTACKS)


@dataclass(frozen=True)
class Trial:
    """What is tried on an agent: a fault, or another policy that takes over at the onset."""

    fault: Fault
    other: Act | None = None


def outputs(agent: Agent) -> Callable[[Tensor], Tensor]:
    """What actions follow from, with its gradient: logits or values (N, A), or means of continuous actions.

    Raises:
        InputError: for a policy that remembers, whose actions follow from more than one observation, and for
            several discrete actions at once.
    """
    policy, spaces = agent.policy, agent.spaces
    theirs = agent.kind == "sb3"
    remembers = policy.lstm is not None if theirs else hasattr(policy.act, "begin")
    if remembers or spaces.choices:
        what = "remembers" if remembers else "chooses several actions at once"
        raise InputError(f"the policy of {agent.kind} {what}, --policy-check expects one that does not")

    def of(obs: Tensor) -> Tensor:
        found = policy(obs, policy.blank(len(obs))) if theirs else policy(obs)
        if isinstance(found, tuple):  # beside a value
            found = found[0]
        if isinstance(policy, ActionValues):
            return policy.values(obs, found)
        return found[:, : spaces.actions]  # without logarithms of deviations

    return of


def checked(agent: Agent) -> Policy:
    """The policy for `RolloutMonitor.fit`: values of discrete actions, or continuous ones as done."""
    spaces, raw = agent.spaces, outputs(agent)

    def policy(obs: np.ndarray) -> np.ndarray:
        seen = torch.from_numpy(obs)
        if not spaces.discrete:
            return spaces.to_env(agent.policy.act(seen).numpy())
        with torch.inference_mode():
            return raw(seen).numpy()

    return policy


def policy_trials(agent: Agent, scale: tuple[float, ...], seed: int) -> dict[str, Trial]:
    """Four things that may happen to a policy whose world is as it was; `scale` is that of the sensors."""
    act, deviation = agent.policy.act, torch.tensor(scale)
    goal = against(outputs(agent), bool(agent.spaces.discrete))
    return {
        f"policy's weights off by {NOISE:g} sd": Trial(Fault(kind="none"), _other_weights(agent, seed)),
        "policy's normaliser wrong": Trial(
            Fault(kind="none"), lambda obs: act((obs + OFF * deviation) / WIDER)
        ),
    } | {
        f"attack on the policy, {size:g} sd": Trial(Fault(kind="attack", attack=fgsm(goal, size, scale)))
        for size in ATTACKS
    }


def _other_weights(agent: Agent, seed: int) -> Act:
    policy, generator = deepcopy(agent.policy), torch_generator(seed, "other weights")
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.numel() > 1:
                weight += NOISE * weight.std() * torch.randn(weight.shape, generator=generator)
    return policy.act
