"""Networks from one small builder: perceptrons, convolutions, recurrent layers.

A hidden layer is: linear map · normalisation · activation · dropout. Weights start with the gain of the
activation that follows them, so that what flows through keeps its size; biases start at zero.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from training.affine import Linear
from training.config import check_share
from training.tanh import Tanh

Activation = Literal["relu", "leaky_relu", "tanh", "sigmoid", "silu"]
Init = Literal["orthogonal", "he", "xavier"]
Pool = Literal["none", "max", "average"]
Cell = Literal["lstm", "gru"]

LEAK = 0.2  # slope of the leaky ReLU below zero, as in DCGAN (Radford et al., 2016, arXiv:1511.06434)


@dataclass(frozen=True, kw_only=True)
class LayerConfig:
    """What stands in a hidden layer beside its weights and its activation."""

    norm: Literal["none", "batch", "layer", "spectral"] = "none"  # normalisation in hidden layers
    dropout: float = 0.0  # share of hidden units left out of an update
    init: Init = "orthogonal"  # how weights start

    def __post_init__(self) -> None:
        check_share(self, "dropout")


PLAIN = LayerConfig()


def activate(activation: Activation) -> nn.Module:
    """A layer that applies the activation."""
    return nn.LeakyReLU(LEAK) if activation == "leaky_relu" else _LAYERS[activation]()


_LAYERS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": Tanh,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
}

ACTIVATIONS = (*_LAYERS.values(), nn.LeakyReLU)

_GAINS = {
    "relu": math.sqrt(2.0),
    "leaky_relu": math.sqrt(2.0 / (1.0 + LEAK**2)),
    "tanh": 5.0 / 3.0,
    "sigmoid": 1.0,
    "silu": math.sqrt(2.0),
}


def initialise(weight: Tensor, gain: float, init: Init = "orthogonal") -> None:
    """Fills a weight (outputs, inputs, ...) so that its outputs have `gain` times the size of its inputs.

    orthogonal: Saxe et al., 2014 (arXiv:1312.6120); he: normal, over the inputs (He et al., 2015,
    arXiv:1502.01852); xavier: uniform, over inputs and outputs (Glorot and Bengio, 2010).
    """
    if init == "orthogonal":
        nn.init.orthogonal_(weight, gain)
    elif init == "he":
        fan_in = weight[0].numel()
        nn.init.normal_(weight, std=gain / math.sqrt(fan_in))
    else:
        nn.init.xavier_uniform_(weight, gain)


def mlp(
    inputs: int,
    hidden: tuple[int, ...],
    outputs: int,
    activation: Activation,
    output_gain: float = 1.0,
    layer: LayerConfig = PLAIN,
) -> nn.Sequential:
    """A perceptron (B, inputs) -> (B, outputs) with the given hidden sizes, linear at its end.

    `output_gain` scales the last layer: small for a policy that should start undecided. Spectral
    normalisation divides every weight, the last one's too, by its largest singular value.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise((inputs, *hidden)):
        linear = _linear(before, after, _GAINS[activation], layer.init)
        layers += _hidden(linear, activation, layer)
    last = _linear((inputs, *hidden)[-1], outputs, output_gain, layer.init)
    return nn.Sequential(*layers, spectral_norm(last) if layer.norm == "spectral" else last)


def cnn(
    channels: int,
    sizes: tuple[int, ...],
    activation: Activation,
    *,
    kernels: tuple[int, ...],
    strides: tuple[int, ...],
    pool: Pool = "none",
    layer: LayerConfig = PLAIN,
) -> nn.Sequential:
    """Convolutions (B, channels, H, W) -> (B, F), flattened; F follows from the picture's size.

    One layer for each of `sizes`, the channels after it. Borders are padded by half the kernel, so that a
    stride of 1 keeps the size; `pool` halves it after each layer. Layer normalisation is over channels and
    places, as one group (Wu and He, 2018, arXiv:1803.08494).
    """
    layers: list[nn.Module] = []
    for (before, after), kernel, stride in zip(pairwise((channels, *sizes)), kernels, strides, strict=True):
        convolution = nn.Conv2d(before, after, kernel, stride, padding=(kernel - 1) // 2)
        initialise(convolution.weight, _GAINS[activation], layer.init)
        assert convolution.bias is not None
        nn.init.zeros_(convolution.bias)
        layers += _hidden(convolution, activation, layer)
        if pool != "none":
            layers.append(nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2))
    return nn.Sequential(*layers, nn.Flatten())


