"""Cells to features: what detectors see, learned from the rows that fit and saved with them.

    numeric    (x − median) / standard deviation, both of the values present; at most FARTHEST. Of a table's
               column of amounts, log x takes the place of x
    date       the time of day and the day of the week, as points on circles. When it was is no feature: every
               new row would be later than all others
    category   one feature for each of the 63 most frequent words, and one for the others
    text       one feature: how strange it is to a language model of the column (`anomaly.text`)
    missing    a feature says so, and the median or no word stands in its place; of text it has none

Features that were equal in all fitted rows are left out. What never happened there is `novel`: another value
of a constant column, any in an empty one, a word never seen, a gap where there was none; each adds
log(n + 1) to a row's score, the surprise of an event that n rows did not have (the rule of succession).

Amounts are positive numbers, no value in a tenth of the rows, whose logarithms look more normal than they do
themselves: under normal distributions of both, log x is likelier by CLEARER nats a row (Box and Cox, 1964,
doi:10.1111/j.2517-6161.1964.tb00553.x, with λ = 0 against 1). A tenth of what is usual is then as far off as
ten times as much. What is not positive there is novel, and seen as the smallest that was. Columns with zeros
are left as they are: on labelled tables their logarithms did as much harm as good.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int

from anomaly.own_scale import OwnScale
from anomaly.schema import Column, Schema
from anomaly.text import Text
from training.config import from_dict
from training.errors import InputError

WORDS = 63  # of a category that have a feature of their own
REMEMBERED = 10_000  # words of a category; beyond them a new one is no news
DAY, WEEK = 86_400.0, 7 * 86_400.0
FARTHEST = 1e9  # deviations; what is further off is as strange, and its distance finite in 32 bits
MONDAY = 4 * DAY  # 1970-01-05
FREQUENT = 0.1  # the share of rows that have one value, from which on a column has no amounts
CLEARER = 0.05  # nats a row
ROUNDING = 1e-6  # deviation of logarithms below which they are as normal as the numbers, but for rounding
PIECE = 4_096  # rows whose features are made at once: what fits into the cache


@dataclass(frozen=True)
class Coding:
    """How the cells of one column become features."""

    column: str
    kind: str
    shift: float = 0.0
    scale: float = 1.0
    least: float = 0.0  # of amounts: the smallest, and logarithms are shifted and scaled; 0: of other columns
    words: tuple[str, ...] = ()  # seen in fitting, the most frequent first
    complete: bool = True  # whether these are all that were seen
    gaps: bool = False  # whether any was missing in fitting
    constant: bool = False  # whether all that were present were equal
    empty: bool = False  # whether none was present


class Encoder:
    """The features of rows, and what about them is novel."""

    def __init__(
        self,
        codings: tuple[Coding, ...],
        kept: Int[np.ndarray, " F"],
        rows: int,
        own: OwnScale | None = None,  # of series that are each seen in their own
        texts: Mapping[str, Text] | None = None,  # what reads each column of text
    ) -> None:
        self.codings, self.kept, self.rows, self.own = codings, kept, rows, own
        self.texts = dict(texts or {})
        names, owners = [], []
        for i, coding in enumerate(codings):
            labels = _labels(coding)
            names += labels
            owners += [i] * len(labels)
        self.features = tuple(names[i] for i in kept)
        self.owner = np.array(owners, int)[kept]  # (F,) which input each feature comes from
        last = np.cumsum(np.bincount(owners)) - 1  # of each column's features: whether it is missing
        self.of_text = np.array([coding.kind == "text" for coding in codings], bool)[self.owner]  # (F,)
        self.tells_gaps = np.isin(kept, last) & ~self.of_text  # (F,)

    @staticmethod
    def fit(schema: Schema, cells: Mapping[str, Any], amounts: bool = False, seed: int = 0) -> "Encoder":
        """Learns codings from the cells of the fitted rows (`Schema.cells`); `amounts`: looks for them.

        `seed` is that of what reads text, which learns from rows but those of `text.held`.
        """
        codings = tuple(_coding(column, cells[column.name], amounts) for column in schema.inputs)
        rows = len(next(iter(cells.values()))) if cells else 0
        of_text = {column.name for column in schema.inputs if column.kind == "text"}
        parts = _parts(codings, {**cells, **{name: np.arange(rows) for name in of_text}})  # all are kept
        kept = np.flatnonzero([(part != part[:1]).any() for part in parts]) if rows else np.zeros(0, int)
        if not len(kept):
            raise InputError(
                "every column is constant, left out or a label, expected one that differs from row to row,"
                " or one of sentences that --text names"
            )
        texts = {name: Text.fit(cells[name], seed) for name in sorted(of_text)}
        return Encoder(codings, kept, rows, texts=texts)

    @staticmethod
    def whole(columns: Sequence[str]) -> "Encoder":
        """Every column as it is: the value is a feature, whether it is missing is none, nothing is novel."""
        codings = tuple(Coding(name, "numeric", gaps=True) for name in columns)
        return Encoder(codings, np.arange(0, 2 * len(codings), 2), 0)

    @property
    def gaps(self) -> Int[np.ndarray, "2 G"]:
        """Features that are numbers, and for each the feature that says whether it is missing."""
        found = [
            (f, f + 1)
            for f in range(len(self.kept) - 1)
            if self.codings[self.owner[f]].kind == "numeric"
            and self.tells_gaps[f + 1]
            and self.owner[f] == self.owner[f + 1]
        ]
        return np.array(found, int).reshape(-1, 2).T

    @property
    def novelty(self) -> float:
        """What each novel cell adds to a score, in nats."""
        return float(np.log(self.rows + 1.0))

    def features_of(self, cells: Mapping[str, Any]) -> Float[np.ndarray, "B F"]:
        """The features of rows."""
        cells = {**cells, **{name: text.score(cells[name]) for name, text in self.texts.items()}}
        x = np.empty((len(next(iter(cells.values()))), len(self.kept)))
        for first in range(0, len(x), PIECE):
            some = slice(first, first + PIECE)
            parts = _parts(self.codings, {name: column[some] for name, column in cells.items()})
            x[some] = np.array([parts[i] for i in self.kept]).T
        return x.clip(-FARTHEST, FARTHEST, out=x) if self.rows else x

    def novel(self, cells: Mapping[str, Any]) -> Bool[np.ndarray, "B C"]:
        """Which inputs of each row are such as no fitted row had."""
        return np.stack([_novel(coding, cells[coding.column]) for coding in self.codings], axis=1)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        codings = [asdict(coding) for coding in self.codings]
        found: dict[str, Any] = {"codings": codings, "kept": self.kept.tolist(), "rows": self.rows}
        if self.texts:
            found["texts"] = {name: list(text.vocabulary.words) for name, text in self.texts.items()}
        return found if self.own is None else found | {"own": self.own.to_json()}

    @staticmethod
    def from_json(found: Mapping[str, Any], where: str, texts: Mapping[str, Text] | None = None) -> "Encoder":
        """Reads what `to_json` gave; raises InputError when it is something else.

        `texts` read the columns of text.
        """
        codings = tuple(from_dict(Coding, coding, f"{where}: codings") for coding in found["codings"])
        own = OwnScale.from_json(found["own"]) if "own" in found else None
        return Encoder(codings, np.array(found["kept"], int), int(found["rows"]), own, texts)


def _coding(column: Column, cells: Any, amounts: bool) -> Coding:
    if column.kind == "category":
        counts = sorted(
            ((c["counts"], c["values"]) for c in cells.value_counts().to_pylist() if c["values"] is not None),
            key=lambda pair: (-pair[0], pair[1]),
        )
        words = tuple(word for _, word in counts)
        return Coding(
            column.name,
            "category",
            words=words[:REMEMBERED],
            complete=len(words) <= REMEMBERED,
            gaps=cells.null_count > 0,
            constant=len(words) == 1,
            empty=not words,
        )
    if column.kind == "text":
        return Coding(column.name, "text", gaps=cells.null_count > 0)
    present = cells[~np.isnan(cells)]
    gaps = len(present) < len(cells)
    if not len(present):
        return Coding(column.name, column.kind, gaps=True, constant=True, empty=True)
    constant = bool((present == present[0]).all())
    if column.kind == "date" or constant:
        return Coding(
            column.name,
            column.kind,
            float(present[0]) if constant else 0.0,
            1.0,
            gaps=gaps,
            constant=constant,
        )
    least = float(present.min()) if amounts and _are_amounts(present) else 0.0
    present = np.log(present) if least else present
    middle, deviation = float(np.median(present)), float(present.std()) or 1.0
    return Coding(column.name, column.kind, middle, deviation, least, gaps=gaps)


def _are_amounts(present: Float[np.ndarray, " n"]) -> bool:
    """Whether the values are what the module docstring calls amounts."""
    if present.min() <= 0 or np.unique(present, return_counts=True)[1].max() >= FREQUENT * len(present):
        return False
    logs = np.log(present)
    if logs.std() < ROUNDING:
        return False
    gain = np.log(present.std()) - np.log(logs.std()) - logs.mean()
    return bool(gain > CLEARER)


def _labels(coding: Coding) -> list[str]:
    name = coding.column
    if coding.kind == "text":
        return [name]
    if coding.kind == "numeric":
        values = [name]
    elif coding.kind == "date":
        values = [f"{name}: {part}" for part in ("day sin", "day cos", "week sin", "week cos")]
    else:
        values = [*(f"{name} = {word}" for word in coding.words[:WORDS]), f"{name}: another word"]
    return [*values, f"{name} is missing"]


def _parts(codings: tuple[Coding, ...], cells: Mapping[str, Any]) -> list[np.ndarray]:
    """All features, the constant ones too."""
    return [part for coding in codings for part in _columns(coding, cells[coding.column])]


def _columns(coding: Coding, cells: Any) -> list[np.ndarray]:
    if coding.kind == "category":
        known = pc.index_in(cells, pa.array(coding.words[:WORDS], pa.string()))
        code = known.fill_null(WORDS).to_numpy(zero_copy_only=False)
        missing = cells.is_null().to_numpy(zero_copy_only=False)
        one_hot = [(code == i) & ~missing for i in (*range(len(coding.words[:WORDS])), WORDS)]
        return [hot.astype(np.float64) for hot in (*one_hot, missing)]
    if coding.kind == "text":  # scored before
        return [cells]
    missing = np.isnan(cells)
    if coding.kind == "numeric":
        if coding.least:
            cells = np.log(np.where(cells <= 0, coding.least, cells))
        scaled = (cells - coding.shift) / coding.scale
        if missing.any():
            scaled[missing] = 0.0
        return [scaled, missing]
    waves = []
    for period, start in ((DAY, 0.0), (WEEK, MONDAY)):
        angle = np.where(missing, 0.0, 2 * np.pi * ((cells - start) % period) / period)
        waves += [np.where(missing, 0.0, np.sin(angle)), np.where(missing, 0.0, np.cos(angle))]
    return [*waves, missing.astype(np.float64)]


def _novel(coding: Coding, cells: Any) -> Bool[np.ndarray, " B"]:
    if coding.kind == "text":
        return cells.is_null().to_numpy(zero_copy_only=False) & (not coding.gaps)
    if coding.empty and coding.kind != "category":
        return ~np.isnan(cells)
    if coding.kind == "category":
        missing = cells.is_null().to_numpy(zero_copy_only=False)
        unseen = pc.index_in(cells, pa.array(coding.words, pa.string())).is_null()
        news = unseen.to_numpy(zero_copy_only=False) & ~missing & coding.complete
    else:
        missing = np.isnan(cells)
        settled = coding.kind == "numeric" and coding.constant
        news = ~missing & (cells != coding.shift) if settled else np.zeros(len(cells), bool)
        if coding.least:
            news = cells <= 0  # no gap is
    return news if coding.gaps else news | missing
