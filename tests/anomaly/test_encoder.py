"""Features by hand, and what is novel."""

import json

import numpy as np
import pyarrow as pa
import pytest

from anomaly.encoder import Coding, Encoder
from anomaly.reader import CACHED, of_array, transposed
from anomaly.schema import Column, Schema, Survey
from anomaly.shown import shown
from training.errors import InputError


def fitted(**columns: list) -> tuple[Schema, Encoder]:
    survey = Survey("t.csv", 1_000, 0)
    survey.add(pa.table(columns))
    schema = survey.schema()
    return schema, Encoder.fit(schema, schema.cells(survey.sample(), "t.csv"))


def features(schema: Schema, encoder: Encoder, **columns: list) -> dict[str, list[float]]:
    x = encoder.features_of(schema.cells(pa.table(columns), "t.csv"))
    return dict(zip(encoder.features, x.T.tolist(), strict=True))


def test_features_by_hand() -> None:
    schema, encoder = fitted(
        n=["0", "2", "4", "", "6"],
        w=["x", "x", "y", "x", ""],
        c=["7"] * 5,
        d=["1970-01-05 06:00", *["1970-01-06"] * 4],
    )
    found = features(schema, encoder, n=["3", ""], w=["y", "z"], c=["7", "7"], d=["1970-01-05 12:00", ""])
    scale = np.sqrt(5)  # of 0, 2, 4, 6
    assert found["n"] == [0.0, 0.0]  # the median is 3, and stands where nothing is
    assert features(schema, encoder, n=["5"], w=["x"], c=["7"], d=["1970-01-05"])["n"] == [
        pytest.approx(2 / scale)
    ]
    assert found["n is missing"] == [0, 1]
    assert (found["w = x"], found["w = y"]) == ([0, 0], [1, 0])
    assert found["w is missing"] == [0, 0]
    assert not any(name.startswith("c") for name in found)
    assert found["d: day cos"] == pytest.approx([-1, 0])
    assert found["d: week sin"] == pytest.approx([np.sin(np.pi / 7), 0])


def test_what_never_happened_is_novel() -> None:
    schema, encoder = fitted(
        n=["0", "2", "4"], gap=["1", "", "2"], w=["x", "x", "y"], c=["7"] * 3, e=[""] * 3
    )

    def novel(**changed: str) -> list[str]:
        row = {"n": "1", "gap": "1", "w": "x", "c": "7", "e": ""} | changed
        cells = schema.cells(pa.table({name: [cell] for name, cell in row.items()}), "t.csv")
        return [schema.names[i] for i in np.flatnonzero(encoder.novel(cells)[0])]

    assert novel() == []
    assert novel(n="100", gap="") == []
    assert novel(n="") == ["n"]
    assert novel(w="z") == ["w"]
    assert novel(w="") == ["w"]
    assert novel(c="8") == ["c"]
    assert novel(e="1") == ["e"]
    assert encoder.novelty == pytest.approx(np.log(4))


@pytest.mark.parametrize(("kind", "cell"), [("numeric", "0"), ("date", "1970-01-01"), ("category", "x")])
def test_any_value_is_novel_in_a_column_that_was_empty(kind: str, cell: str) -> None:
    schema = Schema((Column("n", "numeric"), Column("e", kind)))
    encoder = Encoder.fit(schema, schema.cells(pa.table({"n": ["0", "1"], "e": ["", ""]}), "t"))
    cells = schema.cells(pa.table({"n": ["0", "0"], "e": [cell, ""]}), "t")
    novel, x = encoder.novel(cells), encoder.features_of(cells)
    assert novel.tolist() == [[False, True], [False, False]]
    assert [shown(encoder, x[i], 1, bool(novel[i, 1])) for i in (0, 1)] == [
        "a value, where none was",
        "missing",
    ]


def test_an_encoder_survives_json() -> None:
    columns = {"n": ["0", "2", ""], "w": ["x", "", "y"], "d": ["2024-01-01", "2024-01-02 03:04", ""]}
    schema, encoder = fitted(**columns)
    again = Encoder.from_json(json.loads(json.dumps(encoder.to_json())), "here")
    cells = Schema.from_json(json.loads(json.dumps(schema.to_json())), "here").cells(pa.table(columns), "t")
    np.testing.assert_array_equal(again.features_of(cells), encoder.features_of(cells))
    np.testing.assert_array_equal(again.novel(cells), encoder.novel(cells))


def test_cells_are_shown_as_a_reader_would_write_them() -> None:
    schema, encoder = fitted(
        n=["0", "2", ""], w=["x", "z", "y"], d=["2024-01-01 08:30", "2024-01-03 03:04", "2024-01-04 22:00"]
    )
    row = encoder.features_of(
        schema.cells(pa.table({"n": ["1.5"], "w": ["y"], "d": ["2024-01-03 08:30"]}), "t")
    )[0]
    assert [shown(encoder, row, i) for i in range(3)] == ["1.5", "y", "Wed 08:30"]
    gap = encoder.features_of(schema.cells(pa.table({"n": [""], "w": ["q"], "d": ["2024-01-03"]}), "t"))[0]
    assert [shown(encoder, gap, i) for i in range(2)] == ["missing", "another word"]


