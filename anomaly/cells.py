"""What the cells of a column say: numbers, dates or words, and which are missing.

Missing are null, NaN, and the words of MISSING; among numbers - and -- as well. Numbers are written as
12, -1.5, 2e-3, true, which is 1, or 12.5%, which is 0.125. As `amounts` says, digits may stand in groups and
what is negative in brackets, and all numbers of a column may have one and the same currency or unit: 12 kg is
not 12 g, nor plain 12. Dates are those of ISO 8601, 2024-05-31, or 2024/05/31 or 31.05.2024, with a time or
without, or a time alone, 18:45; a zone is dropped, as what counts is the clock on the wall. Whatever else is
found is refused with row and column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from anomaly.amounts import NUMBER, spelled
from generative.data import LARGEST
from training.errors import InputError

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "Null", "null", "None", "none", "?")
GAPS = ("-", "--")  # missing too, in a column of numbers
WHOLE = r"^([+-]?\d+)\.0+$"
DAY = r"(\d{4}-\d\d-\d\d|\d{4}/\d\d?/\d\d?|\d\d?\.\d\d?\.\d{4})"
CLOCK = r"\d\d:\d\d(:\d\d(\.\d+)?)?"
DATE = rf"^({DAY}([T ]{CLOCK}( ?(Z|[+-]\d\d:?\d\d))?)?|{CLOCK})$"
OTHER_DATES = (  # of which day and month cannot be told apart, or which name no day
    r"(?i)^(\d\d?([/-]|\. ?)\d\d?([/-]|\. ?)(\d{4}|\d\d)|\d\d?[. -]+[a-z]{3,9}[., -]+\d{4}"
    r"|([a-z]{3,9}, )?[a-z]{3,9} \d\d?,? \d{4}|\d{4}[-/]\d\d?)([ ,T]|$)"
)
PLAIN = r"^\d{4}-\d\d-"  # how dates of ISO 8601 begin
ISO = (  # what makes the others dates of ISO 8601
    (r"^(\d\d:)", r"1970-01-01 \1"),
    (r"^(\d\d?)\.(\d\d?)\.(\d{4})", r"\3-\2-\1"),
    (r"^(\d{4})/(\d\d?)/(\d\d?)", r"\1-\2-\3"),
    (r"^(\d{4})-(\d)-", r"\1-0\2-"),
    (r"^(\d{4}-\d\d)-(\d)\b", r"\1-0\2"),
)
ZONE = r"( ?(Z|[+-]\d\d:?\d\d))$"
TRUTH = ("false", "true")  # 0 and 1


@dataclass(frozen=True)
class Place:
    """Where cells stand, for messages."""

    source: str
    column: str
    row: int  # of the first cell

    def refuse(self, at: int, found: object, wanted: str) -> InputError:
        """The error that names the cell number `at`."""
        return InputError(
            f"{self.source}: column {self.column!r}, row {self.row + at} is {str(found)[:40]!r},"
            f" expected {wanted}"
        )


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers."""
    types = pa.types
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    return any(test(kind) for test in tests)


