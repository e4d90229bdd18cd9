"""Linear dependency: each column told from all others by ridge regression, and how far it is off.

    Σ = covariance of the columns + RIDGE · 1,   P = Σ⁻¹
    r_c(x) = (P (x − mean))_c / P_cc
    s(x) = log mean over c of (r_c / its deviation out of fold)⁴

x are standardised features, clipped to ±LIMIT. r_c is what the regression of column c on the others leaves
(Lauritzen, 1996, Graphical Models, section 5.1): all of them cost one inverse. `dependency` knows more than
straight lines; this one is exact about them, where a net's own error hides what is wrong. The fourth power
keeps one wrong cell among hundreds of columns from drowning in their mean: `python -m benchmarks.anomaly
--what cells`. Of more than WIDEST features, drawn groups of that size are told each from its own.
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
    """The groups of features (G, W); x @ `matrix` (G, W, W) − `offset` (G, W) are residuals over deviations.

    The last group is filled up with features of the first.
    """

    def __init__(
        self, groups: Int[Tensor, "G W"], matrix: Float[Tensor, "G W W"], offset: Float[Tensor, "G W"]
    ) -> None:
        self.groups, self.matrix, self.offset = groups, matrix, offset

    @staticmethod
    def fit(
        x: Float[Tensor, "B F"], owner: Int[Tensor, " F"], seed: int
    ) -> tuple["Linear", Float[Tensor, " B"]]:
        """The regressions, and the scores of the rows out of fold; `owner` changes nothing here."""
        generator = torch_generator(seed, "linear")
        fold, features, size = folds(len(x), generator), x.shape[1], min(WIDEST, x.shape[1])
        order = torch.randperm(features, generator=generator) if size < features else torch.arange(features)
        groups = order[torch.arange(-(-features // size) * size) % features].reshape(-1, size)
        grouped = _grouped(x.double(), groups)
        own = torch.empty_like(grouped)
        for k in range(min(FOLDS, len(x))):
            others = grouped[:, fold != k] if len(x) > 1 else grouped
            matrix, offset = _regressions(others)
            own[:, fold == k] = grouped[:, fold == k] @ matrix - offset[:, None]
        deviation = own.square().mean(1).sqrt().clamp(min=LEAST)
        matrix, offset = _regressions(grouped)
        found = Linear(groups, (matrix / deviation[:, None]).float(), (offset / deviation).float())
        return found, _joined(own / deviation[:, None])

    def score(self, x: Float[Tensor, "B F"]) -> Float[Tensor, " B"]:
        """s of the module docstring."""
        return _joined(_grouped(x.float(), self.groups) @ self.matrix - self.offset[:, None])

    def arrays(self) -> dict[str, Tensor]:
        """What `of_arrays` needs."""
        return {"groups": self.groups, "matrix": self.matrix, "offset": self.offset}

    @staticmethod
    def of_arrays(found: dict[str, Tensor]) -> "Linear":
        """Reads what `arrays` gave."""
        return Linear(found["groups"], found["matrix"], found["offset"])


def _grouped(x: Float[Tensor, "B F"], groups: Int[Tensor, "G W"]) -> Float[Tensor, "G B W"]:
    x = x.clamp(-LIMIT, LIMIT)
    return x[None] if len(groups) == 1 else x[:, groups].transpose(0, 1)


def _regressions(x: Float[Tensor, "G B W"]) -> tuple[Float[Tensor, "G W W"], Float[Tensor, "G W"]]:
    """P over its diagonal, and what it makes of the mean: r of a row is row @ the first − the second."""
    mean = x.mean(1, keepdim=True)
    away = x - mean
    covariance = away.transpose(1, 2) @ away / x.shape[1]
    precision = torch.linalg.inv(covariance + RIDGE * torch.eye(x.shape[2], dtype=x.dtype)).contiguous()
    matrix = precision / precision.diagonal(dim1=1, dim2=2)[:, None]
    return matrix, (mean @ matrix)[:, 0]


def _joined(residuals: Float[Tensor, "G B W"]) -> Float[Tensor, " B"]:
    return residuals.square().square().mean((0, 2)).clamp(min=1e-12).log()
