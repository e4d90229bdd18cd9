"""Column dependency: nets that predict hidden columns from the others, and how far they are off.

    r_c(x) = |x_c − f_c(x without c and others)| / its median out of fold
    s(x) = mean over c of log(1 + r_c)

Learned with columns hidden at random (as Devlin et al., 2019, arXiv:1810.04805, hide words), by the mean
squared error of what is hidden. Scored with four fixed masks, each hiding a quarter of the columns.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anomaly.nets import FOLDS, Nets, folds, learn, outside, updates
from anomaly.ratio import squash
from training.seeds import torch_generator

BATCH, LR = 64, 2e-3
PARTS = 4  # masks to score with


class Dependency:
    """One predictor for each fold, the masks to score with, and the usual size of residuals."""

    def __init__(self, nets: Nets, masks: Bool[Tensor, "P F"], usual: Float[Tensor, " F"]) -> None:
        self.nets, self.masks, self.usual = nets, masks, usual

    @staticmethod
    def fit(
        x: Float[Tensor, "B F"], owner: Int[Tensor, " F"], seed: int
    ) -> tuple["Dependency", Float[Tensor, " B"]]:
        """Predictors of the columns, and the scores of the rows out of fold; `owner` groups the features."""
        generator = torch_generator(seed, "dependency")
        x = squash(x.float())
        columns, features = int(owner.max()) + 1, x.shape[1]
        fold = folds(len(x), generator)
        rows = outside(fold)
        nets = Nets(2 * features, features, generator)

        def loss() -> Float[Tensor, ""]:
            at = torch.randint(rows.shape[1], (FOLDS, BATCH), generator=generator)
            batch = x[rows.gather(1, at)]
            share = 0.1 + 0.5 * torch.rand(FOLDS, BATCH, 1, generator=generator)
            hidden = (torch.rand(FOLDS, BATCH, columns, generator=generator) < share)[..., owner]
            return masked_loss(batch, nets(masked(batch, hidden)), hidden)

        learn(nets, loss, updates(len(x)), LR)
        part = torch.randperm(columns, generator=generator) % min(PARTS, columns)
        masks = part[owner] == torch.arange(min(PARTS, columns))[:, None]
        found = Dependency(nets, masks, torch.ones(features))
        own = found._residuals(x)[fold, torch.arange(len(x))]
        found.usual = own.median(0).values.clamp(min=0.02)
        return found, (own / found.usual).log1p().mean(1)

    @torch.inference_mode()
    def _residuals(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "K B F"]:
        """|x − prediction| of each net, each column predicted under the mask that hides it; x squashed."""
        total = torch.zeros(FOLDS, *x.shape)
        for mask in self.masks:
            inputs = masked(x, mask.expand_as(x)).expand(FOLDS, -1, -1)
            total[..., mask] = (x - self.nets(inputs))[..., mask].abs()
        return total

    def score(self, x: Float[Tensor, "B F"]) -> Float[Tensor, " B"]:
        """s of the module docstring, the mean over the nets."""
        return (self._residuals(squash(x.float())) / self.usual).log1p().mean(2).mean(0)

    def arrays(self) -> dict[str, Tensor]:
        """What `of_arrays` needs."""
        return {**self.nets.state_dict(), "masks": self.masks, "usual": self.usual}

    @staticmethod
    def of_arrays(found: dict[str, Tensor]) -> "Dependency":
        """Reads what `arrays` gave."""
        features = found["masks"].shape[1]
        nets = Nets(2 * features, features, torch.Generator())
        nets.load_state_dict({k: v for k, v in found.items() if k not in ("masks", "usual")})
        return Dependency(nets, found["masks"], found["usual"])


def masked(x: Float[Tensor, "*B F"], hidden: Bool[Tensor, "*B F"]) -> Float[Tensor, "*B F2"]:
    """Rows with hidden features at zero, and beside them which those are."""
    return torch.cat([x.masked_fill(hidden, 0.0), hidden.to(x.dtype)], -1)


def masked_loss(
    x: Float[Tensor, "K B F"], x_hat: Float[Tensor, "K B F"], hidden: Bool[Tensor, "K B F"]
) -> Float[Tensor, ""]:
    """The mean squared error of the hidden features, summed over the nets."""
    squares = (x - x_hat).square() * hidden
    return (squares.sum((1, 2)) / hidden.sum((1, 2)).clamp(min=1)).sum()
