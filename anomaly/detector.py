"""Detectors: models that know what is normal, and scores that say what their verdict is worth.

The contract is PyOD's: `fit`, `decision_function` (higher = stranger), `predict` 0/1; and `p_value`. Rows are
used once: to fit (models in folds select and calibrate themselves there), or to calibrate the p-values.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from anomaly.calibration import check_rate, p_values, smallest_alpha, threshold
from anomaly.cells import check_whole
from anomaly.detector_state import pack, unpack
from anomaly.encoder import Encoder
from anomaly.glance import Glance
from anomaly.models import (
    BLOCK,
    GLANCE,
    STRANGEST,
    Member,
    check_fast,
    crossed,
    fit_model,
    members_of,
    score_rows,
    score_together,
)
from anomaly.pictures import KINDS
from anomaly.reader import of_array
from anomaly.sample import Sample, of_table
from anomaly.schema import Column, Schema
from anomaly.shown import shown
from anomaly.text_members import Parts, TextGlance, named
from anomaly.windows import Seen, Windows
from generative import registry
from generative.data import Table
from training.checkpoint import load_model, save_model
from training.errors import InputError
from training.seeds import numpy_generator

__all__ = ["Detector", "fit_model", "score_rows"]

CALIBRATE = 0.2  # of the rows
CALIBRATE_MOST = 2_000  # rows; more would narrow the promise's spread less than they would help the models
TRIMMED = 0.1  # of the fitted rows, the strangest, are left out when the rows are contaminated
REFERENCES = 1_000  # normal rows kept to show beside strange ones
PART = 8 * BLOCK  # rows that are made ready at once: memory is used again, and stays in the cache


@dataclass
class Detector:
    """Fitted models, what they look at, and the sorted scores of their calibration rows."""

    kind: str
    schema: Schema
    encoder: Encoder
    members: list[Member]
    calibration: Float[np.ndarray, " n"]  # ascending
    references: Float[np.ndarray, "R F"]  # features of normal rows
    alpha: float = 0.0  # promised false-alarm rate; 0: the smallest that n rows allow, but 0.01 at least
    about: dict[str, Any] = field(default_factory=dict)  # facts for the model card
    windows: Windows | None = None  # of a series: what is judged is the window that ends with a row
    glance: Glance | TextGlance | None = None  # it clears most rows, of which the models are then not asked

    def __post_init__(self) -> None:
        if len(self.calibration) == 0:
            raise InputError("there are 0 rows to calibrate on, expected at least 1")
        bad = int((~(np.abs(self.calibration) < STRANGEST)).sum())
        if bad:
            raise InputError(
                f"{bad} of {len(self.calibration)} normal rows have scores that are NaN or overflow"
            )
        self.calibration = np.sort(self.calibration)
        self.alpha = self.alpha or smallest_alpha(len(self.calibration))
        check_rate(self.alpha)

    @staticmethod
    def fit(
        data: str | Table | pa.Table | np.ndarray | Sample,
        kind: str = "auto",
        seed: int = 0,
        alpha: float | None = None,
        cfg: Any = None,
        contaminated: bool = False,
        fast: bool = False,
    ) -> "Detector":
        """New models of normal rows, calibrated on a part of the rows that they do not see.

        `cfg` is a generative model's Config. `contaminated` first fits each half of the rows, and
        leaves out the tenth that was strangest to models of the other half; no promise is made then.
        `fast` takes the glance of `auto` alone (`anomaly.glance`).

        Raises:
            InputError: for an unknown kind or one that cannot be fast, rows that cannot be read, and
                fewer than three of them, or five contaminated ones.
        """
        members_of(kind)
        if alpha is not None:
            check_rate(alpha)
        sample = data if isinstance(data, Sample) else of_table(data, seed)
        names = members_of(kind, len(sample.shape) == 3)
        if fast:
            check_fast(names)
            names = (GLANCE,)
        whole = names[0] in KINDS
        kind = names[0] if whole else kind
        if whole and len(sample.shape) != 3:
            raise InputError(f"the detector {kind} is for pictures, {sample.source} holds rows of a table")
        if whole:
            check_whole(sample.schema.cells(sample.table, sample.source), sample.source)
        schema, kind = sample.schema, named(kind, sample.schema, sample.source, fast)
        fit, calibrate = sample.split(seed, CALIBRATE, CALIBRATE_MOST)
        cells = schema.cells(sample.table.take(pa.array(fit)), sample.source)
        encoder = Encoder.whole(schema.names) if whole else Encoder.fit(schema, cells, True, seed)
        parts = Parts(names, encoder, seed, cfg, sample.shape)
        x, judged = encoder.features_of(cells), parts.judged(len(fit))
        if contaminated:
            own = crossed(lambda some: parts.fit(x[some], judged[some]), x, seed)
            x, judged = (kept[own <= np.quantile(own, 1 - TRIMMED)] for kept in (x, judged))
        members = parts.fit(x, judged)
        some = x[np.sort(numpy_generator(seed, "references").permutation(len(x))[:REFERENCES])]
        found = Detector(kind, schema, encoder, members, np.zeros(1), some)
        if kind == "auto" and not fast:
            found.glance = parts.glance(members, x, judged)
        score = found.decision_function(sample.table.take(pa.array(calibrate)), sample.source)
        found = found.calibrated(score, alpha)
        found.about = sample.about() | {
            "rows fitted": len(x),
            "calibrated on": "rows that nothing else used",
            "contaminated": contaminated,
            "whole": whole,
            "fast": fast,
        }
        return found

    @staticmethod
    def of_run(run: Path, table: Table, alpha: float | None = None) -> "Detector":
        """A detector of a model that `lab train` made, calibrated on rows that it has not seen.

        Those are, when the table is the one it was trained on, the rows which the run kept for tests; else
        all rows, and then it is the caller's word that the run was not trained on them.

        Raises:
            InputError: when there is no model in the run, or the table has other columns.
        """
        if alpha is not None:
            check_rate(alpha)
        trained = registry.load(run / "model")
        table.expect(trained.columns, f"{run}")
        if trained.fingerprint == table.fingerprint():
            rows = registry.parts(table, trained.cfg.run.seed)[2]
            on = "rows that the run kept for tests"
        else:
            rows, on = np.arange(len(table.x)), "rows, none of which the run may have been trained on"
        columns = tuple(Column(name, "numeric") for name in trained.columns)
        encoder = Encoder.whole(trained.columns)
        members = [Member(trained.kind, trained.model, None, trained.cfg)]
        own = score_rows(trained.model, table.x[rows])
        about = {"source": table.source, "rows": len(table.x), "calibrated on": on, "whole": True}
        if len(table.shape) == 3:
            about["shape"] = list(table.shape)
        some = table.x[rows[:REFERENCES]].astype(np.float64)  # pictures are bytes
        return Detector(trained.kind, Schema(columns), encoder, members, own, some, alpha or 0.0, about)

    def calibrated(self, scores: Float[np.ndarray, " n"], alpha: float | None) -> "Detector":
        """The same models with the scores of rows that they have not seen; alpha is as in `fit`.

        Raises:
            InputError: for scores that are NaN or overflow.
        """
        return replace(self, calibration=scores, alpha=alpha or 0.0)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that it looks at."""
        return self.schema.names

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that must be there: those it looks at; of a series its name and its time."""
        return (*self.columns, *(self.windows.reads if self.windows else ()))

    @property
    def owner(self) -> Int[np.ndarray, " F"]:
        """Which input each feature comes from."""
        return self.windows.owners(self.encoder.owner) if self.windows else self.encoder.owner

    def shown(
        self, x: Float[np.ndarray, " F"], i: int, novel: bool = False, series: int | None = None
    ) -> str:
        """Input number `i` as a reader would write the cell, in the newest row of a window."""
        return shown(self.encoder, x[len(x) - len(self.encoder.features) :], i, novel, series)

    @property
    def flags(self) -> bool:
        """Whether there are enough calibration rows for alpha; without, no row can be flagged."""
        return self.alpha * (len(self.calibration) + 1) >= 1 - 1e-9

    @property
    def threshold(self) -> float:
        """Rows that score higher are anomalies."""
        return threshold(self.calibration, self.alpha)

    def seen(
        self,
        rows: np.ndarray | pa.Table,
        source: str = "the rows",
        first: int = 0,
        context: pa.Table | None = None,
    ) -> Seen:
        """Rows as the models look at them; `source` and `first` row are for messages.

        `context` are the rows just before, which the windows of a series reach back to.
        """
        if not isinstance(rows, pa.Table) and hasattr(rows, "columns"):  # as an array its names would be lost
            raise InputError(f"rows are a {type(rows).__name__}, expected an array or an Arrow table")
        table = rows if isinstance(rows, pa.Table) else of_array(np.asarray(rows), self.columns)
        if self.windows:
            return self.windows.seen(self.schema, self.encoder, table, source, first, context)
        cells = self.schema.cells(table, source, first)
        if self.about.get("whole"):
            check_whole(cells, source, first)
        return Seen(self.encoder.features_of(cells), self.encoder.novel(cells))

    def score_seen(self, seen: Seen) -> Float[np.ndarray, " B"]:
        """The scores of rows, 0 for those that have no window."""
        pieces = seen.pieces(np.arange(len(seen.novel)), BLOCK)
        score = [self.scored(seen.of(rows), seen.novel[rows].sum(1)) for rows in pieces]
        return np.where(seen.judged, np.concatenate([np.zeros(0), *score]), 0.0)

    def score_features(
        self, x: Float[np.ndarray, "B F"], novelties: Int[np.ndarray, " B"]
    ) -> Float[np.ndarray, " B"]:
        """What all models say of rows of which the features, and the number of novel cells, are known."""
        if len(x) == 0:
            return np.zeros(0)
        return score_together(self.members, x) + self.encoder.novelty * novelties

    def scored(
        self, x: Float[np.ndarray, "B F"], novelties: Int[np.ndarray, " B"]
    ) -> Float[np.ndarray, " B"]:
        """The scores that are given out: what all models say; of rows that a glance clears, what it says."""
        if self.glance is None:
            return self.score_features(x, novelties)
        score = self.glance(x)
        asked = np.flatnonzero(~(score <= self.glance.limit) | (novelties > 0))  # NaN clears nothing
        score[asked] = self.score_features(x[asked], novelties[asked])
        return score

    def decision_function(
        self,
        rows: np.ndarray | pa.Table,
        source: str = "the rows",
        first: int = 0,
        context: pa.Table | None = None,
    ) -> Float[np.ndarray, " B"]:
        """How strange each row is: nats of surprise, or what a trained model gives (`of_run`)."""
        if self.windows or len(rows) <= PART:
            return self.score_seen(self.seen(rows, source, first, context))
        cut = rows.slice if isinstance(rows, pa.Table) else lambda at, count: rows[at : at + count]
        parts = [
            self.decision_function(cut(at, PART), source, first + at) for at in range(0, len(rows), PART)
        ]
        return np.concatenate(parts)

    def p_value(self, rows: np.ndarray | pa.Table) -> Float[np.ndarray, " B"]:
        """The share of normal rows that are at least as strange: conformal, so never 0."""
        return self.p_of(self.decision_function(rows))

    def predict(self, rows: np.ndarray | pa.Table) -> Int[np.ndarray, " B"]:
        """1 for rows that are anomalies at the false-alarm rate alpha, else 0."""
        return self.verdict(self.p_value(rows))

    def p_of(self, score: Float[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """The p-values of scores that `decision_function` gave."""
        return p_values(score, self.calibration)

    def verdict(self, p_value: Float[np.ndarray, " B"]) -> Int[np.ndarray, " B"]:
        """1 where p <= alpha."""
        return (p_value <= self.alpha + 1e-12).astype(int)

    def save(self, folder: Path) -> None:
        """Writes a model folder that `load` reads."""
        save_model(folder, *pack(self))

    @staticmethod
    def load(folder: Path) -> "Detector":
        """Reads what `save` wrote.

        Raises:
            InputError: when the folder is missing, damaged or not a detector's.
        """
        return Detector(**unpack(*load_model(folder), folder))
