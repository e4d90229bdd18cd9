"""The memory: how far a row is from the rows it is nearest to, given how far those are from theirs.

    d(x) = mean distance to the K nearest remembered rows, features in units of their scale
    s(x) = log d(x)                                              `nearest`
    s(x) = log d(x) − λ · mean over these rows y of log d₋(y)    `memory`, d₋(y) leaving y itself out

The first term is the k-nearest-neighbour score (Ramaswamy et al., 2000, doi:10.1145/342009.335437), with the
mean of Angiulli and Pizzuti (2002, doi:10.1007/3-540-45681-3_2); the second is the local norm of LOF (Breunig
et al., 2000, doi:10.1145/335191.335388), a quarter of it. A remembered row is scored without itself.

The scale of a feature is its standard deviation for `nearest`. For `memory` it is that of the middle half, so
that a few far values do not make all others seem alike: IQR / 1.349, which is the deviation of a normal
distribution, but at most the deviation and at least NARROW times it. Where one value is frequent (COMMON),
the quartiles say little about the others, and the scale is the deviation.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from training.affine import affine
from training.seeds import torch_generator

NEIGHBOURS = 5
LOCAL = 0.25  # λ
ROWS = 10_000  # remembered at most
CHUNK = 128  # rows compared at once
GROUP = 16  # remembered rows whose nearest is found first
FLOOR = 0.05  # of the mean distance: what copies of remembered rows are taken to be apart
NARROW = 0.3  # of the deviation: the least scale
COMMON = 0.1  # the share of rows that have one value, from which on a feature's quartiles are not used
QUARTILES = 1.349  # between them, in deviations of a normal distribution


class Memory:
    """Remembered rows in units of their scale, how far each is from others, what is added to distances."""

    def __init__(
        self,
        rows: Float[Tensor, "M F"],
        scale: Float[Tensor, " F"],
        log_own: Float[Tensor, " M"],
        floor: float,
        local: float,
    ) -> None:
        self.rows, self.scale, self.log_own, self.floor, self.local = rows, scale, log_own, floor, local
        self._squares = Squares(rows)

    @staticmethod
    def fit(
        x: Float[Tensor, "B F"], owner: Int[Tensor, " F"], seed: int, plain: bool = False
    ) -> tuple["Memory", Float[Tensor, " n"]]:
        """The memory of rows, and the scores of its rows, each without itself.

        `owner` changes nothing here; `plain` is `nearest` of the module docstring.
        """
        return Memory.of_rows(x, scales(x, 1.0 if plain else NARROW), 0.0 if plain else LOCAL, seed)

    @staticmethod
    def of_rows(
        x: Float[Tensor, "B F"], scale: Float[Tensor, " F"], local: float, seed: int
    ) -> tuple["Memory", Float[Tensor, " n"]]:
        """The same with λ and units of one's own."""
        if len(x) > ROWS:
            x = x[torch.randperm(len(x), generator=torch_generator(seed, "memory"))[:ROWS]]
        memory = Memory((x / scale).float(), scale, torch.zeros(len(x)), 0.0, local)
        distance, nearest = memory._nearest(memory.rows, alone=True)
        memory.floor = max(FLOOR * float(distance.mean()), 1e-6)
        memory.log_own = (distance + memory.floor).log()
        return memory, memory._score(distance, nearest)

    def score(self, x: Float[Tensor, "B F"]) -> Float[Tensor, " B"]:
        """s of the module docstring."""
        return self._score(*self._nearest((x / self.scale).float()))

    def nearest(self, x: Float[Tensor, "B F"]) -> Int[Tensor, " B"]:
        """Which remembered row is nearest to each row."""
        return self._nearest((x / self.scale).float())[1][:, 0]

    def _score(self, distance: Float[Tensor, " B"], nearest: Int[Tensor, "B K"]) -> Float[Tensor, " B"]:
        return (distance + self.floor).log() - self.local * self.log_own[nearest].mean(1)

    def _nearest(
        self, x: Float[Tensor, "B F"], alone: bool = False
    ) -> tuple[Float[Tensor, " B"], Int[Tensor, "B K"]]:
        """Mean distance to the nearest remembered rows, and which they are; `alone`: x are those rows."""
        distances, indices = [], []
        for start in range(0, len(x), CHUNK):
            part = x[start : start + CHUNK]
            squares = self._squares(part)  # in the same order as the distances
            if alone:
                squares[torch.arange(len(part)), start + torch.arange(len(part))] = torch.inf
            _, index = _smallest(squares, min(NEIGHBOURS, max(1, len(self.rows) - alone)))
            distances.append((part[:, None] - self.rows[index]).square().sum(2).sqrt().mean(1))
            indices.append(index)
        return torch.cat(distances), torch.cat(indices)

    def arrays(self) -> dict[str, Tensor]:
        """What `of_arrays` needs."""
        numbers = torch.tensor([self.floor, self.local], dtype=torch.float64)
        return {"rows": self.rows, "scale": self.scale, "log_own": self.log_own, "numbers": numbers}

    @staticmethod
    def of_arrays(found: dict[str, Tensor]) -> "Memory":
        """Reads what `arrays` gave."""
        return Memory(found["rows"], found["scale"], found["log_own"], *found["numbers"].tolist())


class Squares:
    """|x − y|² − |x|² for all of the rows y by one matrix product: (B, F) -> (B, M)."""

    def __init__(self, rows: Float[Tensor, "M F"]) -> None:
        self.weight, self.bias = -2 * rows, rows.square().sum(1)

    def __call__(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B M"]:
        return affine(x, self.weight, self.bias)


def scales(x: Float[Tensor, "B F"], narrow: float) -> Float[Tensor, " F"]:
    """The unit of each feature, `narrow` times its deviation at least; 1 for one that does not vary."""
    deviation = x.std(0, correction=0)
    low, high = torch.quantile(x, torch.tensor([0.25, 0.75], dtype=x.dtype), dim=0)
    middle = torch.clamp((high - low) / QUARTILES, narrow * deviation, deviation)
    often = torch.stack([column.unique(return_counts=True)[1].max() for column in x.T]) / len(x)
    scale = torch.where(often >= max(COMMON, 2 / len(x)), deviation, middle)
    return torch.where(scale > 0, scale, 1.0)


def _smallest(squares: Float[Tensor, "B M"], k: int) -> tuple[Float[Tensor, "B K"], Int[Tensor, "B K"]]:
    """The k smallest of each row and their places.

    Found in two steps, as the k smallest lie in the k groups with the smallest minima: three times faster
    than `topk` on 10,000 numbers.
    """
    rows, many = squares.shape
    whole = many - many % GROUP
    if whole < 4 * GROUP * k:
        return squares.topk(k, largest=False)
    # Strided, so that the minimum is over whole vectors.
    groups = squares[:, :whole].unflatten(1, (GROUP, -1))
    width = groups.shape[2]
    best = groups.amin(1).topk(k, largest=False).indices  # (B, k)
    places = (best[:, :, None] + width * torch.arange(GROUP)).flatten(1)
    if whole < many:
        places = torch.cat([places, torch.arange(whole, many).expand(rows, -1)], 1)
    near, at = squares.gather(1, places).topk(k, largest=False)
    return near, places.gather(1, at)
