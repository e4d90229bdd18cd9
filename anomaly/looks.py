"""What the cells of a column of text look like, counted as the rows of a table pass by."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int

from anomaly.amounts import COMMA, LIKE, MAYBE, NUMBER, spelled
from anomaly.cells import DATE, GAPS, OTHER_DATES, Place, matching, wanted

UNITS = 8  # different ones that amounts of a column have at most; codes of many kinds have more
NAMED = 3  # different cells that a message has


@dataclass
class Alike:
    """Cells that look alike: how many, and the first few that differ, each with its row."""

    count: int = 0
    first: dict[str, int] = field(default_factory=dict)

    def add(self, cells: pa.Array, rows: Int[np.ndarray, " n"], chosen: pa.Array) -> None:
        """The next cells, those that are chosen, in order; none is missing."""
        count = pc.sum(chosen).as_py() or 0
        self.count += count
        if count and len(self.first) < NAMED:
            here, number = cells.filter(chosen).to_pylist(), rows[chosen.to_numpy(zero_copy_only=False)]
            for cell, row in zip(here, number.tolist(), strict=True):
                self.first.setdefault(cell, row)
                if len(self.first) == NAMED:
                    break


def together(kinds: list[Alike]) -> Alike:
    """All cells of several kinds as those of one."""
    first = sorted((row, cell) for kind in kinds for cell, row in kind.first.items())
    return Alike(sum(kind.count for kind in kinds), {cell: row for row, cell in first[:NAMED]})


class Looks:
    """The cells of one column so far."""

    def __init__(self) -> None:
        self.present = 0
        self.gaps = 0  # of them, cells that are missing in a column of numbers
        self.dates = 0
        self.other_dates = 0
        self.commas = 0  # numbers, but a comma begins their decimals where it should be a point
        self.not_dates = Alike()
        self.plain = Alike()  # numbers without a unit
        self.units: dict[str, Alike] = {}  # numbers with one
        self.codes = False  # there are too many units: their cells are words
        self.words = Alike()

    def add(self, text: pa.Array, row: int) -> bool:
        """The next cells, trimmed, from the row on; whether all are numbers without unit, or missing."""
        rows = np.flatnonzero(text.is_valid().to_numpy(zero_copy_only=False)) + row
        text = text.drop_null()
        self.present += len(text)
        plain = matching(text, NUMBER)
        self.plain.add(text, rows, plain)
        odd = pc.invert(plain)
        if not pc.any(odd).as_py():
            self.not_dates.add(text, rows, plain)
            return True
        dates = matching(text, DATE)
        self.dates += pc.sum(dates).as_py()
        self.not_dates.add(text, rows, pc.invert(dates))
        odd = pc.and_not(odd, pc.is_in(text, pa.array(GAPS)))
        self.gaps += len(text) - pc.sum(plain).as_py() - pc.sum(odd).as_py()
        text, rows = text.filter(odd), rows[odd.to_numpy(zero_copy_only=False)]
        if not len(text):
            return True
        self.other_dates += pc.sum(matching(text, OTHER_DATES)).as_py()
        maybe = matching(text, MAYBE)
        self.words.add(text, rows, pc.invert(maybe))
        text, rows = text.filter(maybe), rows[maybe.to_numpy(zero_copy_only=False)]
        return bool(len(text) and self._add_amounts(text, rows) and pc.all(maybe).as_py())

    def _add_amounts(self, text: pa.Array, rows: Int[np.ndarray, " n"]) -> bool:
        """Sorts cells by their units; whether all are numbers without one."""
        self.commas += pc.sum(matching(text, COMMA)).as_py()
        like = matching(text, LIKE)
        self.words.add(text, rows, pc.invert(like))
        text, rows = text.filter(like), rows[like.to_numpy(zero_copy_only=False)]
        units = spelled(text)[1]
        found = units.drop_null().unique().to_pylist()
        if len({*found, *self.units} - {""}) > UNITS:
            self.words, self.units, self.codes = together([self.words, *self.units.values()]), {}, True
        if self.codes:
            units = pc.if_else(pc.equal(units, ""), units, None)
        self.words.add(text, rows, units.is_null())
        for unit in units.drop_null().unique().to_pylist():
            kind = self.units.setdefault(unit, Alike()) if unit else self.plain
            kind.add(text, rows, pc.equal(units, unit).fill_null(False))
        return bool(pc.all(like).as_py() and pc.all(pc.equal(units, ""), skip_nulls=False).as_py())

    @property
    def several(self) -> tuple[str, ...]:
        """The units, where at least half of the cells are amounts and have not all the same."""
        most = 2 * sum(kind.count for kind in self.units.values()) >= self.present - self.gaps
        return tuple(self.units) if most and len(self.units) > 1 else ()

    def numeric(self, place: Place) -> str | None:
        """The unit of a column of numbers, empty for plain ones; None for another column.

        Raises:
            InputError: when most cells are numbers, but not all.
        """
        unit, kind = next(iter(self.units.items()), ("", self.plain))
        plain, present = self.plain.count + self.commas, self.present - self.gaps
        if 2 * plain >= present and (plain or not self.gaps):  # gaps alone are a word
            unit, kind = "", self.plain
        elif len(self.units) != 1 or 2 * kind.count < present:
            return None
        others = [other for other in (self.words, self.plain, *self.units.values()) if other is not kind]
        self._must_be_none(together(others), place, wanted(unit))
        return unit

    def date(self, place: Place) -> bool:
        """Whether it is a column of dates; raises InputError when most cells are, but not all."""
        if 2 * self.dates < self.present:
            return False
        self._must_be_none(self.not_dates, place, "a date such as 2024-05-31")
        return True

    def _must_be_none(self, others: Alike, place: Place, expected: str) -> None:
        if not others.count:
            return
        cell, row = next(iter(others.first.items()))
        named = ", ".join(repr(other[:40]) for other in others.first)
        more = f"; {others.count} of {self.present} cells are not: {named}" if others.count > 1 else ""
        raise place.refuse(row, cell, f"{expected} as most of the column has (or --categorical){more}")
