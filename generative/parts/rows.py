"""What every model of rows needs: their form, a scale for columns, and batches in a random order."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Num, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from training.errors import InputError
from training.seeds import torch_generator


@dataclass(frozen=True)
class Form:
    """What a model must know of rows before it has seen any; models carry it as the buffer `form`."""

    columns: int
    shape: tuple[int, ...] = ()  # (C, H, W) of a picture, (T, D) of a sequence, () of a row of a table
    classes: int = 0  # labels are 0 .. classes − 1
    values: tuple[tuple[float, ...], ...] = ()  # what each column may be, () if any number; none: all numbers

    def pack(self) -> UInt8[Tensor, " bytes"]:
        """The form as bytes, to be saved with the weights."""
        return torch.frombuffer(bytearray(json.dumps(asdict(self)).encode()), dtype=torch.uint8)

    @staticmethod
    def unpack(packed: UInt8[Tensor, " bytes"]) -> "Form":
        """The form that `pack` gave."""
        found = json.loads(bytes(packed.cpu().numpy()))
        values = tuple(tuple(column) for column in found["values"])
        return Form(found["columns"], tuple(found["shape"]), found["classes"], values)


def watched(rows: int, most: int) -> Int[Tensor, " n"]:
    """Numbers of at most so many of the rows, in their order, always the same ones.

    They are drawn: the first rows of a sorted file are all of one class.
    """
    drawn = torch.randperm(rows, generator=torch_generator(0, "watched"))[:most]
    return drawn.sort().values


def one_hot(y: Int[Tensor, " B"] | None, classes: int) -> Float[Tensor, "B classes"] | None:
    """Labels as vectors; None for a model without classes.

    Raises:
        InputError: when there are classes and no labels.
    """
    if not classes:
        return None
    if y is None:
        raise InputError("a conditional model was told no labels, expected one a row")
    return F.one_hot(y, classes).float()


def beside(x: Float[Tensor, "*B D"], *more: Float[Tensor, "*B _"] | None) -> Float[Tensor, "*B _"]:
    """x with more columns at its end; None adds none."""
    there = [extra.to(x.device) for extra in more if extra is not None]
    return torch.cat([x, *there], -1) if there else x


class Scale(nn.Module):
    """Column-wise (x − shift) / scale, learned from rows and saved with the model.

    Computed in float64 on the CPU, wherever the model is: float32 cannot tell 100,000,001 from 100,000,000,
    and some devices have no float64. What comes out is float32.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(columns, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(columns, dtype=torch.float64))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Scale":
        return self  # `model.to(device)` leaves it where it is

    def standardise(self, x: Num[Tensor, "B D"]) -> None:
        """Mean 0 and deviation 1 on the rows of x; a column of equal values is only shifted.

        Missing values (NaN) are left out; a column that has no others is left as it is.
        """
        x = x.double()
        there = ~x.isnan()
        count = there.sum(0).clamp(min=1)
        low, high = x.nan_to_num(torch.inf).amin(0), x.nan_to_num(-torch.inf).amax(0)
        mean = x.nan_to_num(0.0).sum(0) / count
        deviation = ((x - mean).nan_to_num(0.0).square().sum(0) / count).sqrt()
        constant = low >= high
        self.shift.copy_(torch.where(constant & there.any(0), low, mean))
        self.scale.copy_(torch.where(constant | (deviation < 1e-150), 1.0, deviation))

    def stretch(self, x: Num[Tensor, "B D"]) -> None:
        """0 to 1 on all of x: one shift and one scale for all columns, as brightness has."""
        low, high = x.min().double(), x.max().double()
        self.shift.fill_(low)
        self.scale.fill_(high - low if high > low else 1.0)

    def forward(self, x: Num[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return ((x.cpu().double() - self.shift) / self.scale).float()

    def back(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The inverse of forward, in float64."""
        return x.cpu().double() * self.scale + self.shift


@runtime_checkable
class Scaling(Protocol):
    """What a model that learns from rows has."""

    scale: Scale

    def scaled(self, x: Tensor) -> Tensor: ...


class Kept:
    """The rows to learn from, on their device: numbers scaled, bytes as they are until they are drawn."""

    def __init__(self, model: Scaling, x: Num[Tensor, "rows D"], device: torch.device) -> None:
        self.bytes = x.dtype == torch.uint8
        self.rows = (x if self.bytes else model.scaled(x)).to(device)
        scale = model.scale
        self.shift, self.scale = (t.to(torch.float32).to(device) for t in (scale.shift, scale.scale))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Int[Tensor, " B"]) -> Float[Tensor, "B D"]:
        rows = self.rows.index_select(0, index)
        return (rows - self.shift) / self.scale if self.bytes else rows


class Order:
    """Row numbers in random order, pass after pass; the rest of a pass too short for a batch is dropped."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.left = torch.empty(0, dtype=torch.int64, device=generator.device)

    def state_dict(self) -> dict[str, Tensor]:
        """What is left of this pass, and the generator."""
        return {"left": self.left, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Puts back what `state_dict` gave."""
        self.left = state["left"].to(self.generator.device)
        self.generator.set_state(state["generator"].cpu())

    def draw(self, rows: int, batch: int) -> Int[Tensor, " B"]:
        """The next `batch` row numbers, or all of them when there are no more than that."""
        if len(self.left) < min(batch, rows):
            self.left = torch.randperm(rows, generator=self.generator, device=self.generator.device)
        index, self.left = self.left[:batch], self.left[batch:]
        return index
