"""Weights of another run as a beginning, and layers that stay as they began."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.checkpoint import load_model
from training.errors import InputError
from training.optim import Descent


@dataclass(frozen=True)
class Taken:
    """The layers that a learner has taken over, and those it has not, with the reason."""

    taken: tuple[str, ...]
    left: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"taken over: {', '.join(self.taken)}"]
        return "\n".join([*lines, *(f"not taken: {layer} ({why})" for layer, why in self.left.items())])


@torch.no_grad()
def take_over(
    learner: Any,
    run: Path,
    own: Collection[str] = (),
    renamed: Mapping[str, str] = MappingProxyType({}),
    alike: Mapping[str, str] = MappingProxyType({}),
) -> Taken:
    """Copies the layers of the model of `run` into a learner's `model` where names and shapes fit.

    So it does into every other network of the model's kind, such as a slow copy. The parts named `own` keep
    what they have; where the run's model has a part that `renamed` names, it is looked for by the new name.
    A part that the run's model lacks begins like the one that `alike` names: an average like what it is of.

    Raises:
        InputError: when the run has no model, or nothing of it fits.
    """
    there = _renamed(load_model(run / "model")[0], renamed)
    for part, other in alike.items():
        if not any(_in(name, part) for name in there):
            there |= {part + name[len(other) :]: value for name, value in there.items() if _in(name, other)}
    layers: dict[str, list[str]] = defaultdict(list)
    why: dict[str, str] = {}
    for name, value in learner.model.state_dict().items():
        if name.partition(".")[0] not in own:
            layers[_layer(name)].append(name)
            why[_layer(name)] = why.get(_layer(name)) or _reason(name, value, there.get(name))
    taken = tuple(layer for layer in layers if not why[layer])
    left = {layer: reason for layer, reason in why.items() if reason}
    if not taken:
        told = "; ".join(f"{layer}: {reason}" for layer, reason in list(left.items())[:3])
        raise InputError(f"{run} has no layer that fits: {told}")
    for part in vars(learner).values():
        if type(part) is type(learner.model):
            state = part.state_dict()
            for name in (name for layer in taken for name in layers[layer]):
                state[name].copy_(there[name])
    return Taken(taken, left)


def within(layers: Collection[str], parts: Collection[str]) -> list[str]:
    """Those of the layers that lie in one of the parts: `encoder` has `encoder.0`.

    Raises:
        InputError: for a part that has none.
    """
    for part in parts:
        if not any(_in(layer, part) for layer in layers):
            there = ", ".join(sorted({layer.partition(".")[0] for layer in layers}))
            raise InputError(f"freeze is {part!r}, expected a part that was taken over: {there}")
    return [layer for layer in layers if any(_in(layer, part) for part in parts)]


def freeze(learner: Any, layers: Collection[str]) -> None:
    """Takes these layers of a learner's model from its optimizers: nothing moves their weights any more.

    Batch normalisation among them goes on by the statistics that it has, as in evaluation.

    Raises:
        InputError: when nothing would be left to learn.
    """
    if not layers:
        return
    frozen = [weight for name, weight in learner.model.named_parameters() if _layer(name) in layers]
    for weight in frozen:
        weight.requires_grad_(False)
    for optimizer in (part for part in vars(learner).values() if isinstance(part, Descent)):
        optimizer.leave_out(frozen)
    for name, module in learner.model.named_modules():
        if name in layers and isinstance(module, _BatchNorm):
            module.eval()
            module.train = partial(_as_it_is, module)  # type: ignore[assignment]


def _as_it_is(module: nn.Module, mode: bool = True) -> nn.Module:
    return module


def _layer(name: str) -> str:
    """`encoder.0` of `encoder.0.weight`; a weight that lies in no layer is one."""
    return name.rpartition(".")[0] or name


def _renamed(weights: Mapping[str, Tensor], renamed: Mapping[str, str]) -> dict[str, Tensor]:
    parts = ((name.partition("."), value) for name, value in weights.items())
    return {renamed.get(part, part) + dot + rest: value for (part, dot, rest), value in parts}


def _reason(name: str, here: Tensor, there: Tensor | None) -> str:
    """Why a weight is not taken; nothing if it is."""
    last = name.rpartition(".")[2]
    if there is None:
        return f"the run has no {last} of it"
    if here.shape != there.shape:
        found, wanted = ("×".join(map(str, t.shape)) or "one number" for t in (there, here))
        return f"its {last} is {found} there, {wanted} here"
    return "" if here.dtype == there.dtype else f"its {last} is {there.dtype} there, {here.dtype} here"


def _in(layer: str, part: str) -> bool:
    return layer == part or layer.startswith(f"{part}.")
