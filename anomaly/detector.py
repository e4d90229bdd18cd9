"""Detectors: a generative model that knows what is normal, and scores that say what its verdict is worth.

The contract is PyOD's: `fit`, `decision_function` (higher = stranger), `predict` 0/1; and `p_value`. Rows are
used once: to fit, to select when to stop, or to calibrate.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from anomaly.calibration import check_alpha, p_values, smallest_alpha, threshold
from generative import registry
from generative.data import Table, split_table
from training.checkpoint import load_model, save_model
from training.errors import InputError
from training.networks import evaluating

SHARES = (0.6, 0.15, 0.25)  # of the rows, to fit, select and calibrate
BLOCK = 65_536  # rows scored at once


class Detector:
    """A fitted generative model and the sorted scores of its calibration rows."""

    def __init__(
        self,
        kind: str,
        cfg: Any,
        model: registry.Model,
        columns: tuple[str, ...],
        calibration: Float[np.ndarray, " n"],
        alpha: float | None = None,
        calibrated_on: str = "rows of the caller's choice",
    ) -> None:
        """Calibrates; alpha is the promised false-alarm rate, by default 0.01 or what n rows allow.

        Raises:
            InputError: when there are no calibration scores, or fewer than alpha needs.
        """
        if len(calibration) == 0:
            raise InputError("there are 0 rows to calibrate on, expected at least 1")
        self.kind, self.cfg, self.model, self.columns = kind, cfg, model, columns
        self.calibration, self.calibrated_on = np.sort(calibration), calibrated_on
        self.alpha = smallest_alpha(len(calibration)) if alpha is None else alpha
        check_alpha(self.alpha, len(calibration))

    @staticmethod
    def fit(
        table: Table, kind: str = "vae", seed: int = 0, alpha: float | None = None, cfg: Any = None
    ) -> "Detector":
        """A new model of the given kind, fitted to a part of the rows and calibrated on another.

        `cfg` is the model's Config, by default the preset of the table's source. Learning stops at the
        update whose model explains the selection rows best.

        Raises:
            InputError: for an unknown kind, and for fewer rows than the three parts need.
        """
        fit, select, calibrate = split_table(table, seed, *SHARES)
        if alpha is not None:
            check_alpha(alpha, len(calibrate))
        cfg = registry.preset(kind, table.source) if cfg is None else cfg
        cfg = replace(cfg, run=replace(cfg.run, seed=seed))
        model = fit_model(kind, cfg, table, fit, select)
        calibration = score_rows(model, table.x[calibrate])
        return Detector(kind, cfg, model, table.columns, calibration, alpha, "rows that nothing else used")

    @staticmethod
    def of_run(run: Path, table: Table, alpha: float | None = None) -> "Detector":
        """A detector of a model that `lab train` made, calibrated on rows that it has not seen.

        Those are, when the table is the one it was trained on, the rows which the run kept for tests; else
        all rows, and then it is the caller's word that the run was not trained on them.

        Raises:
            InputError: when there is no model in the run, or the table has other columns.
        """
        trained = registry.load(run / "model")
        table.expect(trained.columns, f"{run}")
        if trained.fingerprint == table.fingerprint():
            rows = registry.parts(table, trained.cfg.run.seed)[2]
            on = "rows that the run kept for tests"
        else:
            rows, on = np.arange(len(table.x)), "rows, none of which the run may have been trained on"
        calibration = score_rows(trained.model, table.x[rows])
        return Detector(trained.kind, trained.cfg, trained.model, trained.columns, calibration, alpha, on)

    @property
    def threshold(self) -> float:
        """Rows that score higher are anomalies."""
        return threshold(self.calibration, self.alpha)

    def decision_function(self, x: Float[np.ndarray, "B D"]) -> Float[np.ndarray, " B"]:
        """How strange each row is; higher is stranger, the unit is the model's."""
        return score_rows(self.model, x)

    def p_value(self, x: Float[np.ndarray, "B D"]) -> Float[np.ndarray, " B"]:
        """The share of normal rows that are at least as strange: conformal, so never 0."""
        return self.p_of(self.decision_function(x))

    def predict(self, x: Float[np.ndarray, "B D"]) -> Int[np.ndarray, " B"]:
        """1 for rows that are anomalies at the false-alarm rate alpha, else 0."""
        return self.verdict(self.p_value(x))

    def p_of(self, score: Float[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """The p-values of scores that `decision_function` gave."""
        return p_values(score, self.calibration)

    def verdict(self, p_value: Float[np.ndarray, " B"]) -> Int[np.ndarray, " B"]:
        """1 where p <= alpha."""
        return (p_value <= self.alpha).astype(int)

    def save(self, folder: Path) -> None:
        """Writes a model folder that `load` reads."""
        weights = registry.weights(self.model) | {"calibration": torch.from_numpy(self.calibration)}
        description = registry.describe(self.kind, self.cfg, self.columns)
        save_model(folder, weights, description | {"alpha": self.alpha, "calibrated_on": self.calibrated_on})

    @staticmethod
    def load(folder: Path) -> "Detector":
        """Reads what `save` wrote.

        Raises:
            InputError: when the folder is missing, damaged or not a detector's.
        """
        weights, description = load_model(folder)
        if "calibrated_on" not in description or "calibration" not in weights:
            raise InputError(
                f"{folder} holds a {description.get('kind')}, expected a detector: see `lab fit`"
            )
        calibration = weights.pop("calibration").numpy()
        found = registry.restore(weights, description, folder)
        alpha, on = description["alpha"], description["calibrated_on"]
        return Detector(found.kind, found.cfg, found.model, found.columns, calibration, alpha, on)


def fit_model(
    kind: str,
    cfg: Any,
    table: Table,
    fit: Int[np.ndarray, " rows"],
    select: Int[np.ndarray, " others"],
) -> registry.Model:
    """A new model of the given kind, learned from the rows `fit` of the table.

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


def score_rows(model: registry.Model, x: Float[np.ndarray, "B D"]) -> Float[np.ndarray, " B"]:
    """The model's scores in float64, computed in blocks."""
    rows = torch.from_numpy(np.ascontiguousarray(x))
    with evaluating(model):
        scores = [model.score(block).double().cpu() for block in rows.split(BLOCK)]
    return torch.cat(scores).numpy() if scores else np.zeros(0)
