"""Trees that scikit-learn grew, kept as one plain table of nodes: nothing has to be unpickled to score.

Level stands after level, of all trees, and a node's two children side by side: `child` is where the one at or
below the cut is, the other comes after it. A leaf is its own child, and nothing is above its cut.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def node_table(trees: Sequence[Any], values: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """The nodes of scikit-learn's trees, each with a value; the roots come first."""
    sizes = [tree.node_count for tree in trees]
    offset = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
    left, right, feature, cut = (
        np.concatenate([getattr(tree, name) for tree in trees])
        for name in ("children_left", "children_right", "feature", "threshold")
    )
    inner = left >= 0
    level = np.cumsum([0, *sizes[:-1]])
    order: list[np.ndarray] = []
    place = np.zeros(len(left), np.int64)
    while len(level):
        place[level] = sum(len(above) for above in order) + np.arange(len(level))
        order.append(level)
        parents = level[inner[level]]
        children = np.stack([left[parents], right[parents]], 1) + offset[parents, None]
        level = children.flatten()
    nodes = np.concatenate(order)
    child = np.where(inner[nodes], place[(left + offset)[nodes]], np.arange(len(nodes)))
    return {
        "root": torch.arange(len(trees), dtype=torch.int32),
        "child": torch.from_numpy(child.astype(np.int32)),
        "feature": torch.from_numpy(np.where(inner, feature, 0)[nodes].astype(np.int32)),
        "cut": torch.from_numpy(np.where(inner, cut, np.inf)[nodes]),
        "value": torch.from_numpy(np.concatenate(values)[nodes]),
    }


def leaves(nodes: dict[str, Tensor], x: Float[Tensor, "B F"]) -> Int[Tensor, "B trees"]:
    """The number of the leaf that each row reaches in each tree.

    All rows go down all trees at once, a level a step. Those that have arrived stand still: to leave them out
    takes longer.
    """
    many, cells = len(x), x.flatten()
    at = nodes["root"].repeat_interleave(many)
    first = (torch.arange(many, dtype=torch.int32) * x.shape[1]).repeat(len(nodes["root"]))
    while True:
        cell = cells.index_select(0, first + nodes["feature"].index_select(0, at))
        above = cell > nodes["cut"].index_select(0, at)
        below = nodes["child"].index_select(0, at)
        if torch.equal(after := below + above, at):
            return at.view(-1, many).T
        at = after
