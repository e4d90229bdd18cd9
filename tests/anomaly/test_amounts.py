"""Amounts: numbers with a currency or a unit, in groups and in brackets, and columns of them."""

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from anomaly.amounts import spelled
from anomaly.cells import Place, numbers
from anomaly.detector import Detector
from anomaly.sample import of_file
from anomaly.schema import Column, Schema, Survey
from training.errors import InputError

HERE = Place("t.csv", "b", 10)
UNITS = ("", "€", "$", "R$", "USD", "kg", "km/h", "°C", "m²", "m3/h", "years", "元")
WRITTEN = ("{s}{x} {u}", "{s}{x}{u}", "{u}{s}{x}", "{s}{u}{x}", "{u} {s}{x}")


def cells(*texts: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, pa.string())])


def column(*texts: str | None) -> Column:
    survey = Survey("t.csv", 1_000, 0)
    survey.add(pa.table({"total": pa.array(texts, pa.string())}))
    return survey.schema().columns[0]


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [
        ("€12.50", 12.5, "€"),
        ("-$5", -5, "$"),
        ("$-5", -5, "$"),
        ("($5.00)", -5, "$"),
        ("USD 61.91", 61.91, "USD"),
        ("61.91 EUR", 61.91, "EUR"),
        ("61.9 kg", 61.9, "kg"),
        ("1e3\u00a0kg", 1_000, "kg"),
        ("61 913.00", 61_913, ""),
        ("1\u202f234\u202f567", 1_234_567, ""),
        ("1'234.5 CHF", 1_234.5, "CHF"),
        ("1’234", 1_234, ""),
        ("(61.91)", -61.91, ""),
        ("(12%)", -0.12, ""),
    ],
)
def test_amounts_are_numbers_with_a_unit(text: str, number: float, unit: str) -> None:
    np.testing.assert_allclose(numbers(cells(text, None), HERE, unit), [number, np.nan])


@pytest.mark.parametrize(
    "text", ["12 34", "Q1", "B12", "12 May 2024", "2024-05-01", "(-5)", "(5", "5)", "--5", "$", "kg", "$5 kg"]
)
def test_other_text_is_no_amount(text: str) -> None:
    assert spelled(pa.array([text]))[1].to_pylist() == [None]


@settings(max_examples=200, deadline=None)
@given(
    x=st.decimals(0, 10**9, places=2),
    sign=st.sampled_from(["", "-", "+"]),
    unit=st.sampled_from(UNITS),
    written=st.sampled_from(WRITTEN),
    mark=st.sampled_from(["", " ", "\u00a0", "'"]),
)
def test_an_amount_says_the_same_however_it_is_written(
    x: object, sign: str, unit: str, written: str, mark: str
) -> None:
    currency = unit in ("", "€", "$", "R$", "USD")
    text = (written if currency else WRITTEN[0]).format(s=sign, x=f"{x:,}".replace(",", mark), u=unit)
    assert numbers(cells(text.strip()), HERE, unit)[0] == float(f"{sign}{x}")


@pytest.mark.parametrize(("unit", "text"), [("kg", "12 g"), ("kg", "12"), ("", "12 kg"), ("$", "€12")])
def test_another_unit_is_refused_with_row_and_column(unit: str, text: str) -> None:
    with pytest.raises(InputError, match=rf"t\.csv: column 'b', row 11 is '{text}', expected a number"):
        numbers(cells(None, text), HERE, unit)
    if unit:
        with pytest.raises(InputError, match="column 'b', row 11 is"):
            numbers(pa.chunked_array([pa.array([None, 12.0])]), HERE, unit)


def test_a_column_of_one_unit_is_a_column_of_numbers() -> None:
    assert column(*(f"€{i}.50" for i in range(60))) == Column("total", "numeric", "€")
    assert column("5 kg", "", "6.5 kg", "NA") == Column("total", "numeric", "kg")
    assert column("5", "(6.50)", "1 000.00") == Column("total", "numeric")
    kept = Schema((Column("total", "numeric", "€"),))
    assert Schema.from_json(kept.to_json(), "here") == kept
    assert Schema.from_json([{"name": "a", "kind": "numeric"}], "here").columns[0].unit == ""


