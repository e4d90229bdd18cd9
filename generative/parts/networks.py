"""Encoders and decoders of rows, pictures and sequences: all take and give rows of numbers.

What stands beyond the columns of the data, such as a label, joins it: dense networks see it as more columns,
the others where they have become vectors.
"""

from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from generative.parts.rows import Form
from training.errors import InputError
from training.networks import Activation, mlp

Network = Literal["dense", "conv", "lstm"]

_LAYERS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}
AXES = {"conv": (3, "pictures"), "lstm": (2, "sequences: arrays of (rows, time, columns)")}


def check_form(network: Network, form: Form) -> None:
    """Raises InputError when rows have not the shape that the network needs."""
    axes, what = AXES.get(network, (len(form.shape), ""))
    if len(form.shape) != axes:
        found = " × ".join(map(str, form.shape)) if form.shape else f"{form.columns} columns"
        raise InputError(f"a row is {found}, the network {network!r} expects {what}")


def encoder(
    network: Network,
    form: Form,
    outputs: int,
    *,
    hidden: tuple[int, ...],
    width: int,
    activation: Activation,
    extra: int = 0,
) -> nn.Module:
    """A network (B, columns + extra) -> (B, outputs)."""
    check_form(network, form)
    if network == "dense":
        return mlp(form.columns + extra, hidden, outputs, activation)
    if network == "lstm":
        return SequenceEncoder(form.shape[0], form.shape[1], hidden[0], outputs, extra)
    return PictureEncoder(form.shape, width, outputs, _LAYERS[activation](), extra)


def decoder(
    network: Network,
    form: Form,
    inputs: int,
    *,
    hidden: tuple[int, ...],
    width: int,
    activation: Activation,
    outputs: int | None = None,
) -> nn.Module:
    """A network (B, inputs) -> (B, columns); the dense one mirrors its encoder and may give more outputs."""
    check_form(network, form)
    if network == "dense":
        return mlp(inputs, hidden[::-1], outputs or form.columns, activation)
    if network == "lstm":
        return SequenceDecoder(form.shape[0], form.shape[1], hidden[0], inputs)
    return PictureDecoder(form.shape, width, inputs, _LAYERS[activation]())


def sizes(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Heights and widths of a picture as it is halved until its smaller side is 7 or less."""
    found = [(shape[1], shape[2])]
    while min(found[-1]) > 7:
        found.append((found[-1][0] // 2, found[-1][1] // 2))
    return found


class PictureEncoder(nn.Module):
    """Convolutions (Radford et al., 2016, arXiv:1511.06434) that halve a picture and widen it, then a line."""

    def __init__(
        self, shape: tuple[int, ...], width: int, outputs: int, activation: nn.Module, extra: int = 0
    ) -> None:
        super().__init__()
        self.shape = shape
        channels, places = shape[0], sizes(shape)
        self.body = nn.Sequential()
        if len(places) == 1:  # too small to be halved
            self.body.extend([nn.Conv2d(channels, width, 3, padding=1), activation])
            channels = width
        for layer in range(len(places) - 1):
            wider = width * 2 ** min(layer, 3)
            self.body.extend([nn.Conv2d(channels, wider, 4, 2, 1), activation])
            channels = wider
        self.features = channels * places[-1][0] * places[-1][1]
        self.head = nn.Linear(self.features + extra, outputs)

    def forward(self, x: Float[Tensor, "B _"]) -> Float[Tensor, "B outputs"]:
        columns = self.shape[0] * self.shape[1] * self.shape[2]
        h = self.body(x[:, :columns].unflatten(1, self.shape)).flatten(1)
        return self.head(torch.cat([h, x[:, columns:]], 1))


class PictureDecoder(nn.Module):
    """The way back: a line, then transposed convolutions that double; `norm` puts batch norm between them."""

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        inputs: int,
        activation: nn.Module,
        norm: bool = False,
    ) -> None:
        super().__init__()
        places = sizes(shape)[::-1]
        widths = [width * 2 ** min(layer, 3) for layer in range(max(1, len(places) - 1))][::-1]
        self.start = (widths[0], *places[0])
        self.head = nn.Linear(inputs, widths[0] * places[0][0] * places[0][1])
        self.body = nn.Sequential(*([nn.BatchNorm2d(widths[0])] if norm else []), activation)
        for layer, (small, large) in enumerate(pairwise(places)):
            last = layer == len(places) - 2
            after = shape[0] if last else widths[layer + 1]
            odd = (large[0] - 2 * small[0], large[1] - 2 * small[1])
            self.body.append(nn.ConvTranspose2d(widths[layer], after, 4, 2, 1, odd))
            if not last:
                self.body.extend([*([nn.BatchNorm2d(after)] if norm else []), activation])
        if len(places) == 1:
            self.body.append(nn.Conv2d(widths[0], shape[0], 3, padding=1))

    def forward(self, z: Float[Tensor, "B inputs"]) -> Float[Tensor, "B D"]:
        return self.body(self.head(z).unflatten(1, self.start)).flatten(1)


class SequenceEncoder(nn.Module):
    """An LSTM reads a sequence; a line reads its last state (Srivastava et al., 2015, arXiv:1502.04681)."""

    def __init__(self, length: int, columns: int, hidden: int, outputs: int, extra: int = 0) -> None:
        super().__init__()
        self.length, self.columns = length, columns
        self.body = nn.LSTM(columns, hidden, batch_first=True)
        self.head = nn.Linear(hidden + extra, outputs)

    def forward(self, x: Float[Tensor, "B _"]) -> Float[Tensor, "B outputs"]:
        end = self.length * self.columns
        _, (state, _) = self.body(x[:, :end].unflatten(1, (self.length, self.columns)))
        return self.head(torch.cat([state[0], x[:, end:]], 1))


class SequenceDecoder(nn.Module):
    """An LSTM that sees z at every step tells the sequence, so that no step needs the truth before it."""

    def __init__(self, length: int, columns: int, hidden: int, inputs: int) -> None:
        super().__init__()
        self.length = length
        self.body = nn.LSTM(inputs, hidden, batch_first=True)
        self.head = nn.Linear(hidden, columns)

    def forward(self, z: Float[Tensor, "B inputs"]) -> Float[Tensor, "B D"]:
        states, _ = self.body(z[:, None].expand(-1, self.length, -1))
        return self.head(states).flatten(1)
