"""The models by name, and how their folders are written and read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from generative import autoencoder, denoiser, gan, presets, som, vae
from generative.data import Table, split_table
from generative.parts.rows import Form
from training.checkpoint import load_model, save_model
from training.config import from_dict
from training.errors import InputError
from training.networks import HasModes

MODULES: dict[str, ModuleType] = {
    "autoencoder": autoencoder,
    "denoiser": denoiser,
    "vae": vae,
    "gan": gan,
    "som": som,
}
CLASSES: dict[str, Any] = {
    "autoencoder": autoencoder.Autoencoder,
    "denoiser": denoiser.Denoiser,
    "vae": vae.VAE,
    "gan": gan.GAN,
    "som": som.SOM,
}
PRESETS: dict[str, dict[str, Any]] = {
    "autoencoder": {},
    "denoiser": {},
    "vae": presets.VAE,
    "gan": presets.GAN,
    "som": {},
}
SHARES = (0.7, 0.15, 0.15)  # of a table's rows, to fit, select and test
SHARES_TESTED = (0.9, 0.05, 0.05)  # of a table that comes with test rows of its own


@runtime_checkable
class Model(HasModes, Protocol):
    """What every generative model can do: score rows for a detector, and tell `lab train` how it is."""

    def score(self, x: Tensor) -> Tensor: ...
    def measure(self, x: Tensor, y: Tensor | None) -> tuple[float, dict[str, float]]: ...
    def state_dict(self) -> Mapping[str, Tensor]: ...


@dataclass(frozen=True)
class Trained:
    """A model with what it was trained as and on."""

    kind: str
    cfg: Any
    model: Any
    columns: tuple[str, ...]
    fingerprint: str | None  # of the table
    labels: tuple[str, ...] = ()  # of the table's rows, by number
    step: int = 0  # updates it has learned from

    @property
    def form(self) -> Form:
        """What a row of its data is."""
        return Form.unpack(self.model.form)


def module(kind: str) -> ModuleType:
    """The module of the model called `kind`; raises InputError when there is none."""
    if kind not in MODULES:
        raise InputError(f"the model is {kind!r}, expected one of {', '.join(MODULES)}")
    return MODULES[kind]


def preset(kind: str, source: str) -> Any:
    """The settings to start from: the preset of the pair, else the defaults."""
    found = PRESETS[kind].get(Path(source).stem) or module(kind).Config()
    return replace(found, data=source)


def parts(table: Table, seed: int) -> tuple[np.ndarray, ...]:
    """The row numbers with which `lab train` fits, selects and tests."""
    return split_table(table, seed, *(SHARES if table.test is None else SHARES_TESTED))


def new_learner(kind: str, cfg: Any, table: Table, fit: np.ndarray) -> Any:
    """A learner of the rows `fit` of a table, told all that the table knows of them.

    Raises:
        InputError: when no column varies, or the configuration asks for what the rows do not have.
    """
    x = table.x[fit]
    if (x == x[:1]).all():
        raise InputError(f"{table.source}: all rows to fit are equal, expected some that differ")
    form = Form(x.shape[1], table.shape, len(table.labels))
    y = None if table.y is None else torch.from_numpy(table.y[fit])
    return module(kind).Learner(cfg, torch.from_numpy(x), y, form)


def weights(model: Model) -> dict[str, Tensor]:
    """All numbers of a model."""
    return dict(model.state_dict())


def describe(kind: str, cfg: Any, columns: tuple[str, ...]) -> dict[str, Any]:
    """What `restore` needs beside the weights, fit for JSON."""
    return {"kind": kind, "config": asdict(cfg), "columns": list(columns)}


def save(folder: Path, kind: str, learner: Any, table: Table) -> None:
    """Writes the model folder of a learner that was trained on `table`."""
    description = describe(kind, learner.cfg, table.columns)
    more = {"step": learner.step, "fingerprint": table.fingerprint(), "labels": list(table.labels)}
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
    try:
        model = CLASSES[kind](cfg, Form.unpack(weights["form"]))
        model.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        raise InputError(
            f"{folder}: the weights do not fit the {kind}: {str(error).splitlines()[-1]}"
        ) from None
    model.eval().to(next(iter(weights.values())).device)
    labels = tuple(description.get("labels", ()))
    return Trained(
        kind, cfg, model, columns, description.get("fingerprint"), labels, description.get("step", 0)
    )