def is_date(kind: pa.DataType) -> bool:
    """Whether a column of this type holds dates."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def words(cells: pa.ChunkedArray | pa.Array, place: Place, missing: tuple[str, ...] = MISSING) -> pa.Array:
    """Trimmed text, null where it is one of `missing`.

    Raises:
        InputError: for columns of a type that has no cells: lists, structs, binary.
    """
    kind = cells.type
    plain = is_number(kind) or is_date(kind) or pa.types.is_null(kind) or pa.types.is_dictionary(kind)
    if not (plain or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InputError(
            f"{place.source}: column {place.column!r} holds {kind}, expected numbers, text or dates"
        )
    text = pc.utf8_trim_whitespace(_one(cells).cast(pa.string()))
    return pc.if_else(pc.is_in(text, pa.array(missing)), pa.scalar(None, pa.string()), text)


def check_whole(cells: Mapping[str, Any], source: str, first: int | None = None) -> None:
    """Raises InputError for a number that is missing.

    `first` is the number of the first row; None: rows are drawn, and their numbers say nothing.
    """
    for name, values in cells.items():
        if np.isnan(values).any():
            at = "some row" if first is None else f"row {first + int(np.isnan(values).argmax())}"
            raise InputError(f"{source}: column {name!r}, {at} is missing (NaN), expected a number")


def categories(cells: pa.ChunkedArray | pa.Array, place: Place) -> pa.Array:
    """`words` by which the same thing is the same word in every format: 1 and 1.0, true and True."""
    text = pc.replace_substring_regex(words(cells, place), WHOLE, r"\1")
    small = pc.utf8_lower(text)
    return pc.if_else(pc.is_in(small, pa.array(TRUTH)), small, text)


def texts(cells: pa.ChunkedArray | pa.Array, place: Place) -> pa.Array:
    """Trimmed text, null where there is none: NA and null are words like others here; raises as `words`."""
    return words(cells, place, missing=("",))


def numbers(cells: pa.ChunkedArray | pa.Array, place: Place, unit: str = "") -> Float[np.ndarray, " B"]:
    """The numbers of cells, NaN where missing; all have the currency or unit `unit`.

    Raises:
        InputError: for a cell that is no number or has another unit, is infinite, or too large to be squared.
    """
    if is_number(cells.type):
        found = _one(cells).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        if unit and not np.isnan(found).all():
            at = int(np.isfinite(found).argmax())
            raise place.refuse(at, cells[at], wanted(unit))
    else:
        text = words(cells, place)
        if unit or _first(pc.invert(pc.match_substring_regex(text, NUMBER))) is not None:
            text = _of_unit(text, place, unit)
        found = _plain(text)
    bad = np.abs(found) > LARGEST
    if bad.any():
        at = int(bad.argmax())
        raise place.refuse(at, cells[at], f"a number up to {LARGEST:g}")
    return found


def wanted(unit: str) -> str:
    """What the cells of a column of numbers look like."""
    return f"a number with its unit, such as '1.5 {unit}'" if unit else "a number such as 1.5"


def _of_unit(text: pa.Array, place: Place, unit: str) -> pa.Array:
    """The amounts as plain numbers; refuses a cell that is none, or has another unit."""
    text = pc.if_else(pc.is_in(text, pa.array(GAPS)), pa.scalar(None, pa.string()), text)
    plain, units = spelled(text)
    first = _first(pc.and_(text.is_valid(), pc.not_equal(units.fill_null("?"), unit)))
    if first is not None:
        raise place.refuse(first, text[first], wanted(unit))
    return plain


def _plain(text: pa.Array) -> Float[np.ndarray, " B"]:
    """The numbers that text spells by NUMBER."""
    try:
        return text.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # percentages or truths are among them
        percent = pc.ends_with(text, "%").fill_null(False)
        place = pc.index_in(pc.utf8_lower(text), pa.array(TRUTH))
        text = pc.if_else(place.is_valid(), place.cast(pa.string()), pc.utf8_rtrim(text, " %"))
        found = text.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return np.where(percent, found / 100, found)


def instants(cells: pa.ChunkedArray, place: Place, wall: bool = True) -> Float[np.ndarray, " B"]:
    """Seconds since 1970 on the clock on the wall, NaN where missing; else in UTC where zones are given.

    Raises:
        InputError: for a cell that is no date.
    """
    if is_date(cells.type):
        times = _one(_local(cells, place) if wall else cells).cast(pa.timestamp("us"), safe=False)
    else:
        text = words(cells, place)
        first = _first(pc.invert(pc.match_substring_regex(text, DATE)))
        if first is not None:
            raise place.refuse(first, text[first], "a date such as 2024-05-31 or 2024-05-31 18:45:00")
        iso = pc.replace_substring_regex(text, ZONE, "")
        if not pc.all(pc.match_substring_regex(iso, PLAIN)).as_py():
            for written, wanted in ISO:
                iso = pc.replace_substring_regex(iso, written, wanted)
        if not wall:
            iso = _utc(iso, text)
        try:
            times = iso.cast(pa.timestamp("us"))
        except pa.ArrowInvalid:
            at = next(i for i, cell in enumerate(iso) if not _castable(cell))
            raise place.refuse(at, text[at], "a day of the calendar") from None
    micro = times.cast(pa.int64()).to_numpy(zero_copy_only=False).astype(np.float64)
    return micro / 1e6


def _utc(iso: pa.Array, text: pa.Array) -> pa.Array:
    """Dates without a zone, moved to UTC by the zones that `text` has, if all of it has one."""
    if not pc.all(pc.match_substring_regex(text, ZONE)).as_py():
        return iso
    parts = pc.extract_regex(text, r"(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)$")  # null for Z
    hours, minutes = (pc.struct_field(parts, name).cast(pa.int64()) for name in ("hours", "minutes"))
    seconds = pc.add(pc.multiply(hours, 3_600), pc.multiply(minutes, 60)).fill_null(0)
    east = pc.equal(pc.struct_field(parts, "sign"), "+").fill_null(True)
    away = pc.if_else(east, pc.negate(seconds), seconds).cast(pa.duration("s"))
    return pc.add(iso.cast(pa.timestamp("us")), away).cast(pa.string())


def _local(cells: pa.ChunkedArray, place: Place) -> pa.ChunkedArray:
    """What the clock on the wall showed."""
    zone = getattr(cells.type, "tz", None)
    if zone is None:
        return cells
    try:
        return pc.local_timestamp(cells)
    except pa.ArrowInvalid:
        raise InputError(
            f"{place.source}: column {place.column!r} has the time zone {zone!r}, expected a known one"
        ) from None


def _castable(cell: pa.Scalar) -> bool:
    try:
        cell.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        return False
    return True


def _first(found: pa.Array) -> int | None:
    """The place of the first true."""
    at = pc.index(found, True).as_py()
    return None if at < 0 else int(at)


def _one(cells: pa.ChunkedArray | pa.Array) -> pa.Array:
    if not isinstance(cells, pa.ChunkedArray):
        return cells
    return cells.chunk(0) if cells.num_chunks == 1 else cells.combine_chunks()  # which copies


def matching(text: pa.Array, rule: str) -> pa.Array:
    """Which cells are as a rule says, null where missing."""
    return pc.match_substring_regex(text, rule)
