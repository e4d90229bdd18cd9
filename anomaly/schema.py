"""Which columns a table has and what each holds, found by these rules and saved with the detector.

    numeric    numbers or booleans by type, or text of which at least half of the cells present are those, all
               plain or all with the same currency or unit; a warning tells of amounts with different ones
    date       dates by type, or text of which at least half are dates
    category   other text
    text       what `--text` names, and the lines of a file of text: read word by word (`anomaly.text`)
    time       of a series, when a row was: never looked at (`windows`)
    left out   text that names its rows: more than 50 different words, and more than half of them different;
               text of which at least half are dates that cannot be read for sure: 05/06/24, 31 May 2024;
               whole numbers that are days over more than 50 rows: 20240531; of a file, whole numbers that
               count its rows: each larger, or each smaller, than the one before, over more than 50 rows

Numbers are looked at anyway if `--columns` names them. Of those that never fall, or never rise, from row to
row of a file without counting them a warning tells: where they say when or which, all later rows are strange.
Nothing in the cells tells sentences from names, titles or addresses, which have several words as well, and
words that come again: taken for text, every new one would be strange. So text is read where it is asked for.
A column with some cells that do not fit its kind is refused, with the row; `--categorical` makes a category
of any column. Columns are found by name: their order does not matter, more of them are passed over, and one
that lacks is refused. Missing cells are data (`encoder`).
"""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from anomaly.cells import (
    Place,
    categories,
    instants,
    is_date,
    is_number,
    numbers,
    texts,
    words,
)
from anomaly.looks import Looks
from training.config import from_dict
from training.errors import InputError
from training.seeds import numpy_generator

Kind = Literal["numeric", "date", "category", "text", "time", "left out"]
NAMES_FROM = 50  # different words that a column of names has at least, and steps that one of numbers has


@dataclass(frozen=True)
class Column:
    """A column and what it holds."""

    name: str
    kind: Kind
    unit: str = ""  # the currency or unit of all its numbers


