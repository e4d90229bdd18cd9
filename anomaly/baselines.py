"""What is simple and should be beaten: the residual of principal components, and isolation forests.

Both learn through scikit-learn and are kept as plain arrays: a forest as the table of its nodes.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

EXPLAINED = 0.9  # of the variance, by the components that are kept
TREES = 100


class PCA:
    """The squared distance of rows from the plane of the leading components (Shyu et al., 2003)."""

    def __init__(self, mean: Float[Tensor, " F"], components: Float[Tensor, "Z F"]) -> None:
        self.mean, self.components = mean, components

    @staticmethod
    def fit(x: Float[Tensor, "B F"], seed: int) -> "PCA":
        """The fewest components that explain enough, of at most all but one."""
        from sklearn import decomposition

        fitted = decomposition.PCA(svd_solver="full", random_state=seed).fit(x.numpy())
        enough = int(np.searchsorted(np.cumsum(fitted.explained_variance_ratio_), EXPLAINED)) + 1
        kept = max(1, min(enough, x.shape[1] - 1))
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

    s(x) = 2^(−mean depth of x's leaves / c(ψ)), where c is the mean depth of a search tree of ψ rows.
    """

    def __init__(self, nodes: dict[str, Tensor]) -> None:
        self.nodes = nodes

    @staticmethod
    def fit(x: Float[Tensor, "B F"], seed: int) -> "Forest":
        """A forest of scikit-learn's making, its nodes one after another."""
        from sklearn.ensemble import IsolationForest

        fitted = IsolationForest(n_estimators=TREES, random_state=seed).fit(x.numpy())
        columns: dict[str, list[np.ndarray]] = {
            name: [] for name in ("left", "right", "feature", "cut", "depth", "root")
        }
        start = 0
        for estimator in fitted.estimators_:
            tree = estimator.tree_
            inner = tree.children_left >= 0
            here = np.arange(tree.node_count)
            columns["left"].append(np.where(inner, tree.children_left, here) + start)
            columns["right"].append(np.where(inner, tree.children_right, here) + start)
            columns["feature"].append(np.where(inner, tree.feature, 0))
            columns["cut"].append(np.where(inner, tree.threshold, np.inf))
            columns["depth"].append(_depth(tree) + _mean_depth(tree.n_node_samples.astype(float)))
            columns["root"].append(np.array([start]))
            start += tree.node_count
        nodes = {name: torch.from_numpy(np.concatenate(parts)) for name, parts in columns.items()}
        nodes["usual"] = torch.from_numpy(_mean_depth(np.array([float(fitted.max_samples_)])))
        return Forest(nodes)

    def score(self, x: Float[Tensor, "B F"]) -> Float[Tensor, " B"]:
        """s of the class docstring."""
        n, x = self.nodes, x.float()
        at = n["root"].expand(len(x), -1)
        while True:
            below = x.gather(1, n["feature"][at]) <= n["cut"][at]
            after = torch.where(below, n["left"][at], n["right"][at])
            if torch.equal(after, at):
                return 2.0 ** (-n["depth"][at].mean(1) / n["usual"])
            at = after

    def arrays(self) -> dict[str, Tensor]:
        """What `of_arrays` needs."""
        return self.nodes

    @staticmethod
    def of_arrays(found: dict[str, Tensor]) -> "Forest":
        """Reads what `arrays` gave."""
        return Forest(found)


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
