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

TOGETHER = 32_768  # rows times trees that go down at once: what is looked at stays in the cache
LEVELS = 12  # after so many, those that have arrived are left out; to do so at each takes longer


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

    All rows go down several trees at once, a level a step; those that have arrived stand still.
    """
    child, feature, cut = nodes["child"], nodes["feature"], nodes["cut"]
    many, cells = len(x), x.flatten()
    start = torch.arange(many, dtype=torch.int32) * x.shape[1]
    found = []
    for roots in nodes["root"].split(max(1, TOGETHER // max(many, 1))):
        at, first = roots.repeat_interleave(many), start.repeat(len(roots))
        leaf, which = at.clone(), torch.arange(len(at))
        while len(at):
            for _ in range(LEVELS):
                before = at
                cell = cells.index_select(0, first + feature.index_select(0, at))
                at = child.index_select(0, at) + (cell > cut.index_select(0, at))
            leaf.index_copy_(0, which, at)
            moving = torch.nonzero(at != before)[:, 0]
            at, first, which = (one.index_select(0, moving) for one in (at, first, which))
        found.append(leaf.view(len(roots), many))
    return torch.cat(found).T
