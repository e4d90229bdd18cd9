"""Encoders and decoders of rows, pictures and sequences: all take and give rows of numbers.

What stands beyond the columns of the data, such as a label, joins it: dense networks see it as more columns,
the others where they have become vectors.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from generative.parts.rows import Form
from training.affine import Linear
from training.errors import InputError
from training.networks import PLAIN, Activation, LayerConfig, activate, cnn, mlp, recurrent

Network = Literal["dense", "conv", "lstm"]

SEQUENCES = "sequences: arrays of (rows, time, columns)"
AXES = {"conv": ((3, 2), f"pictures, or {SEQUENCES}"), "lstm": ((2,), SEQUENCES)}
SHORTEST = 7  # sides of a picture, and instants of a sequence, that are not halved any more


def check_form(network: Network, form: Form) -> None:
    """Raises InputError when rows have not the shape that the network needs."""
    axes, what = AXES.get(network, ((len(form.shape),), ""))
    if len(form.shape) not in axes:
        found = " × ".join(map(str, form.shape)) if form.shape else f"{form.columns} columns"
        raise InputError(f"a row is {found}, the network {network!r} expects {what}")


@dataclass(frozen=True)
class Plan:
    """What an encoder and its decoder are made of."""

    network: Network
    hidden: tuple[int, ...]  # of the dense encoder, which the decoder mirrors; the first is an LSTM's size
    width: int  # channels of the first convolution
    activation: Activation
    layer: LayerConfig = PLAIN

    def __post_init__(self) -> None:
        if self.network == "lstm" and not self.hidden:
            raise InputError("hidden is none, expected the size of the lstm")
        if self.network == "lstm" and (self.layer.norm != "none" or self.layer.dropout):
            raise InputError(
                f"norm is {self.layer.norm} and dropout {self.layer.dropout}, an lstm expects none and 0"
            )
        if self.network == "conv" and self.layer.norm == "spectral":
            raise InputError("norm is spectral, the network 'conv' expects none, batch or layer")


def encoder(plan: Plan, form: Form, outputs: int, extra: int = 0) -> nn.Module:
    """A network (B, columns + extra) -> (B, outputs)."""
    check_form(plan.network, form)
    if plan.network == "dense":
        return mlp(form.columns + extra, plan.hidden, outputs, plan.activation, layer=plan.layer)
    if plan.network == "lstm":
        return SequenceEncoder(form.shape[0], form.shape[1], plan.hidden[0], outputs, extra)
    if len(form.shape) == 2:
        _check_plain(plan)
        return SignalEncoder(form.shape[0], form.shape[1], plan.width, outputs, plan.activation, extra)
    return PictureEncoder(form.shape, plan.width, outputs, plan.activation, plan.layer, extra)


def decoder(plan: Plan, form: Form, inputs: int) -> nn.Module:
    """A network (B, inputs) -> (B, columns); the dense one mirrors its encoder."""
    check_form(plan.network, form)
    if plan.network == "dense":
        return mlp(inputs, plan.hidden[::-1], form.columns, plan.activation, layer=plan.layer)
    if plan.network == "lstm":
        return SequenceDecoder(form.shape[0], form.shape[1], plan.hidden[0], inputs)
    if len(form.shape) == 2:
        _check_plain(plan)
        return SignalDecoder(form.shape[0], form.shape[1], plan.width, inputs, plan.activation)
    return PictureDecoder(form.shape, plan.width, inputs, plan.activation, plan.layer)


def _check_plain(plan: Plan) -> None:
    if plan.layer.norm != "none" or plan.layer.dropout:
        raise InputError(
            f"norm is {plan.layer.norm} and dropout {plan.layer.dropout},"
            " convolutions of sequences expect none and 0"
        )


def sizes(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Heights and widths of a picture as it is halved until its smaller side is SHORTEST or less."""
    found = [(shape[1], shape[2])]
    while min(found[-1]) > SHORTEST:
        found.append((found[-1][0] // 2, found[-1][1] // 2))
    return found


def widths(shape: tuple[int, ...], width: int) -> tuple[int, ...]:
    """Channels after each convolution that halves the picture; one for a picture too small to be halved."""
    return tuple(width * 2 ** min(layer, 3) for layer in range(max(1, len(sizes(shape)) - 1)))


class PictureEncoder(nn.Module):
    """Convolutions that halve and widen a picture, then a linear layer (Radford et al., arXiv:1511.06434)."""

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        outputs: int,
        activation: Activation,
        layer: LayerConfig = PLAIN,
        extra: int = 0,
    ) -> None:
        super().__init__()
        self.columns = math.prod(shape)
        channels, end = widths(shape, width), sizes(shape)[-1]
        halved = len(sizes(shape)) > 1
        kernels, strides = ((4,), (2,)) if halved else ((3,), (1,))
        n = len(channels)
        body = cnn(shape[0], channels, activation, kernels=kernels * n, strides=strides * n, layer=layer)
        self.reader = nn.Sequential(nn.Unflatten(1, shape), body)  # what the convolutions find in pictures
        features = channels[-1] * end[0] * end[1]
        head = Linear(features + extra, outputs)
        self.head = spectral_norm(head) if layer.norm == "spectral" else head

    def forward(self, x: Float[Tensor, "B _"]) -> Float[Tensor, "B outputs"]:
        return self.head(torch.cat([self.reader(x[:, : self.columns]), x[:, self.columns :]], 1))


class PictureDecoder(nn.Module):
    """The way back: a linear layer, then transposed convolutions that double."""

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        inputs: int,
        activation: Activation,
        layer: LayerConfig = PLAIN,
    ) -> None:
        super().__init__()
        places, channels = sizes(shape)[::-1], widths(shape, width)[::-1]
        self.start = (channels[0], *places[0])
        self.head = Linear(inputs, math.prod(self.start))
        self.body = nn.Sequential(*_hidden(channels[0], activation, layer))
        for (small, large), before, after in zip(
            pairwise(places), channels, (*channels[1:], shape[0]), strict=False
        ):
            odd = (large[0] - 2 * small[0], large[1] - 2 * small[1])
            self.body.append(nn.ConvTranspose2d(before, after, 4, 2, 1, odd))
            if large != places[-1]:
                self.body.extend(_hidden(after, activation, layer))
        if len(places) == 1:
            self.body.append(nn.Conv2d(channels[0], shape[0], 3, padding=1))

    def forward(self, z: Float[Tensor, "B inputs"]) -> Float[Tensor, "B D"]:
        return self.body(self.head(z).unflatten(1, self.start)).flatten(1)


