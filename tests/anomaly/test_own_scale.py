"""Series in scales of their own: a machine's size makes no difference, numbers are told as written."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from anomaly import series
from anomaly.detector import Detector
from anomaly.explain import reasons
from anomaly.own_scale import LEAST, OwnScale
from tests.scores import scored
from training.errors import InputError

WINDOW, ROWS, SIZES = 12, 400, {"small": 1.0, "large": 50.0}
pytestmark = pytest.mark.usefixtures("small_blocks")


def machines(seed: int, sizes: dict[str, float], spike: float = 0.0) -> pa.Table:
    """A season and noise, as large as the machine; in row 300 of each a spike."""
    rng = np.random.default_rng(seed)
    tables = []
    for name, size in sizes.items():
        a = np.sin(np.arange(ROWS) / 5) + 0.1 * rng.normal(size=ROWS)
        a[300] += spike
        columns = {"a": size * a + 3 * size, "b": rng.normal(size=ROWS)}
        tables.append(pa.table({"machine": [name] * ROWS, "t": np.arange(ROWS), **columns}))
    return pa.concat_tables(tables)


def fitted(table: pa.Table, own_scale: bool) -> Detector:
    found = series.of_table(table, WINDOW, "t", "machine")
    return series.fit(found, "newest", alpha=0.02, own_scale=own_scale)


def test_what_is_strange_of_a_small_machine_is_found_only_in_its_own_scale() -> None:
    train, new = machines(0, SIZES), machines(1, SIZES, spike=3.0)
    for own_scale, both in ((True, True), (False, False)):
        flagged = fitted(train, own_scale).predict(new)
        assert flagged[ROWS + 300] == 1
        assert bool(flagged[300]) == both


def test_the_size_of_a_machine_makes_no_difference() -> None:
    """Another unit of one machine in fitting and after it changes no score."""
    others = SIZES | {"small": 1_000.0}
    score = [
        fitted(machines(0, sizes), True).decision_function(machines(1, sizes)) for sizes in (SIZES, others)
    ]
    np.testing.assert_allclose(score[0], score[1], rtol=1e-6)
    apart = [
        fitted(machines(0, sizes), False).decision_function(machines(1, sizes)) for sizes in (SIZES, others)
    ]
    assert not np.allclose(apart[0], apart[1], rtol=1e-2)


def test_numbers_are_told_as_they_stand_in_the_file(tmp_path: Path) -> None:
    detector = fitted(machines(0, SIZES), True)
    detector.save(tmp_path / "model")
    detector = Detector.load(tmp_path / "model")
    new = machines(1, SIZES, spike=3.0)
    seen = detector.seen(new)
    for row, size in ((300, 1.0), (ROWS + 300, 50.0)):
        x = seen.of(np.array([row]))[0]
        why = reasons(detector, x, seen.novel[row], series=seen.whose(row))
        assert why[0].column == "a"
        assert float(why[0].value) == pytest.approx(new["a"][row].as_py(), rel=1e-4)
        assert 1.5 * size < float(why[0].expected) < 4.5 * size
    parquet.write_table(new, tmp_path / "t.parquet")
    whole = scored(tmp_path, tmp_path / "s.parquet", explain=1)
    assert 75 < float(whole["expected_1"][ROWS + 300].as_py()) < 225
    part = scored(tmp_path, tmp_path / "p.parquet", explain=1, start=290, stop=ROWS + 310)
    assert part.equals(whole.slice(290, len(part)))


def test_level_and_spread_by_hand() -> None:
    cells = {
        "a": np.array([1.0, 3.0, 5.0, 100.0, 100.0, 100.0]),
        "level": np.array([7.0, 7.0, 7.0, 8.0, 8.0, 8.0]),
        "gaps": np.array([np.nan, np.nan, np.nan, 0.0, 2.0, np.nan]),
    }
    names = np.array(["x", "x", "x", "y", "y", "y"])
    own = OwnScale.fit(cells, list(cells), names)
    deviation = np.sqrt(8 / 3)
    assert own.columns == ("a", "gaps")  # what moves in no series has no spread to go by
    np.testing.assert_allclose(own.level, [[3, 1], [100, 1]])
    np.testing.assert_allclose(own.spread, [[deviation, LEAST], [LEAST * deviation, 1]])
    common = own.common(cells, own.numbers(names, "t"))
    np.testing.assert_allclose(common["a"], [-2 / deviation, 0, 2 / deviation, 0, 0, 0])
    np.testing.assert_array_equal(common["level"], cells["level"])
    assert own.back("a", 2.0, 0) == pytest.approx(3 + 2 * deviation)
    assert own.back("level", 7.0, 0) == 7
    apart = own.furthest_apart()
    assert apart is not None
    assert apart[0] == "a"
    assert apart[1:] == (pytest.approx(1 / LEAST), "x", "y")


def test_a_series_that_was_not_fitted_is_refused_and_one_series_has_no_scale_of_its_own() -> None:
    detector = fitted(machines(0, SIZES), True)
    with pytest.raises(InputError, match="row 400 is of the series 'new', expected one that was fitted"):
        detector.decision_function(machines(1, {"small": 1.0, "new": 2.0}))
    alone = series.of_table(machines(0, {"small": 1.0}).drop_columns(["machine"]), WINDOW, "t")
    with pytest.raises(InputError, match="own scales are for several series"):
        series.fit(alone, "nearest", own_scale=True)


def test_a_word_is_said_where_spreads_differ_and_one_scale_is_for_all() -> None:
    about = [fitted(machines(0, sizes), False).about["scale"] for sizes in (SIZES, {"p": 1.0, "q": 1.2})]
    assert about[0].startswith("one for all; 'a' spreads 5")
    assert about[1] == "one for all"
    assert fitted(machines(0, SIZES), True).about["scale"] == "each series' own"
