"""Weights that explore: factorised noisy networks, Fortunato et al., 2018 (arXiv:1706.10295).

    y = W x + b + f(ε_out) ⊙ (W_σ (f(ε_in) ⊙ x) + b_σ),   f(ε) = sgn(ε) √|ε|

which is equation 9 with the noise of equations 10 and 11 multiplied out: rows of a batch may have noise of
their own without a matrix each.

Differs from the paper: means W begin orthogonal, as all weights here do, and b at zero; there both are
uniform within ±1/√inputs.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Noisy(nn.Module):
    """A network whose weights are noisy where `forward` is given noise, and are their means where not.

    All layers but the first, which may be convolutions, have noise, which starts with `sigma` / √inputs.
    """

    def __init__(self, net: nn.Sequential, sigma: float) -> None:
        super().__init__()
        self.net = net
        _, *rest = in_turn(net)
        linear = [layer for layer in rest if isinstance(layer, nn.Linear)]
        self.sigmas = nn.ModuleList()
        for layer in linear:
            spread = nn.Linear(layer.in_features, layer.out_features)
            for parameter in spread.parameters():
                nn.init.constant_(parameter, sigma / math.sqrt(layer.in_features))
            self.sigmas.append(spread)
        self.sizes = [size for layer in linear for size in (layer.in_features, layer.out_features)]

    def noise(self, *shape: int, generator: torch.Generator) -> Float[Tensor, "*shape M"]:
        """Standard normal noise for the inputs and outputs of all layers but the first."""
        return torch.randn(*shape, sum(self.sizes), generator=generator, device=generator.device)

    def forward(
        self, x: Float[Tensor, "B I"], noise: Float[Tensor, "B M"] | None = None
    ) -> Float[Tensor, "B outputs"]:
        """Every row of the batch has noise of its own."""
        if noise is None:
            return self.net(x)
        parts = iter((noise.sign() * noise.abs().sqrt()).split(self.sizes, -1))
        sigmas, (first, *rest) = iter(self.sigmas), in_turn(self.net)
        x = first(x)
        for layer in rest:
            if isinstance(layer, nn.Linear):
                x = layer(x) + next(sigmas)(next(parts) * x) * next(parts)
            else:
                x = layer(x)
        return x


def in_turn(net: nn.Sequential) -> Iterator[nn.Module]:
    """The layers of a network, those of a perceptron in it one by one."""
    for layer in net:
        if isinstance(layer, nn.Sequential):
            yield from layer
        else:
            yield layer
