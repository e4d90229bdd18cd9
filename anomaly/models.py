"""Detectors' models by name: how each is fitted with scores of its own, saved and loaded."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from anomaly.baselines import PCA, Forest
from anomaly.dependency import Dependency
from anomaly.forecast import VIEWS, Forecast
from anomaly.glance import FAST_HIDDEN, FAST_NETS, FAST_SEEN, SEEN, Glance
from anomaly.linear import Linear
from anomaly.memory import Memory
from anomaly.newest import Newest
from anomaly.pictures import KINDS, Pictures
from anomaly.ratio import Ratio
from anomaly.surprise import Surprise, joined
from anomaly.text import Told
from anomaly.trees import Trees
from generative import registry
from generative.data import Table, split
from generative.parts.rows import Form
from training.errors import InputError
from training.networks import HasModes, evaluating
from training.seeds import numpy_generator

# What `auto` joins, and the weights: what is near, what is denser than rows that are made to be wrong, how
# columns hang together, what is far out. Chosen on tables that scikit-learn bundles and on made-up ones;
# `linear` on 46 of KEEL, where with it and without are alike, and on made-up columns that hang together.
ENSEMBLE = {
    "nearest": 2.0,
    "memory": 2.0,
    "trees": 2.0,
    "ratio": 1.0,
    "dependency": 1.0,
    "linear": 1.0,
    "forest": 1.0,
}
# Those that score their own rows without having seen them.
FOLDED: dict[str, Callable[..., tuple[Any, Tensor]]] = {
    "nearest": partial(Memory.fit, plain=True),
    "memory": Memory.fit,
    "trees": Trees.fit,
    "dependency": Dependency.fit,
    "linear": Linear.fit,
    "forest": Forest.fit,
    "ratio": Ratio.fit,
}
OWN: dict[str, Any] = {
    "nearest": Memory,
    "memory": Memory,
    "trees": Trees,
    "dependency": Dependency,
    "linear": Linear,
    "forest": Forest,
    "ratio": Ratio,
    "pca": PCA,
}
TEXT = "text"  # what looks at a column of text alone (`text_members`)
GLANCE = "glance"  # what a fast detector is: the glance of `auto`, alone
RESTORED: dict[str, Any] = {
    **OWN,
    **dict.fromkeys(VIEWS, Forecast),
    "newest": Newest,
    GLANCE: Glance,
    TEXT: Told,
}
FEW = 20  # rows
HALVED = 4  # rows: two for the models of each half
SHOWN = "edges"  # what `auto` is where rows are pictures
STRANGEST = 1e300  # the score of rows so far off that a model's arithmetic overflows
BLOCK = 4_096  # rows scored at once: what fits into the cache


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
    weight: float = 1.0  # among the members of its detector
    own: Float[np.ndarray, " n"] | None = None  # of fitted rows, by what has not seen them; not saved
    sees: Int[np.ndarray, " f"] | None = None  # the features that it looks at; None: all

    def __call__(self, x: Float[np.ndarray, "B F"]) -> Float[np.ndarray, " B"]:
        """The surprise of rows."""
        score = score_rows(self.model, x if self.sees is None else x[:, self.sees])
        return score if self.surprise is None else self.surprise(score)

    def arrays(self) -> dict[str, Tensor]:
        """Its numbers."""
        model: Any = self.model
        found = dict(model.arrays() if self.kind in (*RESTORED, *KINDS) else registry.weights(model))
        if self.surprise is not None:
            found["surprise"] = torch.from_numpy(self.surprise.array())
        return found

    def describe(self, columns: tuple[str, ...]) -> dict[str, Any]:
        """What `restore` needs beside the arrays, fit for JSON."""
        return {"kind": self.kind} if self.cfg is None else registry.describe(self.kind, self.cfg, columns)


def kinds() -> tuple[str, ...]:
    """What `--detector` takes."""
    return ("auto", "ensemble", *OWN, *KINDS, *registry.MODULES)


def members_of(kind: str, pictures: bool = False) -> tuple[str, ...]:
    """The models that a detector of rows, or of `pictures`, joins; raises InputError for an unknown name."""
    if kind not in kinds():
        raise InputError(f"detector is {kind!r}, expected one of {', '.join(kinds())}")
    if kind == "auto" and pictures:
        return (SHOWN,)
    return tuple(ENSEMBLE) if kind in ("auto", "ensemble") else (kind,)


def check_fast(names: Sequence[str]) -> None:
    """Raises InputError unless a glance can stand for the members of a detector."""
    if tuple(names) != tuple(ENSEMBLE):
        raise InputError(f"detector is {names[0]!r}, a fast one expects auto, of rows that are no pictures")


def fit_member(
    kind: str,
    x: Float[np.ndarray, "B F"],
    owner: Int[np.ndarray, " F"],
    seed: int,
    cfg: Any = None,
    shape: tuple[int, ...] = (),
) -> Member:
    """A model of the features of rows, with the surprise of its scores.

    `owner` groups the features; `shape` is that of a row that is a picture.
    """
    rows = torch.from_numpy(np.ascontiguousarray(x))
    if kind == GLANCE:
        memory = _folded("memory", Memory.fit, rows, owner, seed)
        ratio = _folded("ratio", partial(Ratio.fit, hidden=FAST_HIDDEN), rows, owner, seed)
        return Member(kind, Glance.fit(memory, ratio, None, x, seed, FAST_SEEN, FAST_NETS), None)
    if kind in KINDS:
        pictures, own = Pictures.fit(kind, rows, shape, seed)
        return Member(kind, pictures, Surprise.fit(own.double().numpy()))
    if kind in FOLDED:
        return _folded(kind, FOLDED[kind], rows, owner, seed)
    if len(x) < FEW:  # too few to hold any back: their surprises are those of rows that were seen
        fit = held = np.arange(len(x))
    else:
        fit, held = split(len(x), seed, 0.8, 0.2)
    if kind == "pca":
        model: Scores = PCA.fit(rows[fit], seed)
    else:
        cfg = registry.module(kind).Config() if cfg is None else cfg
        cfg = replace(cfg, run=replace(cfg.run, seed=seed))
        table = Table(x, tuple(f"x{i}" for i in range(x.shape[1])), "the rows")
        model = fit_model(kind, cfg, table, fit, held)
    return Member(kind, model, Surprise.fit(score_rows(model, x[held])), cfg)


def _folded(
    kind: str,
    fit: Callable[..., tuple[Any, Tensor]],
    rows: Float[Tensor, "B F"],
    owner: Int[np.ndarray, " F"],
    seed: int,
) -> Member:
    group = np.unique(owner, return_inverse=True)[1]  # columns that have no feature are no group
    model, own = fit(rows, torch.from_numpy(group), seed)
    unseen = own.double().numpy()
    surprise = Surprise.fit(unseen)
    return Member(kind, model, surprise, weight=ENSEMBLE.get(kind, 1.0), own=surprise(unseen))


def score_together(members: Sequence[Member], x: Float[np.ndarray, "B F"]) -> Float[np.ndarray, " B"]:
    """The joint surprise of rows, always finite."""
    scores = [np.nan_to_num(member(x), nan=STRANGEST, posinf=STRANGEST) for member in members]
    if len(members) == 1:
        return scores[0]
    return _joined(members, scores)


def glance_of(members: Sequence[Member], x: Float[np.ndarray, "B F"], seed: int) -> Glance | None:
    """What clears most rows in place of members, `memory`, `ratio`, `linear` among them, fitted on x.

    None where x has fewer rows than it would remember.
    """
    if len(x) < SEEN:
        return None
    by_kind = {member.kind: member for member in members}
    return Glance.fit(by_kind["memory"], by_kind["ratio"], by_kind["linear"], x, seed)


def _joined(members: Sequence[Member], surprises: Sequence[np.ndarray]) -> Float[np.ndarray, " B"]:
    return joined(np.stack(surprises), np.array([member.weight for member in members]))


def crossed(
    fit: Callable[[Bool[np.ndarray, " B"]], Sequence[Member]], x: Float[np.ndarray, "B F"], seed: int
) -> Float[np.ndarray, " B"]:
    """How strange each row is to models of the half of the rows that it is not in; `fit` learns from some.

    Raises:
        InputError: for fewer than two rows a half.
    """
    if len(x) < HALVED:
        raise InputError(f"there are {len(x)} contaminated rows to fit, expected {HALVED} or more")
    half = numpy_generator(seed, "halves").permutation(len(x)) % 2 == 0
    score = np.zeros(len(x))
    for fitted in (half, ~half):
        score[~fitted] = score_together(fit(fitted), x[~fitted])
    return score


def restore(description: Mapping[str, Any], arrays: dict[str, Tensor], folder: Path) -> Member:
    """Reads what a member's `arrays` and `describe` gave; raises InputError when they do not fit together."""
    kind = description.get("kind")
    arrays = dict(arrays)
    found = arrays.pop("surprise", None)
    surprise = None if found is None else Surprise.of_array(found.numpy())
    if kind in KINDS:
        return Member(kind, Pictures.of_arrays(kind, arrays), surprise)
    if kind not in RESTORED:
        trained = registry.restore(arrays, description, folder)
        return Member(trained.kind, trained.model, surprise, trained.cfg)
    try:
        return Member(kind, RESTORED[kind].of_arrays(arrays), surprise)
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

    Its weights are those of the update that its own measure of the rows `select` liked best, as in
    `lab train`: the mean score tells nothing of a critic, which may add any number to all its scores.

    Raises:
        InputError: for an unknown kind, and when no measure of the selection rows is finite.
    """
    part = registry.module(kind)
    form = Form(table.x.shape[1], table.shape)
    learner = part.Learner(cfg, torch.from_numpy(table.x[fit]), None, form)
    every = cfg.run.evaluate_every or cfg.run.steps
    best, weights = -np.inf, {}
    for step, _ in part.train(cfg, learner):
        if step % every == 0 or step >= cfg.run.steps:
            found = measured(learner.model, table.x[select])
            if found > best:
                best, weights = found, {k: v.clone() for k, v in learner.model.state_dict().items()}
    if not weights:
        raise InputError(f"no {kind} explains the rows of {table.source}: every measure is NaN or infinite")
    learner.model.load_state_dict(weights)
    return learner.model


@torch.no_grad()
def measured(model: registry.Model, x: Num[np.ndarray, "B D"]) -> float:
    """The model's measure of rows, higher where better: the mean over blocks of one size."""
    blocks = torch.from_numpy(x).tensor_split(-(-len(x) // BLOCK))  # a rest of one row has no neighbours
    with evaluating(model):
        return sum(len(block) * model.measure(block, None)[0] for block in blocks) / len(x)


def score_rows(model: Scores, x: Num[np.ndarray, "B D"]) -> Float[np.ndarray, " B"]:
    """The model's scores in float64, computed in blocks."""
    rows = torch.from_numpy(np.ascontiguousarray(x))
    with evaluating(model) if isinstance(model, HasModes) else nullcontext():
        scores = [model.score(block).double().cpu() for block in rows.split(BLOCK)]
    return torch.cat(scores).numpy() if scores else np.zeros(0)
