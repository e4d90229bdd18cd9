"""The models by name, and how their folders are written and read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from generative import autoencoder, presets, vae
from generative.data import Table, split_table
from training.checkpoint import load_model, save_model
from training.config import from_dict
from training.errors import InputError
from training.networks import HasModes

MODULES: dict[str, ModuleType] = {"autoencoder": autoencoder, "vae": vae}
CLASSES: dict[str, Any] = {"autoencoder": autoencoder.Autoencoder, "vae": vae.VAE}
PRESETS: dict[str, dict[str, Any]] = {"autoencoder": {}, "vae": presets.VAE}
SHARES = (0.7, 0.15, 0.15)  # of a table's rows, to fit, select and test


@runtime_checkable
class Model(HasModes, Protocol):
    """What every generative model can do for a detector."""

    def score(self, x: Tensor) -> Tensor: ...
    def state_dict(self) -> Mapping[str, Tensor]: ...


@dataclass(frozen=True)
class Trained:
    """A model with what it was trained as and on."""

    kind: str
    cfg: Any
    model: Any
    columns: tuple[str, ...]
    fingerprint: str | None  # of the table


def module(kind: str) -> ModuleType:
    """The module of the model called `kind`; raises InputError when there is none."""
    if kind not in MODULES:
        raise InputError(f"the model is {kind!r}, expected one of {', '.join(MODULES)}")
    return MODULES[kind]


def preset(kind: str, source: str) -> Any:
    """The settings to start from: the preset of the pair, else the defaults."""
    return PRESETS[kind].get(source) or module(kind).Config(data=source)


def parts(table: Table, seed: int) -> tuple[np.ndarray, ...]:
    """The row numbers with which `lab train` fits, selects and tests."""
    return split_table(table, seed, *SHARES)


def weights(model: Model) -> dict[str, Tensor]:
    """All numbers of a model."""
    return dict(model.state_dict())


def describe(kind: str, cfg: Any, columns: tuple[str, ...]) -> dict[str, Any]:
    """What `restore` needs beside the weights, fit for JSON."""
    return {"kind": kind, "config": asdict(cfg), "columns": list(columns)}


def save(folder: Path, kind: str, learner: Any, table: Table) -> None:
    """Writes the model folder of a learner that was trained on `table`."""
    description = describe(kind, learner.cfg, table.columns)
    more = {"step": learner.step, "fingerprint": table.fingerprint()}
    save_model(folder, weights(learner.model), description | more)


def load(folder: Path, device: torch.device | str = "cpu") -> Trained:
    """Reads a model folder; raises InputError when it is missing, damaged or of another kind."""
    return restore(*load_model(folder, device), folder)


def restore(weights: Mapping[str, Tensor], description: Mapping[str, Any], folder: Path) -> Trained:
    """The model that weights and description stand for; `folder` is for messages."""
    kind = description.get("kind")
    if kind not in CLASSES:
        raise InputError(f"{folder} holds a {kind!r}, expected one of {', '.join(CLASSES)}")
    cfg = from_dict(MODULES[kind].Config, description["config"], f"{folder}/model.json")
    columns = tuple(description["columns"])
    model = CLASSES[kind](cfg, len(columns))
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"{folder}: the weights do not fit the {kind}: {str(error).splitlines()[-1]}"
        ) from None
    model.eval().to(next(iter(weights.values())).device)
    return Trained(kind, cfg, model, columns, description.get("fingerprint"))
