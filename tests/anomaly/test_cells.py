"""What cells say: numbers, dates, words, gaps."""

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.cells import Place, categories, instants, numbers, words
from training.errors import InputError

GROUPS = "[1-9][0-9]{0,2}( [0-9]{3})+"
HERE = Place("t.csv", "b", 10)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-1e100, 1e100) | st.none(), max_size=20))
def test_numbers_are_what_was_written(values: list) -> None:
    cells = pa.chunked_array([pa.array(["" if v is None else repr(v) for v in values], pa.string())])
    expected = np.array([np.nan if v is None else v for v in values], float)
    np.testing.assert_array_equal(numbers(cells, HERE), expected)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=12) | st.text("0123456789.eE+- ", max_size=9))
def test_a_cell_is_a_number_missing_or_refused_with_its_row(text: str) -> None:
    cells = pa.chunked_array([pa.array(["1", text])])
    trimmed = words(cells, HERE)[1].as_py()
    if trimmed in (None, "-", "--"):
        assert np.isnan(numbers(cells, HERE)[1])
    elif trimmed.lower() in ("true", "false"):
        assert numbers(cells, HERE)[1] == (trimmed.lower() == "true")
    elif (
        re.fullmatch(rf"[+-]?(({GROUPS}|[0-9]+)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", trimmed)
        and abs(float(trimmed.replace(" ", ""))) < 1e150
    ):
        assert numbers(cells, HERE)[1] == float(trimmed.replace(" ", ""))
    else:
        with pytest.raises(InputError, match="column 'b', row 11 is"):
            numbers(cells, HERE)


@pytest.mark.parametrize(
    "cell", ["1,5", "1e400", "-1e400", "inf", "-Infinity", "0x10", "1_000", "1 00", "1.2.3", "--1", "٣"]
)
def test_what_is_no_finite_number_is_refused(cell: str) -> None:
    with pytest.raises(InputError, match=r"t\.csv: column 'b', row 11 is .* expected a number"):
        numbers(pa.chunked_array([pa.array(["1", cell])]), HERE)


def test_a_percentage_is_a_hundredth() -> None:
    cells = pa.chunked_array([pa.array(["12.5%", "0.125", "-3 %", "", "1e2%"])])
    np.testing.assert_array_equal(numbers(cells, HERE), [0.125, 0.125, -0.03, np.nan, 1.0])


@pytest.mark.parametrize(
    "cell", ["2024/05/01 06:30", "2024/5/1 06:30", "01.05.2024 06:30", "1.5.2024 06:30:00"]
)
def test_dates_of_other_forms_are_those_of_iso_8601(cell: str) -> None:
    found = instants(pa.chunked_array([pa.array([cell, "2024-05-01T06:30:00"])]), HERE)
    assert found[0] == found[1]


def test_truths_are_numbers_in_text_as_by_type() -> None:
    cells = pa.chunked_array([pa.array(["True", "false", "TRUE", None, "0.5", "50%"])])
    np.testing.assert_array_equal(numbers(cells, HERE), [1, 0, 1, np.nan, 0.5, 0.5])


def test_the_same_thing_is_the_same_word_in_every_format() -> None:
    typed = [pa.array([1, 2]), pa.array([1.0, 2.0]), pa.array(["1", "2.0"]), pa.array(["1.0", "2"])]
    assert [categories(pa.chunked_array([one]), HERE).to_pylist() for one in typed] == [["1", "2"]] * 4
    truths = [pa.array([True, False]), pa.array(["True", "FALSE"])]
    assert [categories(pa.chunked_array([one]), HERE).to_pylist() for one in truths] == [
        ["true", "false"]
    ] * 2
    kept = ["1.50", "v1.0", "Trueman", None]
    assert categories(pa.chunked_array([pa.array(kept)]), HERE).to_pylist() == kept


def test_an_unknown_time_zone_is_refused() -> None:
    cells = pa.chunked_array([pa.array([0], pa.timestamp("s", "Mars/Olympus"))])
    with pytest.raises(InputError, match="time zone 'Mars/Olympus'"):
        instants(cells, HERE)


def test_dates_by_hand() -> None:
    cells = ["1970-01-02", "1970-01-01 00:01", "1970-01-01T00:00:02.5Z", "1970-01-01 01:00:00+09:00", "NA"]
    found = instants(pa.chunked_array([pa.array(cells)]), HERE)
    np.testing.assert_array_equal(found, [86_400, 60, 2.5, 3_600, np.nan])
    typed = pa.array([0, 90_061, None], pa.timestamp("s"))
    np.testing.assert_array_equal(instants(pa.chunked_array([typed]), HERE), [0, 90_061, np.nan])


@pytest.mark.parametrize(
    "cell", ["2024-02-30", "2024-13-01", "31.02.2024", "5/31/2024", "yesterday", "2024-01-01 25:00"]
)
def test_what_is_no_date_is_refused(cell: str) -> None:
    with pytest.raises(InputError, match="column 'b', row 11 is"):
        instants(pa.chunked_array([pa.array(["2024-01-01", cell])]), HERE)


def test_zones_order_what_the_clock_on_the_wall_shows_twice() -> None:
    cells = ["2024-10-27 02:30:00+02:00", "2024-10-27 02:30:00+0100", "2024-10-27T02:00:00Z", "NA"]
    text = pa.chunked_array([pa.array(cells)])
    wall, utc = instants(text, HERE), instants(text, HERE, wall=False)
    np.testing.assert_array_equal(wall - wall[0], [0, 0, -1_800, np.nan])
    np.testing.assert_array_equal(utc - utc[0], [0, 3_600, 5_400, np.nan])
    typed = pa.chunked_array([pa.array([0, 3_600], pa.timestamp("s", "Europe/Berlin"))])
    np.testing.assert_array_equal(instants(typed, HERE), [3_600, 7_200])
    np.testing.assert_array_equal(instants(typed, HERE, wall=False), [0, 3_600])
