"""Several series in one file: no window reaches across, whatever the order in which they take turns."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from anomaly import series, windows
from anomaly.detector import Detector
from tests.scores import blocks_seen, scored
from training.errors import InputError

WINDOW = 12
pytestmark = pytest.mark.usefixtures("small_blocks")
LENGTHS = {"pump": 260, "fan": 130, "saw": 90, "new": 50}  # the last is not fitted


def machine(name: str, n: int, seed: int) -> pa.Table:
    """A season of its own level, and noise."""
    rng = np.random.default_rng(seed)
    level = sum(map(ord, name)) % 7
    a = level + np.sin(np.arange(n) / 5) + 0.1 * rng.normal(size=n)
    return pa.table({"machine": [name] * n, "t": np.arange(n), "a": a, "b": rng.normal(size=n)})


def taking_turns(tables: list[pa.Table], seed: int) -> pa.Table:
    """Rows of tables at random, each table in its order."""
    turns = np.concatenate([np.full(len(table), i) for i, table in enumerate(tables)])
    turns = np.random.default_rng(seed).permutation(turns)
    place = np.empty(len(turns), int)
    place[np.argsort(turns, kind="stable")] = np.arange(len(turns))
    return pa.concat_tables(tables).take(pa.array(place))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("several")
    fitted = [machine(name, 6 * n, 0) for name, n in LENGTHS.items() if name != "new"]
    parquet.write_table(taking_turns(fitted, 0), here / "train.parquet")
    found = series.of_file(str(here / "train.parquet"), WINDOW, "t", name="machine")
    series.fit(found, alpha=0.05).save(here / "model")
    tables = [machine(name, n, 1) for name, n in LENGTHS.items()]
    parquet.write_table(taking_turns(tables, 1), here / "turns.parquet")
    csv.write_csv(taking_turns(tables, 1), here / "turns.csv")
    parquet.write_table(pa.concat_tables(tables), here / "rows.parquet")
    return here


@pytest.mark.parametrize("source", ["turns.parquet", "rows.parquet"])
def test_each_series_scores_as_if_it_were_alone(place: Path, tmp_path: Path, source: str) -> None:
    detector = Detector.load(place / "model")
    score = scored(place, tmp_path / "s.parquet", source)["score"].to_numpy()
    names = parquet.read_table(place / source)["machine"].to_numpy(zero_copy_only=False)
    for name, n in LENGTHS.items():
        alone = detector.decision_function(machine(name, n, 1))
        np.testing.assert_allclose(score[names == name], alone, rtol=1e-6)
        assert (alone[: WINDOW - 1] == 0).all()
        assert (alone[WINDOW - 1 :] > 0).mean() > 0.9


def test_scores_do_not_depend_on_how_the_work_is_cut(place: Path, tmp_path: Path) -> None:
    whole = scored(place, tmp_path / "whole.parquet", "turns.parquet", explain=1)
    assert whole["row"].to_pylist() == list(range(sum(LENGTHS.values())))
    for start, stop in ((0, 100), (7, 13), (100, 333), (333, None)):
        part = scored(
            place, tmp_path / f"{start}.parquet", "turns.parquet", explain=1, start=start, stop=stop
        )
        assert part.equals(whole.slice(start, len(part)))
    assert scored(place, tmp_path / "text.parquet", "turns.csv", explain=1).equals(whole)


def test_a_killed_scoring_goes_on_to_the_same_file(place: Path, tmp_path: Path) -> None:
    whole = scored(place, tmp_path / "whole.parquet", "turns.parquet")
    with blocks_seen(dies_at=256), pytest.raises(KeyboardInterrupt):
        scored(place, tmp_path / "s.parquet", "turns.parquet")
    assert scored(place, tmp_path / "s.parquet", "turns.parquet").equals(whole)


def test_each_series_is_cut_into_parts_of_its_own(place: Path) -> None:
    found = series.of_file(str(place / "train.parquet"), WINDOW, "t", name="machine")
    assert found.schema.names == ("a", "b")
    names = found.table["machine"].to_numpy(zero_copy_only=False)
    step = found.table["t"].to_numpy()
    for begin, end in ((0.0, 0.6), (0.6, 0.8), (0.8, 1.0)):
        rows = found.part(begin, end)
        for name in ("pump", "fan", "saw"):
            size = 6 * LENGTHS[name]
            mine = step[rows[names[rows] == name]]
            assert mine.tolist() == list(range(round(begin * size) + WINDOW - 1, round(end * size)))


def test_of_many_rows_the_last_of_each_series_are_learned_from(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "ROWS", 300)
    found = series.of_file(str(place / "train.parquet"), WINDOW, "t", name="machine")
    names = found.table["machine"].to_numpy(zero_copy_only=False)
    for name in ("pump", "fan", "saw"):
        size = 6 * LENGTHS[name]
        assert found.table["t"].to_numpy()[names == name].tolist() == list(range(size - 100, size))


def test_the_order_of_series_changes_no_more_than_rounding(place: Path) -> None:
    """What is learned from rows one after another is what is learned from rows that take turns."""
    table = parquet.read_table(place / "train.parquet")
    one_by_one = table.sort_by([("machine", "ascending"), ("t", "ascending")])
    fitted = [
        series.fit(series.of_table(rows, WINDOW, "t", "machine"), "forecast") for rows in (table, one_by_one)
    ]
    probe = machine("fan", 60, 3)
    one, other = (detector.decision_function(probe) for detector in fitted)
    np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["machine"]), "lacks the column 'machine'"),
        (
            lambda t: t.set_column(0, "machine", pa.array([None, *t["machine"].to_pylist()[1:]])),
            "'machine', row 0 is 'missing', expected the name of a series",
        ),
        (lambda t: pa.concat_tables([t, t.slice(5, 1)]), "row 530 is .* of the row before in its series"),
    ],
)
def test_rows_that_are_of_no_series_or_out_of_order_are_refused(place: Path, change, message: str) -> None:
    table = change(parquet.read_table(place / "turns.parquet"))
    with pytest.raises(InputError, match=message):
        Detector.load(place / "model").decision_function(table, "t")


def test_a_wrong_cell_before_a_shard_is_named_with_its_row(place: Path, tmp_path: Path) -> None:
    table = pa.concat_tables([machine("fan", 100, 0)])
    cells = [str(value) for value in table["a"].to_pylist()]
    cells[30] = "broken"
    csv.write_csv(table.set_column(2, "a", pa.array(cells)), tmp_path / "t.csv")
    with pytest.raises(InputError, match="column 'a', row 30 is 'broken'"):
        scored(place, tmp_path / "s.parquet", str(tmp_path / "t.csv"), start=90)


def test_a_column_with_too_many_names_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "CELLS", 100)
    with pytest.raises(InputError, match="column 'machine' names 4 series or more, expected at most 2"):
        list(windows.stream(Detector.load(place / "model"), str(place / "turns.parquet")))


def test_a_series_too_short_for_a_window_is_no_surprise(place: Path) -> None:
    detector = Detector.load(place / "model")
    assert (detector.decision_function(machine("short", WINDOW - 1, 0)) == 0).all()
