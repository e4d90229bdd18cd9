"""How good samples are, beside what rows of the data themselves reach: the floor.

    Fréchet   |μ₁ − μ₂|² + tr(C₁ + C₂ − 2 (C₁ C₂)^½)                  (Heusel et al., arXiv:1706.08500)
    KID       MMD² with the kernel (x·y / F + 1)³, unbiased            (Bińkowski et al., arXiv:1801.01401)
    precision, recall, density, coverage                               (generative/parts/manifold.py)
    told      accuracy of telling samples from rows, 1/2 if one cannot (Lopez-Paz and Oquab, arXiv:1610.06545)

on features of a judge (generative/judge.py). The floor compares rows that neither the model nor the judge
learned from with the test rows, in the same numbers.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from generative.data import Table
from generative.judge import Judge
from generative.parts.manifold import manifold
from training.errors import InputError
from training.seeds import numpy_generator

COUNT = 10_000  # samples compared with as many test rows, or all of them
LEAST = 20  # test rows for the numbers to say anything


@dataclass(frozen=True)
class Quality:
    """Numbers of samples and of rows nobody learned from, by name, and how many rows were compared."""

    samples: Mapping[str, float]
    floor: Mapping[str, float]
    count: int
    classes: tuple[float, ...] = ()  # the share of samples that look like each label

    @property
    def ratio(self) -> float:
        """The Fréchet distance of samples over the floor's; over a floor of 0 infinite, or 1 if both are."""
        found, floor = self.samples["frechet"], self.floor["frechet"]
        return found / floor if floor else math.inf if found else 1.0


def test_rows(table: Table, test: Int[np.ndarray, " rows"]) -> tuple[Tensor, Tensor | None]:
    """The rows that quality is measured on, and their labels: the data's own test rows if it has some."""
    if table.test is not None:
        x, y = table.test.x, table.test.y
    else:
        x, y = table.x[test], None if table.y is None else table.y[test]
    return torch.from_numpy(x), None if y is None else torch.from_numpy(y)


def unseen_rows(table: Table, select: Int[np.ndarray, " a"], test: Int[np.ndarray, " b"]) -> Tensor:
    """The rows of the floor: those that select, and those to test when the data has test rows of its own."""
    rows = select if table.test is None else np.concatenate([select, test])
    return torch.from_numpy(table.x[rows])


def quality(
    samples: Num[Tensor, "M D"], unseen: Num[Tensor, "N D"], test: Num[Tensor, "T D"], judge: Judge
) -> Quality:
    """Samples, and as many rows from `unseen_rows`, compared with test rows.

    Raises:
        InputError: when there are fewer than 20 of any.
    """
    count = min(COUNT, len(test), len(unseen), len(samples))
    if count < LEAST:
        raise InputError(
            f"there are {count} test rows, unseen rows or samples, expected {LEAST} or more to judge by"
        )
    rng = numpy_generator(0, "quality")
    test = test[rng.permutation(len(test))[:count]]
    unseen = unseen[rng.permutation(len(unseen))[:count]]
    true = judge.features(test)
    found = compare(judge.features(samples[:count]), true)
    floor = compare(judge.features(unseen), true)
    classes: tuple[float, ...] = ()
    if judge.classes:
        seen = torch.bincount(judge.labels(samples), minlength=judge.classes)
        classes = tuple((seen / len(samples)).tolist())
    return Quality(found, floor, count, classes)


def compare(a: Float[Tensor, "N F"], b: Float[Tensor, "M F"]) -> dict[str, float]:
    """All numbers of features a, held against features b."""
    return {
        "frechet": frechet(a, b),
        "kid": kid(a, b),
        **asdict(manifold(b, a)),
        "told": told_apart(a, b),
    }


def frechet(a: Float[Tensor, "N F"], b: Float[Tensor, "M F"]) -> float:
    """The distance of the two normal distributions with the rows' means and covariances."""
    a, b = a.double(), b.double()
    first, second = (x.T.cov().reshape(x.shape[1], -1) for x in (a, b))
    values, vectors = torch.linalg.eigh(first)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    distance = (a.mean(0) - b.mean(0)).square().sum() + first.trace() + second.trace() - 2 * cross
    return max(0.0, float(distance))


def kid(a: Float[Tensor, "N F"], b: Float[Tensor, "M F"]) -> float:
    """The squared maximum mean discrepancy of the module docstring; around 0 when all rows are alike."""
    a, b = a.double(), b.double()
    n, m = len(a), len(b)

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    own = [((k := kernel(x, x)).sum() - k.trace()) / (len(x) * (len(x) - 1)) for x in (a, b)]
    return float(own[0] + own[1] - 2 * kernel(a, b).sum() / (n * m))


def told_apart(a: Float[Tensor, "N F"], b: Float[Tensor, "M F"]) -> float:
    """Accuracy on unseen rows of a classifier that learned to tell a from b, which are of one size."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    x = torch.cat([a, b]).numpy()
    y = np.repeat([0, 1], [len(a), len(b)])
    order = numpy_generator(0, "told apart").permutation(len(x))
    seen, unseen = np.array_split(order, 2)
    classifier = HistGradientBoostingClassifier(max_iter=50, random_state=0).fit(x[seen], y[seen])
    return float((classifier.predict(x[unseen]) == y[unseen]).mean())


def told_p_value(accuracy: float, count: int) -> float:
    """The chance of such an accuracy or a higher one when `count` rows cannot be told apart."""
    from scipy.stats import binom

    return float(binom.sf(math.ceil(accuracy * count - 1e-9) - 1, count, 0.5))


def nearest(
    samples: Float[Tensor, "M F"], train: Float[Tensor, "N F"]
) -> tuple[Int[Tensor, " M"], Float[Tensor, " M"]]:
    """For each sample the place of the nearest row the model learned from, and its distance."""
    samples, train = samples.double(), train.double()
    place = torch.cat([torch.cdist(part, train).argmin(1) for part in samples.split(200)])
    return place, (samples - train[place]).norm(dim=1)  # the matrix product in cdist cannot tell equal rows
