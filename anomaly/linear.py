"""Linear dependency: each column told from all others by ridge regression, and how far it is off.

    Σ = covariance of the columns + RIDGE · 1,   P = Σ⁻¹
    r_c(x) = (P (x − mean))_c / P_cc
    s(x) = log mean over c of (r_c / its deviation out of fold)²

x are standardised features, clipped to ±LIMIT. r_c is what the regression of column c on the others leaves
(Lauritzen, 1996, Graphical Models, section 5.1): all of them cost one inverse. `dependency` knows more than
straight lines; this one is exact about them, where a net's own error hides what is wrong. Of more than WIDEST
features, drawn groups of that size are told each from its own.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anomaly.nets import FOLDS, folds
from training.seeds import torch_generator

RIDGE = 0.01  # of a standardised feature's variance
LIMIT = 10.0  # deviations
WIDEST = 256  # features that are told from each other
LEAST = 1e-3  # deviation of a residual


class Linear:
    """The groups of features (G, W), in each of them the means (G, W) and P (G, W, W); deviations (G, W).

    The last group is filled up with features of the first.
    """

    def __init__(
        self,
        groups: Int[Tensor, "G W"],
        mean: Float[Tensor, "G W"],
        precision: Float[Tensor, "G W W"],
        deviation: Float[Tensor, "G W"],
    ) -> None:
        self.groups, self.mean, self.precision, self.deviation = groups, mean, precision, deviation

    @staticmethod
    def fit(
        x: Float[Tensor, "B F"], owner: Int[Tensor, " F"], seed: int
    ) -> tuple["Linear", Float[Tensor, " B"]]:
        """The regressions, and the scores of the rows out of fold; `owner` changes nothing here."""
        generator = torch_generator(seed, "linear")
        x, fold = x.double(), folds(len(x), generator)
        features, size = x.shape[1], min(WIDEST, x.shape[1])
        order = torch.randperm(features, generator=generator)
        groups = order[torch.arange(-(-features // size) * size) % features].reshape(-1, size)
        own = torch.empty(len(groups), len(x), size, dtype=x.dtype)
        for k in range(min(FOLDS, len(x))):
            others = x[fold != k] if len(x) > 1 else x
            own[:, fold == k] = _learned(others, groups)._residuals(x[fold == k])
        found = _learned(x, groups)
        found.deviation = own.square().mean(1).sqrt().clamp(min=LEAST)
        return found, found._joined(own)

    def score(self, x: Float[Tensor, "B F"]) -> Float[Tensor, " B"]:
        """s of the module docstring."""
        return self._joined(self._residuals(x.double()))

    def _residuals(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "G B W"]:
        away = x.clamp(-LIMIT, LIMIT)[:, self.groups].transpose(0, 1) - self.mean[:, None]
        return away @ self.precision / self.precision.diagonal(dim1=1, dim2=2)[:, None]

    def _joined(self, residuals: Float[Tensor, "G B W"]) -> Float[Tensor, " B"]:
        squares = (residuals / self.deviation[:, None]).square()
        return squares.mean((0, 2)).clamp(min=1e-12).log()

    def arrays(self) -> dict[str, Tensor]:
        """What `of_arrays` needs."""
        return {
            "groups": self.groups,
            "mean": self.mean,
            "precision": self.precision,
            "deviation": self.deviation,
        }

    @staticmethod
    def of_arrays(found: dict[str, Tensor]) -> "Linear":
        """Reads what `arrays` gave."""
        return Linear(found["groups"], found["mean"], found["precision"], found["deviation"])


def _learned(x: Float[Tensor, "B F"], groups: Int[Tensor, "G W"]) -> Linear:
    """The regressions of rows, deviations still 1."""
    grouped = x.clamp(-LIMIT, LIMIT)[:, groups].transpose(0, 1)
    mean = grouped.mean(1)
    away = grouped - mean[:, None]
    covariance = away.transpose(1, 2) @ away / len(x)
    ridge = RIDGE * torch.eye(groups.shape[1], dtype=x.dtype)
    precision = torch.linalg.inv(covariance + ridge).contiguous()  # as it will be loaded: the same bits
    return Linear(groups, mean, precision, torch.ones_like(mean))
