"""Networks that see: the convolutions of Mnih et al., 2015 (doi:10.1038/nature14236, methods)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from envs import Spaces
from training.errors import InputError
from training.networks import PLAIN, Activation, LayerConfig, initialise, mlp

LAYERS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # channels, kernel and stride of the convolutions
LEAST = 36  # pixels of a side that leave something to see


class Convolutions(nn.Module):
    """What is seen in pictures whose bytes are rows of numbers: (*N, C·H·W) -> (*N, features)."""

    def __init__(self, picture: tuple[int, ...]) -> None:
        super().__init__()
        if min(picture[1:]) < LEAST:
            raise InputError(f"pictures are {picture}, expected {LEAST} pixels a side or more")
        self.picture, layers, channels = picture, [], picture[0]
        for size, kernel, stride in LAYERS:
            layer = nn.Conv2d(channels, size, kernel, stride)
            initialise(layer.weight, math.sqrt(2.0))
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
            layers += [layer, nn.ReLU()]
            channels = size
        self.net = nn.Sequential(*layers, nn.Flatten())
        self.features = self.net(torch.zeros(1, *picture)).shape[1]

    def forward(self, x: Float[Tensor, "*N O"]) -> Float[Tensor, "*N features"]:
        return self.net(x.reshape(-1, *self.picture) / 255).unflatten(0, x.shape[:-1])


def body(
    spaces: Spaces,
    hidden: tuple[int, ...],
    outputs: int,
    activation: Activation,
    output_gain: float = 1.0,
    layer: LayerConfig = PLAIN,
) -> nn.Sequential:
    """A perceptron on what is observed, or on what convolutions see in it: (*N, O) -> (*N, outputs)."""
    if not spaces.picture:
        return mlp(spaces.obs, hidden, outputs, activation, output_gain, layer)
    eyes = Convolutions(spaces.picture)
    return nn.Sequential(eyes, mlp(eyes.features, hidden, outputs, activation, output_gain, layer))
