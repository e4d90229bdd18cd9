"""State as a tree: what a run must remember to go on bit by bit, and how it becomes tensors and JSON.

A tree is made of dicts, lists, tensors, NumPy arrays, numbers, strings, booleans and None. Nothing else can
be saved, so nothing that is read back can run code.
"""

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.device import generator_states, set_generator_states
from training.errors import InputError

Tree = Any
"""Dicts, lists, tensors, arrays, numbers, strings, booleans, None."""


def capture(owner: object, names: Iterable[str]) -> dict[str, Tree]:
    """The state of attributes of `owner`: of whatever has a `state_dict`, of generators, plain values."""
    return {name: _state(getattr(owner, name)) for name in names}


def restore(owner: object, state: dict[str, Tree]) -> None:
    """Puts back what `capture` found.

    Raises:
        InputError: for the state of a generator of another kind of device.
    """
    for name, value in state.items():
        now = getattr(owner, name)
        if isinstance(now, torch.Generator):
            try:
                now.set_state(value.cpu())
            except RuntimeError:  # each kind of device has states of its own size
                raise InputError(
                    f"{name} drew on another device than {now.device}, expected the one that the run began on"
                ) from None
        elif hasattr(now, "load_state_dict"):
            now.load_state_dict(value)
        else:
            setattr(owner, name, value.to(now.device) if isinstance(now, Tensor) else value)


def _state(value: Any) -> Tree:
    if isinstance(value, torch.Generator):
        return value.get_state()
    return value.state_dict() if hasattr(value, "state_dict") else value


def global_generators() -> dict[str, Tree]:
    """The states of Python's, NumPy's and torch's own generators, which environments may draw from."""
    of_torch = generator_states()  # first: type checkers draw from Python's
    version, numbers, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [kind, keys, *rest],
        "torch": of_torch,
    }


def set_global_generators(state: dict[str, Tree]) -> None:
    """Puts back what `global_generators` found."""
    set_generator_states(state["torch"])
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(tuple(state["numpy"]))


def pack(tree: Tree) -> tuple[dict[str, Tensor], Tree]:
    """The tensors of a tree by path, and the rest with their places marked, fit for JSON.

    Raises:
        TypeError: for anything that a tree cannot hold.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _pack(tree, "", tensors)


def _pack(tree: Tree, path: str, tensors: dict[str, Tensor]) -> Tree:
    if isinstance(tree, Tensor | np.ndarray):
        tensors[path] = tree if isinstance(tree, Tensor) else torch.from_numpy(np.ascontiguousarray(tree))
        return {"kind": "tensor" if isinstance(tree, Tensor) else "array", "at": path}
    if isinstance(tree, dict):
        items = [[_pack(k, "", {}), _pack(v, f"{path}/{k}", tensors)] for k, v in tree.items()]
        return {"kind": "dict", "items": items}
    if isinstance(tree, list | tuple):
        return [_pack(value, f"{path}/{i}", tensors) for i, value in enumerate(tree)]
    if isinstance(tree, np.generic):
        tree = tree.item()
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(
        f"state at {path} is a {type(tree).__name__}, expected tensors, numbers, text, dicts, lists"
    )


def unpack(tensors: dict[str, Tensor], tree: Tree) -> Tree:
    """The tree that `pack` took apart; tuples come back as lists."""
    if isinstance(tree, list):
        return [unpack(tensors, value) for value in tree]
    if not isinstance(tree, dict):
        return tree
    if tree["kind"] == "dict":
        return {key: unpack(tensors, value) for key, value in tree["items"]}
    tensor = tensors[tree["at"]]
    return tensor if tree["kind"] == "tensor" else tensor.numpy()
