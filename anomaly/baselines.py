"""What is simple and should be beaten: the residual of principal components, and isolation forests.

Both learn through scikit-learn and are kept as plain arrays: a forest as the table of its nodes.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anomaly.nodes import leaves, node_table

EXPLAINED = 0.9  # of the variance, by the components that are kept
TREES = 100
SEEDS = 2**32  # scikit-learn takes no larger ones
DRAWN, SEEN = 256, 0.75  # rows that a tree sees: so many, or this share of fewer


class PCA:
    """The squared distance of rows from the plane of the leading components (Shyu et al., 2003)."""

    def __init__(self, mean: Float[Tensor, " F"], components: Float[Tensor, "Z F"]) -> None:
        self.mean, self.components = mean, components

    @staticmethod
    def fit(x: Float[Tensor, "B F"], seed: int) -> "PCA":
        """The fewest components that explain enough, of at most all but one; of one column none."""
        from sklearn import decomposition

        fitted = decomposition.PCA(svd_solver="full", random_state=seed % SEEDS).fit(x.numpy())
        enough = int(np.searchsorted(np.cumsum(fitted.explained_variance_ratio_), EXPLAINED)) + 1
        kept = min(enough, x.shape[1] - 1)
        return PCA(torch.from_numpy(fitted.mean_), torch.from_numpy(fitted.components_[:kept].copy()))

    def score(self, x: Float[Tensor, "B F"]) -> Float[Tensor, " B"]:
        """The squared distance from the plane."""
        centred = x - self.mean.to(x.dtype)
        components = self.components.to(x.dtype)
        return (centred - centred @ components.T @ components).square().sum(1)

    def arrays(self) -> dict[str, Tensor]:
        """What `of_arrays` needs."""
        return {"mean": self.mean, "components": self.components}

    @staticmethod
    def of_arrays(found: dict[str, Tensor]) -> "PCA":
        """Reads what `arrays` gave."""
        return PCA(found["mean"], found["components"])


class Forest:
    """Isolation forest: Liu et al., 2008 (doi:10.1109/ICDM.2008.17).

    s(x) = 2^(−mean depth of x's leaves / c(ψ)), where c is the mean depth of a search tree of ψ rows. No tree
    sees all rows, so that each row of the fit has a score of its own: by the trees that did not see it.
    """

    def __init__(self, nodes: dict[str, Tensor], usual: float) -> None:
        self.nodes, self.usual = nodes, usual

    @staticmethod
    def fit(
        x: Float[Tensor, "B F"], owner: Int[Tensor, " F"], seed: int
    ) -> tuple["Forest", Float[Tensor, " B"]]:
        """A forest of scikit-learn's making, and the scores of the rows by trees that did not see them."""
        from sklearn.ensemble import IsolationForest

        drawn = max(1, min(DRAWN, int(SEEN * len(x))))
        forest = IsolationForest(n_estimators=TREES, max_samples=drawn, random_state=seed % SEEDS)
        fitted = forest.fit(x.numpy())
        trees = [estimator.tree_ for estimator in fitted.estimators_]
        depths = [_depth(tree) + _mean_depth(tree.n_node_samples.astype(float)) for tree in trees]
        found = Forest(node_table(trees, depths), float(_mean_depth(np.array([float(drawn)]))[0]))
        unseen = torch.ones(len(x), TREES, dtype=torch.bool)
        for tree, rows in enumerate(fitted.estimators_samples_):
            unseen[torch.from_numpy(rows), tree] = False
        return found, found._score((found._depths(x) * unseen).sum(1) / unseen.sum(1))

    def score(self, x: Float[Tensor, "B F"]) -> Float[Tensor, " B"]:
        """s of the class docstring."""
        return self._score(self._depths(x).mean(1))

    def _depths(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B trees"]:
        return self.nodes["value"][leaves(self.nodes, x.float())]

    def _score(self, depth: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return 2.0 ** (-depth / max(self.usual, 1.0))

    def arrays(self) -> dict[str, Tensor]:
        """What `of_arrays` needs."""
        return {**self.nodes, "usual": torch.tensor([self.usual], dtype=torch.float64)}

    @staticmethod
    def of_arrays(found: dict[str, Tensor]) -> "Forest":
        """Reads what `arrays` gave."""
        nodes = {name: array for name, array in found.items() if name != "usual"}
        return Forest(nodes, float(found["usual"]))


def _depth(tree) -> np.ndarray:  # type: ignore[no-untyped-def]
    """How many cuts lead to each node; children come after their parents."""
    depth = np.zeros(tree.node_count)
    for node in range(tree.node_count):
        for child in (tree.children_left[node], tree.children_right[node]):
            if child >= 0:
                depth[child] = depth[node] + 1
    return depth


def _mean_depth(rows: np.ndarray) -> np.ndarray:
    """c(ψ): the mean depth of an unsuccessful search in a tree of ψ rows."""
    harmonic = np.log(np.maximum(rows - 1, 1)) + np.euler_gamma
    many = 2 * harmonic - 2 * (rows - 1) / np.maximum(rows, 1)
    return np.where(rows > 2, many, np.where(rows == 2, 1.0, 0.0))
