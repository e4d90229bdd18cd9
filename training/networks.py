"""Multilayer perceptrons, the networks of small observations and of tables."""

import math
from itertools import pairwise
from typing import Literal

from torch import nn

Activation = Literal["relu", "tanh", "silu"]

_LAYERS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}
_GAINS = {"relu": math.sqrt(2.0), "tanh": 5.0 / 3.0, "silu": math.sqrt(2.0)}


def mlp(
    inputs: int, hidden: tuple[int, ...], outputs: int, activation: Activation, output_gain: float = 1.0
) -> nn.Sequential:
    """A perceptron (B, inputs) -> (B, outputs) with the given hidden sizes, linear at its end.

    Weights start orthogonal with the activation's gain (Saxe et al., 2014, arXiv:1312.6120), biases at zero;
    `output_gain` scales the last layer: small for a policy that should start undecided.
    """
    sizes = (inputs, *hidden)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [_linear(before, after, _GAINS[activation]), _LAYERS[activation]()]
    return nn.Sequential(*layers, _linear(sizes[-1], outputs, output_gain))


def _linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer
