"""Several perceptrons of one shape, one for each fold of the rows, learned and run together.

Rows fall into K folds; net k learns from the rows outside of fold k, so that each row has one net that did
not see it: its own score is out of fold. A new row's score is the mean over the nets.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from training.affine import affine
from training.optim import Adam
from training.schedules import cosine

FOLDS = 4
HIDDEN = (96, 96, 96)
FEWEST, MOST = 300, 1_500  # updates; between them one for each row: small tables are soon memorised
DRAWN = 65_536  # numbers drawn at once: what fits into the cache
MANY = 256  # rows that nets are asked about one net after the other
WARM_UP = 0.1  # of the updates: the learning rate rises
DECAY = 0.01  # of the weights


class Nets(nn.Module):
    """K perceptrons of SiLU units: (K, B, inputs) -> (K, B, outputs)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        generator: torch.Generator,
        count: int = FOLDS,
        hidden: tuple[int, ...] = HIDDEN,
    ) -> None:
        super().__init__()
        shapes = list(pairwise((inputs, *hidden, outputs)))
        self.weights = nn.ParameterList(
            [
                nn.Parameter(torch.randn(count, *shape, generator=generator) * math.sqrt(1.5 / shape[0]))
                for shape in shapes
            ]
        )
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(count, 1, size)) for _, size in shapes])

    @property
    def count(self) -> int:
        """K."""
        return len(self.weights[0])

    def first(self, count: int) -> "Nets":
        """The first so many of them."""
        few = Nets(1, 1, torch.Generator(), count)
        few.weights = nn.ParameterList([nn.Parameter(weight[:count].clone()) for weight in self.weights])
        few.biases = nn.ParameterList([nn.Parameter(bias[:count].clone()) for bias in self.biases])
        return few

    def forward(self, x: Float[Tensor, "K B I"]) -> Float[Tensor, "K B outputs"]:
        if x.shape[1] >= MANY:
            return torch.stack([self._alone(k, rows) for k, rows in enumerate(x)])
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, _bent(x) if layer else x, weight)
        return x

    def _alone(self, k: int, x: Float[Tensor, "B I"]) -> Float[Tensor, "B outputs"]:
        """What net k says: products of many rows are sooner made one by one than as a batch."""
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = affine(_bent(x) if layer else x, weight[k].T, bias[k, 0])
        return x


def _bent(x: Float[Tensor, "*B H"]) -> Float[Tensor, "*B H"]:
    return functional.silu(x, inplace=not x.requires_grad)


def updates(rows: int) -> int:
    """How many updates so many rows are worth."""
    return max(FEWEST, min(MOST, rows))


def ahead(numbers: int) -> int:
    """How many batches of so many numbers are drawn at once: calls cost more than what they draw."""
    return max(1, DRAWN // numbers)


def learn(nets: nn.Module, loss: Callable[[], Float[Tensor, ""]], steps: int, lr: float) -> None:
    """Minimises `loss`, which draws its batch of the rows anew at each call, in one cycle of the rate."""
    optimizer = Adam(nets.parameters(), lr, weight_decay=DECAY)
    for step in range(steps):
        done = step / steps
        rise = min(1.0, done / WARM_UP + 1 / steps)
        optimizer.lr = lr * rise * cosine(max(0.0, done - WARM_UP) / (1 - WARM_UP))
        optimizer.descend(loss(), max_norm=10.0)


def folds(rows: int, generator: torch.Generator) -> Int[Tensor, " B"]:
    """The fold of each row, as equal in size as can be."""
    return torch.randperm(rows, generator=generator) % FOLDS


def outside(fold: Int[Tensor, " B"]) -> Int[Tensor, "K N"]:
    """The rows that each net learns from; shorter lists begin again, to be as long as the longest."""
    lists = [torch.nonzero(fold != k)[:, 0] for k in range(FOLDS)]
    longest = max(map(len, lists))
    return torch.stack([one[torch.arange(longest) % len(one)] for one in lists])
