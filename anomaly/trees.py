"""Density ratio by extra trees: forests that tell rows from rows that are made to be wrong.

    s(x) = −log p / (1 − p),   p = mean over trees of the share of right rows in x's leaf → log p̃(x) / p(x)

The same question as that of `ratio`, with the same wrong rows, asked of extremely randomised trees (Geurts et
al., 2006, doi:10.1007/s10994-006-6226-1), which are right about small tables where nets are not. Right and
wrong rows weigh the same; small tables get several wrong rows for each right one. A row is scored by the
trees of all folds, a row of the fit by those that did not see it.
"""

from itertools import chain

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anomaly.baselines import SEEDS
from anomaly.nets import FOLDS, folds
from anomaly.nodes import leaves, node_table
from anomaly.ratio import Wrong
from training.seeds import torch_generator

TREES = 40  # of each fold
LEAF = 5  # rows in a leaf, at least
ROWS = 10_000  # learned from at most
WRONG = 6_000  # wrong rows made of a table, if it has fewer rows than that; but
TIMES = 8  # no more than so many for each row
SURE = 1e-3  # p is taken to be this far from 0 and 1, at least


class Trees:
    """The forests of all folds as one table of nodes; the value of a leaf is its share of right rows."""

    def __init__(self, nodes: dict[str, Tensor]) -> None:
        self.nodes = nodes

    @staticmethod
    def fit(
        x: Float[Tensor, "B F"], owner: Int[Tensor, " F"], seed: int
    ) -> tuple["Trees", Float[Tensor, " n"]]:
        """Forests of the rows, and the scores of the rows out of fold; `owner` groups the features."""
        from sklearn.ensemble import ExtraTreesClassifier

        generator = torch_generator(seed, "trees")
        if len(x) > ROWS:
            x = x[torch.randperm(len(x), generator=generator)[:ROWS]]
        x = x.float()
        wrong = Wrong(x, owner, generator)
        fold = folds(len(x), generator)
        grown = []
        for k in range(FOLDS):
            rows = torch.nonzero(fold != k)[:, 0]
            times = max(1, min(TIMES, WRONG // len(rows)))
            made = wrong(
                rows[None], rows.repeat(times)[torch.randperm(times * len(rows), generator=generator)][None]
            )
            both = torch.cat([x[rows], made[0]]).numpy()
            right = np.arange(len(both)) < len(rows)
            forest = ExtraTreesClassifier(
                TREES,
                min_samples_leaf=LEAF,
                class_weight="balanced",
                random_state=(seed * FOLDS + k) % SEEDS,
            )
            grown.append([tree.tree_ for tree in forest.fit(both, right).estimators_])
        trees = Trees(node_table(list(chain(*grown)), [tree.value[:, 0, 1] for tree in chain(*grown)]))
        own = torch.empty(len(x), dtype=torch.float64)
        for k, roots in enumerate(trees.nodes["root"].split(TREES)):
            own[fold == k] = Trees(trees.nodes | {"root": roots})._shares(x[fold == k]).mean(1)
        return trees, log_odds(own)

    def score(self, x: Float[Tensor, "B F"]) -> Float[Tensor, " B"]:
        """s of the module docstring, the mean over the folds."""
        return log_odds(self._shares(x.float()).mean(1))

    def _shares(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B trees"]:
        return self.nodes["value"][leaves(self.nodes, x)]

    def arrays(self) -> dict[str, Tensor]:
        """What `of_arrays` needs."""
        return self.nodes

    @staticmethod
    def of_arrays(found: dict[str, Tensor]) -> "Trees":
        """Reads what `arrays` gave."""
        return Trees(found)


def log_odds(p: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """−log p / (1 − p)."""
    p = p.clamp(SURE, 1 - SURE)
    return (1 - p).log() - p.log()
