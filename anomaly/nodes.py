"""Trees that scikit-learn grew, kept as one plain table of nodes: nothing has to be unpickled to score."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def node_table(trees: Sequence[Any], values: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """The nodes of scikit-learn's trees one after another, each with a value; leaves lead to themselves."""
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("left", "right", "feature", "cut", "value", "root")
    }
    start = 0
    for tree, value in zip(trees, values, strict=True):
        inner = tree.children_left >= 0
        here = np.arange(tree.node_count)
        columns["left"].append(np.where(inner, tree.children_left, here) + start)
        columns["right"].append(np.where(inner, tree.children_right, here) + start)
        columns["feature"].append(np.where(inner, tree.feature, 0))
        columns["cut"].append(np.where(inner, tree.threshold, np.inf))
        columns["value"].append(value)
        columns["root"].append(np.array([start]))
        start += tree.node_count
    return {name: torch.from_numpy(np.concatenate(parts)) for name, parts in columns.items()}


def leaves(nodes: dict[str, Tensor], x: Float[Tensor, "B F"]) -> Int[Tensor, "B trees"]:
    """The number of the leaf that each row reaches in each tree."""
    at = nodes["root"].expand(len(x), -1)
    while True:
        below = x.gather(1, nodes["feature"][at]) <= nodes["cut"][at]
        after = torch.where(below, nodes["left"][at], nodes["right"][at])
        if torch.equal(after, at):
            return at
        at = after
