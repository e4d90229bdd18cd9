"""What `lab fit` says of the columns, of gaps in disguise, and of few rows."""

import warnings

import numpy as np
import pyarrow as pa
import pytest

from anomaly.detector import Detector
from anomaly.gap_codes import GapCode, gap_codes
from anomaly.sample import of_table
from lab.fitted import fitted, warn_of

RNG = np.random.default_rng(0)


def test_columns_are_named_by_kind_with_their_units() -> None:
    columns: dict = {f"c{i}": RNG.normal(size=60) for i in range(11)}
    columns |= {"price": [f"${x:.2f}" for x in RNG.lognormal(3, 1, 60)], "city": ["Ulm", "Bonn"] * 30}
    columns |= {"id": [f"n{i}" for i in range(60)]}
    said = fitted(Detector.fit(pa.table(columns), "nearest"))
    assert said[1:5] == [
        "  numbers: c0, c1, c2, c3, c4, c5, c6, c7 and 4 more",
        "  words: city",
        "  not looked at, as they name, count or date rows: id",
        "  amounts, seen by their logarithms: price",
    ]
    assert "price ($)" in fitted(Detector.fit(pa.table({"price": columns["price"]}), "nearest"))[1]


def test_the_range_of_the_rate_is_told_for_the_rows_that_calibrate() -> None:
    said = " ".join(fitted(Detector.fit(pa.table({"a": RNG.normal(size=500)}), "nearest")))
    assert "at most 1 % of normal rows in the mean" in said
    assert "0.025 % to 3.6 % with 95 of 100 sets of 100 rows" in said


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ([*range(1, 50), -1, -1, -1], -1),
        ([*range(50), -1, -1, -1], None),  # zero is as usual: -1 may be one less
        ([*range(1, 50), -999, -999], None),  # twice may be chance
        ([*range(1, 5_000), -999, -999, -999, np.nan], -999),
        ([*range(-20, 30), -999, -999, -999], -999),
        ([*range(-2000, 30), -9999, -9999, -9999], -9999),
        ([*range(50), 9999, 9999, 9999], 9999),
        ([*range(9_000, 9_999), 9999, 9999, 9999], None),
        ([-1, 1] * 20, None),
        ([np.nan] * 5, None),
    ],
)
def test_a_code_for_gaps_stands_apart_and_comes_often(cells: list, found: int | None) -> None:
    sample = of_table(pa.table({"a": np.array(cells, float), "b": np.arange(len(cells)) % 7}))
    codes = gap_codes(sample.schema, sample.table, "t")
    assert codes == ([] if found is None else [GapCode("a", found, cells.count(found))])


def test_few_rows_and_codes_for_gaps_are_warned_of_and_nothing_else() -> None:
    sample = of_table(pa.table({"a": [1.0, 2, 3, 4, -999, -999, -999]}))
    with pytest.warns(UserWarning, match=r"^t\.csv") as told:
        warn_of(sample.schema, sample.table, "t.csv")
    few, code = (str(warning.message) for warning in told)
    assert few == "t.csv has 7 rows to learn from, which tell little: expected 20 or more"
    assert code.startswith("t.csv: column 'a' is -999 in 3 of 7 rows, apart from its other values")
    sample = of_table(pa.table({"a": RNG.normal(size=30)}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of(sample.schema, sample.table, "t.csv")