def test_amounts_with_different_units_stay_words_and_are_told_of() -> None:
    with pytest.warns(UserWarning, match=r"'total' looks like amounts with different units \(kg, g\): read"):
        assert column("5 kg", "6 g", "7 kg").kind == "category"
    with pytest.warns(UserWarning, match="different units.*: left out"):
        assert column(*(f"{i} {'kg' if i % 2 else 'g'}" for i in range(60))).kind == "left out"


def test_codes_with_many_endings_are_no_amounts() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert column(*(f"{1000 + i} {chr(65 + i % 10)}X" for i in range(60))).kind == "left out"


def test_what_does_not_fit_a_column_is_counted_and_named() -> None:
    with pytest.raises(InputError) as error:
        column(*["1"] * 10, "a", "b", "a", "c", "d")
    assert str(error.value) == (
        "t.csv: column 'total', row 10 is 'a', expected a number such as 1.5 as most of the column has"
        " (or --categorical); 5 of 15 cells are not: 'a', 'b', 'c'"
    )
    with pytest.raises(InputError, match=r"row 2 is '7', expected a number with its unit, such as '1.5 kg'"):
        column("5 kg", "6 kg", "7")


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(
        st.sampled_from(
            ["1", "2 kg", "3 g", "(4)", "x", "", "-", "1,5", "2024-01-01", *(f"1 {u}x" for u in "abcdefg")]
        ),
        min_size=1,
        max_size=40,
    ),
    cut=st.integers(0, 40),
)
def test_looks_do_not_depend_on_how_rows_come(texts: list, cut: int) -> None:
    def found(*parts: list) -> str:
        survey = Survey("t.csv", 1_000, 0)
        for part in parts:
            survey.add(pa.table({"total": pa.array(part, pa.string())}))
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                return f"{survey.schema()} {[str(warning.message) for warning in told]}"
        except InputError as error:
            return str(error)

    assert found(texts) == found(texts[:cut], texts[cut:])


def test_amounts_score_as_plain_numbers_do_in_every_format(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.lognormal(8, 1, 300).round(2)
    other = rng.normal(size=300).round(3)
    german = [f"{v:,.2f} €".translate(str.maketrans(",.", ".,")) for v in x]
    files = {
        "plain.csv": ",".join(("a", "b")) + "\n" + "\n".join(map("{},{}".format, x, other)),
        "comma.csv": "a,b\n" + "\n".join(f'"€{v:,.2f}",{o}' for v, o in zip(x, other, strict=True)),
        "german.csv": "a;b\n" + "\n".join(f"{v};{o}" for v, o in zip(german, other, strict=True)),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    amounts = pa.table({"a": [f"€{v:,.2f}" for v in x], "b": other})
    parquet.write_table(amounts, tmp_path / "t.parquet")
    scores = []
    for name in (*files, "t.parquet"):
        sample = of_file(str(tmp_path / name))
        assert [column.kind for column in sample.schema.columns] == ["numeric", "numeric"]
        scores.append(Detector.fit(sample, "nearest").decision_function(sample.table))
    for score in scores[1:]:
        np.testing.assert_array_equal(score, scores[0])


def test_points_group_digits_in_a_comma_file_where_that_is_sure(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n"61.913,00",1\n"1.234.567,5",2\n')
    assert of_file(str(tmp_path / "t.csv")).table["a"].to_pylist() == ["61913.00", "1234567.5"]
    (tmp_path / "t.csv").write_text('a,b\n"61.913,00",1\n"913,00",2\n')
    with pytest.raises(InputError, match="row 1 is '913,00', expected a number"):
        of_file(str(tmp_path / "t.csv"))


def test_a_dash_is_a_gap_among_numbers_and_a_word_among_words() -> None:
    np.testing.assert_array_equal(numbers(cells("-", "1.5", "--"), HERE), [np.nan, 1.5, np.nan])
    np.testing.assert_array_equal(numbers(cells("-", "$1.5"), HERE, "$"), [np.nan, 1.5])
    assert column("-", "--", "-", "3") == Column("total", "numeric")
    assert column("-", "3 kg") == Column("total", "numeric", "kg")
    assert column("-", "-").kind == column("-", "yes").kind == "category"
    with pytest.raises(InputError, match=r"column 'total', row 2 is 'x'.*; 2 of 6 cells are not: 'x', 'y'"):
        column("-", "3", "x", "4", "y", "5")
