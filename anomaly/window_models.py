"""Models of windows by name: those of rows, forecasts, and networks that read one in its order of time."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from anomaly.baselines import PCA
from anomaly.forecast import VIEWS, Forecast
from anomaly.models import FOLDED, Member, Scores, fit_model, kinds, score_rows
from anomaly.newest import Newest
from anomaly.pictures import KINDS
from anomaly.surprise import Surprise
from generative import registry
from generative.data import Table
from generative.parts.networks import Network
from training.errors import InputError

OF_WINDOWS = (*VIEWS, "newest")  # what looks at windows alone
WINDOWED = (*OF_WINDOWS, "nearest")  # what `auto` joins where rows are windows of a series
NETWORKED = ("autoencoder", "denoiser", "vae")  # generative models that can read windows by time
STEPS = 1_000  # of an lstm or convolutions: a minute of one core
HIDDEN, WIDTH = 32, 16  # size of an lstm, channels of the first convolution


def members_of_windows(kind: str) -> tuple[str, ...]:
    """The models that a detector of windows joins; raises InputError for a name that it does not know."""
    known = tuple(name for name in (*kinds(), *OF_WINDOWS) if name not in KINDS)
    if kind not in known:
        raise InputError(f"detector is {kind!r}, expected one of {', '.join(known)}")
    return WINDOWED if kind in ("auto", "ensemble") else (kind,)


def window_config(kind: str, network: Network) -> Any:
    """Settings of a generative model that reads windows with a network: smaller than what pictures need.

    Raises:
        InputError: when the model has no such network.
    """
    if kind not in NETWORKED:
        raise InputError(f"network is {network!r}, expected a --detector among {', '.join(NETWORKED)}")
    cfg = registry.module(kind).Config()
    if network == "dense":
        return cfg
    run = replace(cfg.run, steps=STEPS, evaluate_every=STEPS // 4)
    return replace(cfg, network=network, hidden=(HIDDEN,), width=WIDTH, run=run)


def fit_window_member(
    kind: str,
    x: Float[np.ndarray, "B D"],
    later: Float[np.ndarray, "L D"],
    owner: Int[np.ndarray, " D"],
    told: Int[np.ndarray, " T"],
    length: int,
    seed: int,
    cfg: Any = None,
) -> Member:
    """A model of windows of `length` rows, with the surprise of its scores of `later` windows.

    `told` are the features of a row that say more than that something is missing: what OF_WINDOWS look at.
    Windows share rows with their neighbours, so that leaving one out or folds would flatter the model.
    """
    rows, looked_at = torch.from_numpy(x), torch.from_numpy(told) if len(told) else None
    if kind in VIEWS:
        model: Scores = Forecast.fit(kind, rows, length, looked_at)
    elif kind == "newest":
        model = Newest.fit(rows, length, seed, looked_at)
    elif kind == "pca":
        model = PCA.fit(rows, seed)
    elif kind in FOLDED:
        model = FOLDED[kind](rows, torch.from_numpy(np.unique(owner, return_inverse=True)[1]), seed)[0]
    else:
        cfg = registry.module(kind).Config() if cfg is None else cfg
        cfg = replace(cfg, run=replace(cfg.run, seed=seed))
        names = tuple(f"x{i}" for i in range(x.shape[1]))
        shape = (length, x.shape[1] // length)
        table = Table(np.concatenate([x, later]), names, "the windows", shape=shape)
        fit, select = np.arange(len(x)), np.arange(len(x), len(table.x))
        model = fit_model(kind, cfg, table, fit, select)
    surprise = Surprise.fit(score_rows(model, later))
    return Member(kind, model, surprise, cfg)
