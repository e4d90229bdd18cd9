"""Observations changed on purpose: what an attacker makes a policy see, for faults of kind `attack`.

    FGSM  o' = o + ε s sign(∇ J(o″)), o″ beside o       Goodfellow et al., 2015 (arXiv:1412.6572)
    PGD   o' ← Π[o' + η s sign(∇ J(o'))], from a random start; Π keeps |o' − o| ≤ ε s
                                                        Madry et al., 2018 (arXiv:1706.06083)

s are the sensors' deviations. J is any function of observations (B, O) that the attacker wants to be high:
`against` makes one of a policy's outputs; a monitor's score, subtracted, makes the attacker hide.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from training.seeds import torch_generator

Goal = Callable[[Tensor, Tensor], Tensor]
"""Changed and true observations (B, O) to what the attacker wants to be high (B,)."""


def against(policy: Callable[[Tensor], Tensor], discrete: bool) -> Goal:
    """Outputs that are unlike those of the true observation.

    `policy` gives logits or values of discrete actions (B, n), of which the best one is made unlikely, or
    continuous actions (B, A), from which the squared distance grows.
    """

    def goal(changed: Tensor, true: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = policy(true)
        if not discrete:
            return (policy(changed) - wanted).square().sum(-1)
        best = wanted.argmax(-1, keepdim=True)
        return -policy(changed).log_softmax(-1).gather(-1, best)[..., 0]

    return goal


def pgd(
    goal: Goal, epsilon: float, scale: tuple[float, ...], steps: int = 10, seed: int = 0
) -> Callable[[np.ndarray], np.ndarray]:
    """An attack of several steps, each a quarter of ε; `epsilon` in deviations."""
    reach, generator = epsilon * torch.tensor(scale), torch_generator(seed, "attack")

    def attack(obs: np.ndarray) -> np.ndarray:
        true = torch.from_numpy(np.float32(obs))[None]
        changed = true + reach * (2 * torch.rand(true.shape, generator=generator) - 1)
        for _ in range(steps):
            changed = changed + reach / 4 * _uphill(goal, changed, true)
            changed = torch.maximum(torch.minimum(changed, true + reach), true - reach)
        return changed[0].numpy()

    return attack


def fgsm(goal: Goal, epsilon: float, scale: tuple[float, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """An attack of one step of size ε, in deviations, from a random point a hundredth of it away.

    Where the policy's output is as wanted the gradient of most goals is zero; hence the point beside.
    """
    reach, generator = epsilon * torch.tensor(scale), torch_generator(0, "attack")

    def attack(obs: np.ndarray) -> np.ndarray:
        true = torch.from_numpy(np.float32(obs))[None]
        beside = true + 0.01 * reach * (2 * torch.rand(true.shape, generator=generator) - 1)
        return (true + reach * _uphill(goal, beside, true))[0].numpy()

    return attack


def _uphill(goal: Goal, changed: Float[Tensor, "B O"], true: Float[Tensor, "B O"]) -> Float[Tensor, "B O"]:
    at = changed.detach().requires_grad_()
    return torch.autograd.grad(goal(at, true).sum(), at)[0].sign()
