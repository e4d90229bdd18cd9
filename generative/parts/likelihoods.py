"""−log p(x|z) of rows of numbers, of brightness, and of columns that take few values."""

import math
from typing import Literal

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn import functional as F

from generative.parts.rows import Form, Scale
from training.errors import InputError

Likelihood = Literal["gaussian", "bernoulli", "categorical", "mixed"]
FEW = 20  # whole values a column may take to be a choice among mixed ones
MANY = 256  # values a column may take at all to be a choice
UNSEEN = 20.0  # nats for a value that no row had which was learned from


def gaussian_nll(
    x: Float[Tensor, "*B D"], x_hat: Float[Tensor, "*B D"], log_sigma: Float[Tensor, " D"]
) -> Float[Tensor, "*B"]:
    """−log N(x; x̂, σ²), summed over columns, in nats."""
    z = (x - x_hat) * (-log_sigma).exp()
    return (0.5 * z.square() + log_sigma + 0.5 * math.log(2 * math.pi)).sum(-1)


def bernoulli_nll(x: Float[Tensor, "*B D"], logits: Float[Tensor, "*B D"]) -> Float[Tensor, "*B"]:
    """−log Bernoulli(x; sigmoid(logits)), summed over columns, in nats; x lies in 0 .. 1."""
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


def categorical_nll(x: Float[Tensor, "*B K"], logits: Float[Tensor, "*B K"]) -> Float[Tensor, "*B"]:
    """−log softmax(logits)[x], x being one-hot, in nats; `UNSEEN` where x is all zeros."""
    return UNSEEN * (1 - x.sum(-1)) - (x * logits.log_softmax(-1)).sum(-1)


def values_of(x: Num[Tensor, "rows D"], all_of_them: bool) -> tuple[tuple[float, ...], ...]:
    """The values of each column that is a choice, () for numbers.

    A choice has few values, all whole; with `all_of_them` every column is one.

    Raises:
        InputError: when a column that must be a choice takes more values than choices have.
    """
    found: list[tuple[float, ...]] = []
    for place, column in enumerate(x.T):
        values = column.double().unique()
        if all_of_them and len(values) > MANY:
            raise InputError(
                f"column {place} takes {len(values)} values, expected at most {MANY} of a categorical column"
            )
        few = len(values) <= FEW and bool((values == values.round()).all())
        found.append(tuple(values.tolist()) if all_of_them or few else ())
    return tuple(found)


class Mixed(nn.Module):
    """Columns of numbers and choices: choices become one-hot, in their places; numbers are scaled."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.widths = [max(1, len(values)) for values in form.values]
        self.choices = [len(values) > 0 for values in form.values]
        self.values = [torch.tensor(values, dtype=torch.float64) for values in form.values]

    @property
    def columns(self) -> int:
        """How many columns the networks see."""
        return sum(self.widths)

    def scaled(self, x: Num[Tensor, "B D"], scale: Scale) -> Float[Tensor, "B E"]:
        """Rows as the networks see them; a value that was never seen is none of the choices."""
        raw, numbers = x.cpu().double(), scale(x)
        parts = [
            (raw[:, i, None] == self.values[i]).float() if self.choices[i] else numbers[:, i, None]
            for i in range(len(self.widths))
        ]
        return torch.cat(parts, 1)

    def back(self, out: Float[Tensor, "B E"], scale: Scale) -> Float[Tensor, "B D"]:
        """Rows in the data's units: the likeliest choices, the means of numbers."""
        parts = out.cpu().split(self.widths, -1)
        numbers = scale.back(torch.stack([part[:, 0] for part in parts], 1))
        columns = [
            self.values[i][part.argmax(-1)] if self.choices[i] else numbers[:, i]
            for i, part in enumerate(parts)
        ]
        return torch.stack(columns, 1)

    def nll(
        self, x: Float[Tensor, "*B E"], out: Float[Tensor, "*B E"], log_sigma: Float[Tensor, " D"]
    ) -> Float[Tensor, "*B"]:
        """Summed over columns, in nats."""
        rows, guesses = x.split(self.widths, -1), out.split(self.widths, -1)
        total = torch.zeros(out.shape[:-1], device=out.device)
        for i, (row, guess) in enumerate(zip(rows, guesses, strict=True)):
            if self.choices[i]:
                total = total + categorical_nll(row.expand_as(guess), guess)
            else:
                total = total + gaussian_nll(row, guess, log_sigma[i : i + 1])
        return total
