"""Detectors' models by name: how each is fitted with scores of its own, saved and loaded."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from anomaly.baselines import PCA, Forest
from anomaly.dependency import Dependency
from anomaly.memory import Memory
from anomaly.ratio import Ratio
from anomaly.surprise import Surprise
from generative import registry
from generative.data import Table, split
from training.errors import InputError
from training.networks import HasModes, evaluating

ENSEMBLE = ("memory", "ratio", "dependency")
FOLDED: dict[str, Any] = {"ratio": Ratio, "dependency": Dependency}
PLAIN: dict[str, Any] = {"pca": PCA, "forest": Forest}
OWN: dict[str, Any] = {"memory": Memory, **FOLDED, **PLAIN}
FEW = 20  # rows
BLOCK = 1_024  # rows scored at once: what fits into the cache


@runtime_checkable
class Scores(Protocol):
    """What every model can do: a number for each row, higher where stranger."""

    def score(self, x: Tensor) -> Tensor: ...


@dataclass
class Member:
    """A fitted model and what its scores are worth."""

    kind: str
    model: Scores
    surprise: Surprise | None  # None: the score is used as it is
    cfg: Any = None  # of a generative model

    def __call__(self, x: Float[np.ndarray, "B F"]) -> Float[np.ndarray, " B"]:
        """The surprise of rows."""
        score = score_rows(self.model, x)
        return score if self.surprise is None else self.surprise(score)

    def arrays(self) -> dict[str, Tensor]:
        """Its numbers."""
        model: Any = self.model
        found = dict(model.arrays() if self.kind in OWN else registry.weights(model))
        if self.surprise is not None:
            found["surprise"] = torch.from_numpy(self.surprise.array())
        return found

    def describe(self, columns: tuple[str, ...]) -> dict[str, Any]:
        """What `restore` needs beside the arrays, fit for JSON."""
        return {"kind": self.kind} if self.cfg is None else registry.describe(self.kind, self.cfg, columns)


def kinds() -> tuple[str, ...]:
    """What `--detector` takes."""
    return ("auto", "ensemble", *OWN, *registry.MODULES)


def members_of(kind: str) -> tuple[str, ...]:
    """The models that a detector joins; raises InputError for an unknown name."""
    if kind not in kinds():
        raise InputError(f"detector is {kind!r}, expected one of {', '.join(kinds())}")
    return ENSEMBLE if kind in ("auto", "ensemble") else (kind,)


def fit_member(
    kind: str, x: Float[np.ndarray, "B F"], owner: Int[np.ndarray, " F"], seed: int, cfg: Any = None
) -> Member:
    """A model of the features of rows, with the surprise of its scores; `owner` groups the features."""
    rows = torch.from_numpy(np.ascontiguousarray(x))
    if kind == "memory":
        memory, own = Memory.fit(rows, seed)
        return Member(kind, memory, Surprise.fit(own.double().numpy()))
    if kind in FOLDED:
        model, own = FOLDED[kind].fit(rows, torch.from_numpy(owner), seed)
        return Member(kind, model, Surprise.fit(own.double().numpy()))
    if len(x) < FEW:  # too few to hold any back: their surprises are those of rows that were seen
        fit = held = np.arange(len(x))
    else:
        fit, held = split(len(x), seed, 0.8, 0.2)
    if kind in PLAIN:
        model = PLAIN[kind].fit(rows[fit], seed)
    else:
        cfg = registry.module(kind).Config() if cfg is None else cfg
        cfg = replace(cfg, run=replace(cfg.run, seed=seed))
        table = Table(x, tuple(f"x{i}" for i in range(x.shape[1])), "the rows")
        model = fit_model(kind, cfg, table, fit, held)
    found = Member(kind, model, Surprise.fit(score_rows(model, x[held])))
    return found if kind in PLAIN else replace(found, cfg=cfg)


def restore(description: Mapping[str, Any], arrays: dict[str, Tensor], folder: Path) -> Member:
    """Reads what a member's `arrays` and `describe` gave; raises InputError when they do not fit together."""
    kind = description.get("kind")
    arrays = dict(arrays)
    found = arrays.pop("surprise", None)
    surprise = None if found is None else Surprise.of_array(found.numpy())
    if kind not in OWN:
        trained = registry.restore(arrays, description, folder)
        return Member(trained.kind, trained.model, surprise, trained.cfg)
    try:
        return Member(kind, OWN[kind].of_arrays(arrays), surprise)
    except (KeyError, RuntimeError, IndexError) as error:
        raise InputError(f"{folder}: the arrays do not fit a {kind}: {str(error).splitlines()[-1]}") from None


def fit_model(
    kind: str,
    cfg: Any,
    table: Table,
    fit: Int[np.ndarray, " rows"],
    select: Int[np.ndarray, " others"],
) -> registry.Model:
    """A new generative model of the given kind, learned from the rows `fit` of the table.

    Its weights are those of the update that explained the rows `select` best.

    Raises:
        InputError: for an unknown kind, and when no score of the selection rows is finite.
    """
    part = registry.module(kind)
    learner = part.Learner(cfg, torch.from_numpy(table.x[fit]))
    every = cfg.run.evaluate_every or cfg.run.steps
    best, weights = np.inf, {}
    for step, _ in part.train(cfg, learner):
        if step % every == 0 or step >= cfg.run.steps:
            score = float(score_rows(learner.model, table.x[select]).mean())
            if score < best:
                best, weights = score, {k: v.clone() for k, v in learner.model.state_dict().items()}
    if not weights:
        raise InputError(f"no {kind} explains the rows of {table.source}: every score is NaN or infinite")
    learner.model.load_state_dict(weights)
    return learner.model


def score_rows(model: Scores, x: Num[np.ndarray, "B D"]) -> Float[np.ndarray, " B"]:
    """The model's scores in float64, computed in blocks."""
    rows = torch.from_numpy(np.ascontiguousarray(x))
    with evaluating(model) if isinstance(model, HasModes) else nullcontext():
        scores = [model.score(block).double().cpu() for block in rows.split(BLOCK)]
    return torch.cat(scores).numpy() if scores else np.zeros(0)
