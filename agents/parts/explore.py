"""ε-greedy play: the share ε of actions is drawn uniformly from the allowed ones, the others are those of the
highest value."""

from collections.abc import Callable

import torch
from torch import Tensor

from agents.parts.heads import allowed
from envs import Transition, VectorEnv


def straight(start: float, end: float, done: float) -> float:
    """The value on a straight line from start to end; `done` is the share of the way."""
    return start + min(1.0, done) * (end - start)


def play(
    envs: VectorEnv,
    act: Callable[[Tensor], Tensor],
    steps: int,
    epsilon: float,
    generator: torch.Generator,
) -> Transition:
    """A rollout of `steps` ε-greedy actions in every environment: fields (T, N, ...)."""
    shape = (steps, envs.num_envs)
    coin = torch.rand(shape, generator=generator, device=generator.device)
    guess = torch.randint(envs.spaces.actions, shape, generator=generator, device=generator.device)
    rows = []
    for explore, other in zip(coin < epsilon, guess, strict=True):
        if envs.spaces.masked:
            mask = envs.obs[:, -envs.spaces.actions :]
            lots = torch.rand(mask.shape, generator=generator, device=generator.device)
            other = allowed(lots, mask).argmax(-1)
        rows.append(envs.step(torch.where(explore, other, act(envs.obs))))
    return Transition.stack(rows)
