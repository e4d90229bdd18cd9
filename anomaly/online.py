"""Scores of a series that is learned while it comes: each row by what the rows before it have taught.

Models of windows (all views of `forecast`, `memory`, `newest`) are fitted to the first rows, and every REFIT
rows again to the last ROWS windows. Each model's score becomes the surprise among its own scores so far
(`surprise`), counted again every COUNT rows; the joint surprise is a row's score. So what has become usual is
no surprise any more, and scores of different series can be compared.

What the first rows score is by models of the other half of them, and is only there to be compared with.

Scores say how strange each row is; `recent` says it of the rows up to it, and `alarms` when to tell somebody.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import logsumexp

from anomaly.forecast import VIEWS, Forecast
from anomaly.memory import Memory
from anomaly.models import Scores, score_rows
from anomaly.newest import Newest
from anomaly.surprise import TEMPERATURE, Surprise, joined
from anomaly.windows import Windows
from training.errors import InputError

REFIT, COUNT = 500, 100  # rows
ROWS = 10_000  # windows that models are fitted to
WINDOW = 64  # rows


def usual_models(past: Float[np.ndarray, "B D"], window: int, seed: int) -> list[Scores]:
    """Models of windows, those that `lab fit --window` has."""
    rows = torch.from_numpy(past)
    owner = torch.zeros(past.shape[1], dtype=torch.int64)
    memory = Memory.fit(rows, owner, seed, plain=True)[0]
    return [*(Forecast.fit(view, rows, window) for view in VIEWS), memory, Newest.fit(rows, window, seed)]


def online_scores(
    x: Float[np.ndarray, "N F"],
    first: int,
    window: int = WINDOW,
    seed: int = 0,
    models: Callable[[np.ndarray, int, int], list[Scores]] = usual_models,
) -> Float[np.ndarray, " N"]:
    """The score of each row; the `first` rows are learned from before any is scored, and score 0.

    `models` makes models of windows, of the length of a window and a seed.

    Raises:
        InputError: when the first rows are fewer than two windows, or a number is missing.
    """
    if first < 2 * window:
        raise InputError(f"first is {first}, expected two windows of {window} rows at least")
    if not np.isfinite(x).all():
        raise InputError("the series has gaps or infinite numbers, expected numbers alone")
    mean, deviation = x[:first].mean(0), x[:first].std(0)
    scaled = (x - mean) / np.where(deviation > 0, deviation, 1.0)
    windows = Windows(window).of(scaled)
    half = first // 2
    parts = [(0, half, windows[half:first]), (half, first, windows[:half])]
    for begin in range(first, len(x), REFIT):
        parts.append((begin, begin + REFIT, windows[max(0, begin - ROWS) : begin]))
    raw = []
    for begin, end, past in parts:
        fitted = models(past, window, seed)
        raw.append(np.stack([score_rows(model, windows[begin:end]) for model in fitted]))
    surprise = [_among_past(score, first) for score in np.concatenate(raw, axis=1)]
    return joined(np.stack(surprise), np.ones(len(surprise)))


def recent(score: Float[np.ndarray, " N"], rows: int = WINDOW) -> Float[np.ndarray, " N"]:
    """How strange the last rows are together: their scores joined as those of models are (`surprise`)."""
    before = np.concatenate([np.zeros(rows - 1), score])
    last = np.lib.stride_tricks.sliding_window_view(before, rows)
    return TEMPERATURE * (logsumexp(last / TEMPERATURE, axis=1) - np.log(rows))


def alarms(score: Float[np.ndarray, " N"], limit: float, rest: int) -> Int[np.ndarray, " A"]:
    """The rows of alarms: where a score reaches the limit, and not within `rest` rows after an alarm."""
    high = np.flatnonzero(score >= limit)
    found, i = [], 0
    while i < len(high):
        found.append(high[i])
        i = int(np.searchsorted(high, high[i] + rest, side="right"))
    return np.array(found, np.int64)


def _among_past(score: Float[np.ndarray, " N"], first: int) -> Float[np.ndarray, " N"]:
    """The surprise of each score among those before it; 0 for the first rows."""
    found = np.zeros(len(score))
    for begin in range(first, len(score), COUNT):
        found[begin : begin + COUNT] = Surprise.fit(score[:begin], heavy=True)(score[begin : begin + COUNT])
    return found