def recurrent(cell: Cell, inputs: int, hidden: int) -> nn.LSTM | nn.GRU:
    """A recurrent layer over sequences (T, B, inputs) -> (T, B, hidden).

    Weights start orthogonal gate by gate, biases at zero but for an LSTM's forget gates, which start open
    (Jozefowicz et al., 2015).
    """
    layer = nn.LSTM(inputs, hidden) if cell == "lstm" else nn.GRU(inputs, hidden)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("weight"):
                for gate in parameter.split(hidden):
                    nn.init.orthogonal_(gate)
            else:
                nn.init.zeros_(parameter)
        if cell == "lstm":  # torch orders the gates input, forget, cell, output
            layer.get_parameter("bias_ih_l0")[hidden : 2 * hidden] = 1.0
    return layer


@runtime_checkable
class HasModes(Protocol):
    """What behaves otherwise while it is trained, as modules do."""

    training: bool

    def train(self, mode: bool) -> Any: ...


@contextmanager
def evaluating(model: HasModes) -> Iterator[None]:
    """The model in evaluation mode: no dropout, batch normalisation by its running statistics."""
    before = model.training
    model.train(False)
    try:
        yield
    finally:
        model.train(before)


class Twins(nn.Module):
    """Two perceptrons that read the same input: (*N, inputs) -> (2, *N, outputs).

    Each layer of both is one batched product: an update of small nets spends its time on calls, and this
    halves them (two of 64-64, a whole PPO update on 256 rows: 0.72 ms instead of 0.90).
    """

    def __init__(
        self,
        inputs: int,
        hidden: tuple[int, ...],
        outputs: int,
        activation: Activation,
        output_gains: tuple[float, float],
    ) -> None:
        super().__init__()
        self.activations = nn.ModuleList(activate(activation) for _ in hidden)
        shapes = list(pairwise((inputs, *hidden, outputs)))
        self.weights = nn.ParameterList([nn.Parameter(torch.empty(2, *shape)) for shape in shapes])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(2, 1, size)) for _, size in shapes])
        for layer, weight in enumerate(self.weights):
            gains = output_gains if layer == len(hidden) else (_GAINS[activation],) * 2
            for one, gain in zip(weight, gains, strict=True):
                nn.init.orthogonal_(one, gain)

    def forward(self, x: Float[Tensor, "*N I"]) -> Float[Tensor, "2 *N outputs"]:
        h = x.reshape(1, -1, x.shape[-1]).expand(2, -1, -1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, self.activations[layer - 1](h) if layer else h, weight)
        return h.unflatten(1, x.shape[:-1])


def _linear(inputs: int, outputs: int, gain: float, init: Init) -> nn.Linear:
    layer = Linear(inputs, outputs)
    initialise(layer.weight, gain, init)
    nn.init.zeros_(layer.bias)
    return layer


def _hidden(weights: nn.Linear | nn.Conv2d, activation: Activation, layer: LayerConfig) -> list[nn.Module]:
    """What one hidden layer is made of."""
    parts: list[nn.Module] = [spectral_norm(weights) if layer.norm == "spectral" else weights]
    if layer.norm in ("batch", "layer"):
        parts.append(_normalisation(weights, layer.norm))
    parts.append(activate(activation))
    return [*parts, nn.Dropout(layer.dropout)] if layer.dropout else parts


def _normalisation(weights: nn.Linear | nn.Conv2d, norm: str) -> nn.Module:
    if isinstance(weights, nn.Linear):
        return {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}[norm](weights.out_features)
    channels = weights.out_channels
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(1, channels)