def _hidden(channels: int, activation: Activation, layer: LayerConfig) -> list[nn.Module]:
    """What follows a decoder's convolution; spectral normalisation is the critics' alone."""
    parts: list[nn.Module] = []
    if layer.norm in ("batch", "layer"):
        parts.append(nn.BatchNorm2d(channels) if layer.norm == "batch" else nn.GroupNorm(1, channels))
    parts.append(activate(activation))
    return [*parts, nn.Dropout(layer.dropout)] if layer.dropout else parts


class SequenceEncoder(nn.Module):
    """An LSTM reads a sequence, a linear layer its last state (Srivastava et al., 2015, arXiv:1502.04681)."""

    def __init__(self, length: int, columns: int, hidden: int, outputs: int, extra: int = 0) -> None:
        super().__init__()
        self.length, self.columns = length, columns
        self.body = recurrent("lstm", columns, hidden)
        self.head = Linear(hidden + extra, outputs)

    def forward(self, x: Float[Tensor, "B _"]) -> Float[Tensor, "B outputs"]:
        end = self.length * self.columns
        _, (state, _) = self.body(x[:, :end].unflatten(1, (self.length, self.columns)).transpose(0, 1))
        return self.head(torch.cat([state[0], x[:, end:]], 1))


class SequenceDecoder(nn.Module):
    """An LSTM that sees z at every step tells the sequence, so that no step needs the truth before it."""

    def __init__(self, length: int, columns: int, hidden: int, inputs: int) -> None:
        super().__init__()
        self.length = length
        self.body = recurrent("lstm", inputs, hidden)
        self.head = Linear(hidden, columns)

    def forward(self, z: Float[Tensor, "B inputs"]) -> Float[Tensor, "B D"]:
        states, _ = self.body(z.expand(self.length, -1, -1))
        return self.head(states).transpose(0, 1).flatten(1)


def lengths(length: int) -> list[int]:
    """Instants of a sequence as it is halved until they are SHORTEST or less."""
    found = [length]
    while found[-1] > SHORTEST:
        found.append(found[-1] // 2)
    return found


class SignalEncoder(nn.Module):
    """Convolutions along time that halve a sequence and widen it, then a linear layer."""

    def __init__(
        self, length: int, columns: int, width: int, outputs: int, activation: Activation, extra: int = 0
    ) -> None:
        super().__init__()
        self.length, self.columns = length, columns
        times = lengths(length)
        channels = [width * 2 ** min(layer, 3) for layer in range(max(1, len(times) - 1))]
        kernel, stride = (4, 2) if len(times) > 1 else (3, 1)
        layers: list[nn.Module] = []
        for before, after in pairwise((columns, *channels)):
            layers += [nn.Conv1d(before, after, kernel, stride, padding=1), activate(activation)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = Linear(channels[-1] * times[-1] + extra, outputs)

    def forward(self, x: Float[Tensor, "B _"]) -> Float[Tensor, "B outputs"]:
        end = self.length * self.columns
        signal = x[:, :end].unflatten(1, (self.length, self.columns)).transpose(1, 2)
        return self.head(torch.cat([self.body(signal), x[:, end:]], 1))


class SignalDecoder(nn.Module):
    """The way back: a linear layer, then transposed convolutions that double."""

    def __init__(self, length: int, columns: int, width: int, inputs: int, activation: Activation) -> None:
        super().__init__()
        times = lengths(length)[::-1]
        channels = [width * 2 ** min(layer, 3) for layer in range(max(1, len(times) - 1))][::-1]
        self.start = (channels[0], times[0])
        self.head = Linear(inputs, math.prod(self.start))
        self.body = nn.Sequential(activate(activation))
        for (short, long), before, after in zip(
            pairwise(times), channels, (*channels[1:], columns), strict=False
        ):
            self.body.append(nn.ConvTranspose1d(before, after, 4, 2, 1, long - 2 * short))
            if long != length:
                self.body.append(activate(activation))
        if len(times) == 1:
            self.body.append(nn.Conv1d(channels[0], columns, 3, padding=1))

    def forward(self, z: Float[Tensor, "B inputs"]) -> Float[Tensor, "B D"]:
        return self.body(self.head(z).unflatten(1, self.start)).transpose(1, 2).flatten(1)
