"""x Wᵀ + b at the speed that the processor has.

On CPUs torch multiplies matrices with Intel's MKL, which gives other makers' processors its code for AVX2.
oneDNN, which torch brings too and its compiler calls, goes by what the processor can do: where that is
AVX-512, (128 × 784) × (784 × 400) with both gradients takes 1.1 ms instead of 2.5 on one core of Zen 5. Its
calls cost more, so that small products stay with MKL; and it makes a kernel for each shape, which takes 0.4
ms and memory, so that numbers of rows that look as if they change from call to call stay with MKL too.
"""

from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

LEAST = 2**21  # multiplications of a product from which on oneDNN is sooner, with gradients too
ROWS = 16  # multiples of this are taken for numbers of rows that somebody chose


def affine(
    x: Float[Tensor, "*B I"], weight: Float[Tensor, "J I"], bias: Float[Tensor, " J"] | None = None
) -> Float[Tensor, "*B J"]:
    """x Wᵀ + b; differentiable as often as one likes."""
    if x.numel() * len(weight) < LEAST or not _suited(x, weight):
        return functional.linear(x, weight, bias)
    rows = x.flatten(0, -2)
    learns = any(part is not None and part.requires_grad for part in (x, weight, bias))
    found = _Affine.apply(rows, weight, bias) if learns else _product(rows, weight, bias)
    return found.unflatten(0, x.shape[:-1])


class Linear(nn.Linear):
    """A layer that applies `affine`."""

    def forward(self, input: Float[Tensor, "*B I"]) -> Float[Tensor, "*B J"]:
        return affine(input, self.weight, self.bias)


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            affine(grad, weight.T) if of_x else None,
            affine(grad.T, x.T) if of_weight else None,
            grad.sum(0) if of_bias else None,
        )


def _product(x: Float[Tensor, "B I"], weight: Float[Tensor, "J I"], bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found


def _suited(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN is to multiply them."""
    if x.dim() < 2 or x.shape[:-1].numel() % ROWS:
        return False
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    return x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and _mkl_holds_back()


@cache
def _mkl_holds_back() -> bool:
    """Whether MKL leaves a part of this processor unused, and oneDNN is there."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("avx512_f")) and "Intel" not in str(known.get("cpu_name", "Intel"))