def test_what_has_no_feature_is_shown_as_what_it_is() -> None:
    schema, encoder = fitted(n=["0", "2", "4"], w=["x", "z", "y"], c=["7", "7", "7"])
    cells = schema.cells(pa.table({"n": [""], "w": [""], "c": ["8"]}), "t")
    row, novel = encoder.features_of(cells)[0], encoder.novel(cells)[0]
    told = [shown(encoder, row, i, bool(novel[i])) for i in range(3)]
    assert told == ["missing", "another word, or missing", "not 7"]


def amounts(rows: int = 200) -> tuple[Schema, Encoder]:
    """Of `a`, whose logarithms are 0 to 1, even and normal numbers, and others that are no amounts."""
    quantiles = (np.arange(rows) + 0.5) / rows
    columns = {
        "a": 10 ** (3 * quantiles),
        "gapped": np.where(quantiles < 0.5, np.nan, 10 ** (3 * quantiles)),
        "even": 1 + quantiles,
        "large": 1e15 + np.arange(rows),
        "negative": 10 ** (3 * quantiles) - 1.5,
        "frequent": np.maximum(10 ** (3 * quantiles), 3),
    }
    schema = Schema(tuple(Column(name, "numeric") for name in columns))
    cells = schema.cells(of_array(np.stack(list(columns.values()), 1), tuple(columns)), "t")
    assert not any(coding.least for coding in Encoder.fit(schema, cells).codings)
    return schema, Encoder.fit(schema, cells, amounts=True)


def test_amounts_are_seen_by_their_logarithms() -> None:
    schema, encoder = amounts()
    assert [coding.column for coding in encoder.codings if coding.least] == ["a", "gapped"]
    rows = np.array([[0.1], [10**1.5], [1e4]]) + np.zeros((1, len(schema.names)))
    cells = schema.cells(of_array(rows, schema.names), "t")
    x = encoder.features_of(cells)
    low, middle, high = x[:, encoder.features.index("a")]
    deviation = 3 * np.sqrt(1 / 12) * np.log(10)  # of logarithms, spread evenly
    assert middle == pytest.approx(0.0, abs=1e-9)
    assert (low, high) == (pytest.approx(-2.5 * np.log(10) / deviation, rel=1e-3), pytest.approx(-low))
    assert not encoder.novel(cells).any()
    assert shown(encoder, x[2], 0) == "10000"


def test_what_is_not_positive_is_novel_among_amounts() -> None:
    schema, encoder = amounts()
    rows = np.array([[0.0], [-3.0], [np.nan]]) + np.zeros((1, len(schema.names)))
    cells = schema.cells(of_array(rows, schema.names), "t")
    novel, x = encoder.novel(cells), encoder.features_of(cells)
    assert novel[:, 0].tolist() == [True, True, True]
    assert novel[:, 1].tolist() == [True, True, False]  # gaps there were
    assert not novel[:2, 2:].any()
    smallest = (np.log(encoder.codings[0].least) - encoder.codings[0].shift) / encoder.codings[0].scale
    assert x[:2, 0].tolist() == [smallest, smallest]
    assert shown(encoder, x[0], 0, novel=True) == "not positive, or missing"
    assert shown(encoder, x[0], 1, novel=True) == "not positive"


def test_a_table_without_differences_is_refused() -> None:
    with pytest.raises(InputError, match="every column is constant"):
        fitted(a=["1", "1"], b=["x", "x"])


def test_columns_are_found_by_name_and_a_missing_one_is_refused() -> None:
    schema, encoder = fitted(a=["1", "2"], b=["3", "5"])
    one = features(schema, encoder, a=["1"], b=["4"])
    assert features(schema, encoder, extra=["!"], b=["4"], a=["1"]) == one
    with pytest.raises(InputError, match="lacks the column 'b', expected a, b"):
        features(schema, encoder, a=["1"])


@pytest.mark.parametrize("rows", [1, CACHED, 2 * CACHED + 1])
def test_features_of_many_rows_are_those_of_each(rows: int) -> None:
    x = np.random.default_rng(rows).normal(size=(rows, 3))
    x[::3, 1] = np.nan
    assert (transposed(x[:, ::2]) == x[:, ::2].T).all()
    table = of_array(x, ("a", "b", "c"))
    schema = Schema(tuple(Column(name, "numeric") for name in table.column_names))
    coded = (Coding("a", "numeric", 1.0, 2.0), Coding("b", "numeric", gaps=True), Coding("c", "numeric"))
    found = Encoder(coded, np.array([0, 2, 3, 4]), rows).features_of(schema.cells(table, "rows"))
    gaps = np.isnan(x[:, 1])
    expected = np.stack([(x[:, 0] - 1) / 2, np.where(gaps, 0, x[:, 1]), gaps, x[:, 2]], 1)
    np.testing.assert_array_equal(found, expected)