@dataclass(frozen=True)
class Schema:
    """The columns of a table, in the order of the file that was fitted."""

    columns: tuple[Column, ...]

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns that are looked at."""
        return tuple(column for column in self.columns if column.kind not in ("time", "left out"))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return tuple(column.name for column in self.inputs)

    def cells(self, table: pa.Table, source: str, row: int = 0) -> dict[str, Any]:
        """Each input's cells: float64 with NaN, or words with null. `row` is the first row's number.

        Raises:
            InputError: for a missing column, and for a cell that does not fit its column.
        """
        read: dict[str, Any] = {"numeric": numbers, "date": instants, "category": categories, "text": texts}
        found, known = {}, set(table.column_names)
        for column in self.inputs:
            if column.name not in known:
                raise InputError(f"{source} lacks the column {column.name!r}, expected {_listed(self.names)}")
            told = (column.unit,) if column.kind == "numeric" else ()
            place = Place(source, column.name, row)
            found[column.name] = read[column.kind](table[column.name], place, *told)
        return found

    def to_json(self) -> list[dict[str, str]]:
        """What `from_json` reads."""
        return [asdict(column) for column in self.columns]

    @staticmethod
    def from_json(found: Sequence[dict[str, str]], where: str) -> "Schema":
        """Reads what `to_json` gave; raises InputError when it is something else."""
        return Schema(tuple(from_dict(Column, column, f"{where}: columns") for column in found))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


class Survey:
    """Passes over the rows of a table once: counts what columns hold, and keeps a fair sample of the rows.

    Each row draws a key; the rows with the smallest keys are kept (Vitter, 1985, doi:10.1145/3147.3165, has
    the problem). The sample does not depend on how the rows come in blocks.
    """

    def __init__(
        self,
        source: str,
        keep: int,
        seed: int,
        categorical: Sequence[str] = (),
        counters: bool = False,
        text: Sequence[str] = (),
    ) -> None:
        self.source, self.keep, self.rows = source, keep, 0
        self.counters = counters  # whether columns that count the rows are left out
        self.named: dict[str, Kind] = {name: "category" for name in categorical}
        self.named.update((name, "text") for name in text)
        self._rng = numpy_generator(seed, "reservoir")
        self._keys = np.zeros(0)
        self._kept: pa.Table | None = None
        self._looks: dict[str, Looks] = {}
        self._types: dict[str, pa.DataType] = {}
        self._counters: dict[str, _Counter] = {}

    def add(self, table: pa.Table) -> None:
        """Looks at the next rows."""
        for name in table.column_names:
            self._look(name, table[name])
        keys = self._rng.random(len(table))
        last = self._keys.max() if len(self._keys) >= self.keep else 1.0
        near = np.flatnonzero(keys < last)
        if len(near):
            taken = table.take(pa.array(near))
            self._kept = taken if self._kept is None else pa.concat_tables([self._kept, taken])
            self._keys = np.concatenate([self._keys, keys[near]])
        if len(self._keys) > 2 * self.keep:
            self._forget()
        self.rows += len(table)

    def sample(self) -> pa.Table:
        """The rows that were kept, in their order."""
        if self._kept is None:
            raise InputError(f"{self.source} has 0 rows, expected at least 1")
        self._forget()
        return self._kept

    def schema(self) -> Schema:
        """The schema by the rules of the module docstring."""
        sample = self.sample()
        for name in self.named:
            if name not in self._types:
                raise InputError(
                    f"{self.source} lacks the column {name!r}, expected {_listed(tuple(self._types))}"
                )
        return Schema(tuple(self._column(name, sample[name]) for name in self._types))

    def _forget(self) -> None:
        if self._kept is not None and len(self._keys) > self.keep:
            smallest = np.sort(np.argpartition(self._keys, self.keep)[: self.keep])
            self._keys, self._kept = self._keys[smallest], self._kept.take(pa.array(smallest))

    def _look(self, name: str, cells: pa.ChunkedArray) -> None:
        kind, place = self._types.setdefault(name, cells.type), Place(self.source, name, self.rows)
        if name in self.named or is_date(kind):
            return
        counter = self._counters.setdefault(name, _Counter())
        if is_number(kind):
            counter.add(numbers(cells, place))
            return
        text = words(cells, place)
        if self._looks.setdefault(name, Looks()).add(text, self.rows):
            counter.add(numbers(text, place))
        else:
            counter.stop()

    def _column(self, name: str, cells: pa.ChunkedArray) -> Column:
        if name in self.named:
            return Column(name, self.named[name])
        if self.counters and name in self._counters:
            counter = self._counters[name]
            if counter.counts or counter.days:
                return Column(name, "left out")
            if counter.never_turns:
                warnings.warn(
                    f"{self.source}: column {name!r} never {counter.never_turns} from row to row; if it says"
                    " when or which a row is, all later rows are anomalies: name the others by --columns",
                    stacklevel=2,
                )
        if name not in self._looks:
            return Column(name, "numeric" if is_number(self._types[name]) else "date")
        looks, place = self._looks[name], Place(self.source, name, 0)
        if (unit := looks.numeric(place)) is not None:
            return Column(name, "numeric", unit)
        if looks.date(place):
            return Column(name, "date")
        if 2 * looks.other_dates >= looks.present:
            return Column(name, "left out")
        text = words(cells, place).drop_null()
        different = len(text.unique())
        names = different > NAMES_FROM and 2 * different > len(text)
        if looks.several:
            warnings.warn(
                f"{self.source}: column {name!r} looks like amounts with different units"
                f" ({', '.join(looks.several)}): {'left out' if names else 'read as words'}",
                stacklevel=2,
            )
        return Column(name, "left out" if names else "category")


@dataclass
class _Counter:
    """Which way the numbers of a column went, so far."""

    whole: bool = True
    falls: bool = False  # from one row to the next, ever
    rises: bool = False
    rests: bool = False  # two rows after one another were equal
    gaps: bool = False  # one was missing, or no number
    dated: bool = True  # all were days, such as 20240531
    steps: int = 0
    last: float | None = None

    @property
    def counts(self) -> bool:
        """Whether each was larger than the one before, or each smaller, all of them whole."""
        return self.whole and not self.rests and bool(self.never_turns)

    @property
    def days(self) -> bool:
        return self.dated and not self.gaps and self.steps >= NAMES_FROM

    @property
    def never_turns(self) -> str:
        """What they never do, "falls" or "rises"; nothing where they do both, or are few."""
        if self.gaps or self.steps < NAMES_FROM or self.falls == self.rises:
            return ""
        return "falls" if self.rises else "rises"

    def stop(self) -> None:
        """Marks the column: it has a cell that is not a number, so it counts nothing."""
        self.gaps = True

    def add(self, x: Float[np.ndarray, " B"]) -> None:
        if self.gaps or not len(x):
            return
        self.gaps = bool(np.isnan(x).any())
        self.whole = self.whole and bool((x % 1 == 0).all())
        month, day = x // 100 % 100, x % 100
        days = self.whole and (x >= 1900_01_01) & (x < 2100_00_00) & (month >= 1) & (month <= 12) & (day >= 1)
        self.dated = self.dated and bool(np.all(days & (day <= 31)))
        steps = np.diff(x if self.last is None else np.concatenate([[self.last], x]))
        self.falls = self.falls or bool((steps < 0).any())
        self.rises = self.rises or bool((steps > 0).any())
        self.rests = self.rests or bool((steps == 0).any())
        self.steps += len(steps)
        self.last = float(x[-1])
