"""Series: windows never look ahead, files are scored alike however they are cut, parts are disjoint."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv, parquet

from anomaly import forecast, series, window_models, windows
from anomaly.detector import Detector
from anomaly.explain import reasons
from anomaly.lineup import Lineup
from anomaly.models import Member
from anomaly.windows import Windows, stream
from generative.parts.networks import Network
from generative.parts.rows import Form
from tests.scores import blocks_seen, scored
from training.errors import InputError

ROWS, WINDOW = 600, 20  # a window is wider than a block
pytestmark = pytest.mark.usefixtures("small_blocks")


def rows(n: int, seed: int) -> pa.Table:
    """A season and noise, with a gap now and then."""
    rng = np.random.default_rng(seed)
    b = rng.normal(size=n)
    b[::50] = np.nan
    when = np.datetime64("2024-01-01") + np.arange(n) * np.timedelta64(300, "s")
    season = np.sin(np.arange(n) / 9) + 0.1 * rng.normal(size=n)
    return pa.table({"when": when, "a": season, "b": b})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of windows, and a series with a spike at row 300."""
    here = tmp_path_factory.mktemp("series")
    series.fit(series.of_table(rows(1_500, 0), WINDOW), alpha=0.05).save(here / "model")
    table = rows(ROWS, 1)
    a = table["a"].to_numpy().copy()
    a[300] += 5
    table = table.set_column(1, "a", pa.array(a))
    parquet.write_table(table, here / "t.parquet")
    csv.write_csv(table, here / "t.csv")
    return here


def test_a_window_ends_with_its_row() -> None:
    x = np.arange(10.0).reshape(5, 2)
    np.testing.assert_array_equal(Windows(2).of(x)[[0, 1, 4]], [[0, 1, 0, 1], [0, 1, 2, 3], [6, 7, 8, 9]])
    np.testing.assert_array_equal(Windows(3).of(x)[4], [4, 5, 6, 7, 8, 9])


def test_scores_do_not_depend_on_how_the_work_is_cut(place: Path, tmp_path: Path) -> None:
    whole = scored(place, tmp_path / "whole.parquet", explain=1)
    assert whole["row"].to_pylist() == list(range(ROWS))
    for start, stop in ((0, 100), (7, 13), (100, 333), (333, None), (250, 290)):
        part = scored(place, tmp_path / f"{start}.parquet", explain=1, start=start, stop=stop)
        assert part.equals(whole.slice(start, len(part)))
    assert scored(place, tmp_path / "text.parquet", "t.csv", explain=1).equals(whole)


def test_a_killed_scoring_goes_on_to_the_same_file(place: Path, tmp_path: Path) -> None:
    whole = scored(place, tmp_path / "whole.parquet")
    with blocks_seen(dies_at=256), pytest.raises(KeyboardInterrupt):
        scored(place, tmp_path / "s.parquet")
    parts = sorted(int(file.stem) for file in (tmp_path / ".s.parquet.parts").glob("[0-9]*.npy"))
    assert parts == [0, 64, 128, 192]
    with blocks_seen() as seen:
        assert scored(place, tmp_path / "s.parquet").equals(whole)
    assert min(seen) == 256


def test_scores_never_look_ahead_and_the_first_rows_have_none(place: Path) -> None:
    detector = Detector.load(place / "model")
    table = parquet.read_table(place / "t.parquet")
    score = detector.decision_function(table)
    assert (score[: WINDOW - 1] == 0).all()
    assert (detector.p_of(score[: WINDOW - 1]) == 1).all()
    assert (score[WINDOW - 1 :] > 0).mean() > 0.9
    later = table["a"].to_numpy().copy()
    later[400:] = 99
    changed = detector.decision_function(table.set_column(1, "a", pa.array(later)))
    np.testing.assert_allclose(changed[:400], score[:400], rtol=1e-6)
    assert changed[400] > score.max()
    assert score.argmax() in (300, 301)  # what comes after it is foretold from it
    assert detector.predict(table)[300] == 1


def test_the_column_that_was_wrong_explains_a_row(place: Path) -> None:
    detector = Detector.load(place / "model")
    first, block, context = next(stream(detector, str(place / "t.parquet"), 300))
    assert len(context) == WINDOW - 1
    assert first <= 300 < first + 16
    seen = detector.seen(block, "t", first, context)
    why = reasons(detector, seen.of(np.array([300 - first]))[0], seen.novel[300 - first])
    assert why[0].column == "a"
    assert why[0].share > 0.7
    table = parquet.read_table(place / "t.parquet")
    assert float(why[0].value) == pytest.approx(table["a"][300].as_py(), rel=1e-4)


def test_parts_are_disjoint_with_gaps_and_without_labelled_rows() -> None:
    found = series.of_table(rows(1_000, 0), WINDOW)
    found.strange[100:110] = True
    assert found.windows.time == "when"
    assert found.schema.names == ("a", "b")
    learn, judge, calibrate = (found.part(*ends) for ends in ((0, 0.6), (0.6, 0.8), (0.8, 1)))
    assert learn[0] == WINDOW - 1
    assert learn[-1] == 599
    assert judge[0] == 600 + WINDOW - 1
    assert judge[-1] == 799
    assert calibrate[0] == 800 + WINDOW - 1
    assert calibrate[-1] == 999
    assert set(range(WINDOW - 1, 600)) - set(learn) == set(range(100, 110 + WINDOW - 1))


def test_features_and_scales_are_not_learned_from_labelled_rows() -> None:
    rng = np.random.default_rng(0)
    columns = {"v": rng.normal(size=600), "w": rng.choice(["x", "y"], 600).astype(object)}
    columns["v"][50], columns["w"][50] = 1e4, "BAD"
    table = pa.table(columns | {"machine": ["a", "b"] * 300})
    found = series.of_table(table, 4, name="machine")
    found.strange[50] = True
    for own in (False, True):
        encoder = series.fit(found, "pca", own_scale=own).encoder
        number, word = encoder.codings
        assert number.scale == pytest.approx(1, abs=0.1)
        assert set(word.words) == {"x", "y"}
        assert encoder.rows == 359
    assert encoder.own is not None
    assert encoder.own.spread.max() < 1.2


@pytest.mark.parametrize("kind", ["pca", "forest", "memory", "calm"])
def test_other_models_look_at_windows_too(kind: str, tmp_path: Path) -> None:
    detector = series.fit(series.of_table(rows(400, 0), 8), kind, alpha=0.1)
    detector.save(tmp_path / "model")
    table = rows(100, 1)
    again = Detector.load(tmp_path / "model").decision_function(table)
    np.testing.assert_array_equal(again, detector.decision_function(table))
    assert 0 <= detector.predict(rows(1_000, 2)).mean() < 0.3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.take(pa.array([0, 1, 3, 2, *range(4, 60)])), "row 3 is .* expected a time after that"),
        (lambda t: t.take(pa.array([0, 1, 1, *range(2, 59)])), "row 2 is .* expected a time after that"),
        (
            lambda t: t.set_column(0, "when", pa.array([None, *t["when"].to_pylist()[1:]])),
            "row 0 is 'missing'",
        ),
        (lambda t: t.set_column(0, "when", pa.array(["soon"] * 60)), "row 0 is 'soon', expected a date"),
        (lambda t: t.drop_columns(["when"]), "lacks the column 'when'"),
    ],
)
def test_times_that_do_not_grow_are_refused(place: Path, change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Detector.load(place / "model").decision_function(change(rows(60, 3)), "t")


def test_scores_of_windows_that_are_no_numbers_are_refused_when_fitting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Lost:
        def score(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x),), torch.nan)

    monkeypatch.setattr("anomaly.series.fit_window_member", lambda *_: Member("vae", Lost(), None))
    with pytest.raises(InputError, match=r"\d+ of \d+ normal rows have scores that are NaN"):
        series.fit(series.of_table(rows(300, 0), 4), "vae")


def test_a_time_may_be_a_number_and_is_never_an_input() -> None:
    table = rows(400, 0)
    table = table.set_column(0, "step", pa.array(np.arange(400)))
    found = series.of_table(table, 8, "step")
    assert found.windows.time == "step"
    assert found.schema.names == ("a", "b")


def test_too_few_rows_and_windows_are_refused() -> None:
    with pytest.raises(InputError, match="has 60 rows, expected at least 105 for windows of 20"):
        series.fit(series.of_table(rows(60, 0), 20))
    with pytest.raises(InputError, match="window is 1, expected 2"):
        series.of_table(rows(60, 0), 1)


@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=30),
    length=st.integers(1, 8),
)
def test_a_lineup_says_what_a_loop_over_each_series_says(rows: list[tuple[bool, int]], length: int) -> None:
    marked, name = np.array([m for m, _ in rows]), np.array([n for _, n in rows])
    lineup = Lineup(name)
    held, windows = lineup.holding(marked, length), lineup.windows(np.arange(len(rows)), length)
    assert lineup.count == len(set(name.tolist()))
    assert sorted(np.concatenate(lineup.each()).tolist()) == list(range(len(rows)))
    for i in range(len(rows)):
        mine = [j for j in range(len(rows)) if name[j] == name[i]]
        at = mine.index(i)
        window = mine[max(0, at + 1 - length) : at + 1]
        assert windows[i].tolist() == [mine[0]] * (length - len(window)) + window
        assert held[i] == any(marked[j] for j in window)
        assert (lineup.rank[i], lineup.left[i], lineup.size[i]) == (at, len(mine) - 1 - at, len(mine))


def test_a_column_that_counts_the_rows_is_no_input_of_a_series(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("row,x\n" + "\n".join(f"{i},{(7 * i) % 11}" for i in range(300)))
    assert series.of_file(str(path), 4).schema.names == ("x",)


@pytest.mark.parametrize(
    ("kind", "network"), [("autoencoder", "lstm"), ("vae", "conv"), ("denoiser", "conv"), ("som", None)]
)
def test_networks_read_windows_in_their_order(
    kind: str, network: Network | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_models, "STEPS", 40)
    cfg = window_models.window_config(kind, network) if network else None
    detector = series.fit(series.of_table(rows(600, 0), 16), kind, alpha=0.1, cfg=cfg)
    assert Form.unpack(detector.members[0].arrays()["form"]).shape == (16, len(detector.encoder.features))
    detector.save(tmp_path / "model")
    table = rows(100, 1)
    again = Detector.load(tmp_path / "model").decision_function(table)
    np.testing.assert_array_equal(again, detector.decision_function(table))
    a = table["a"].to_numpy().copy()
    a[60] += 9
    spiked = detector.decision_function(table.set_column(1, "a", pa.array(a)))
    assert spiked[60:76].mean() > again[60:76].mean()
    np.testing.assert_allclose(spiked[:60], again[:60], rtol=1e-4, atol=1e-6)


def test_wide_windows_are_put_together_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few numbers are held at once, what is scored is the same, and no piece is larger."""
    table, probe = rows(400, 0), rows(100, 1)
    detector = series.fit(series.of_table(table, 16), "forecast", alpha=0.1)
    whole = detector.decision_function(probe)
    monkeypatch.setattr(windows, "CELLS", 200)
    monkeypatch.setattr(forecast, "CELLS", 100)
    sizes: list[int] = []
    usual = windows.Seen.of

    def counted(seen: windows.Seen, chosen: np.ndarray) -> np.ndarray:
        found = usual(seen, chosen)
        sizes.append(found.size)
        return found

    monkeypatch.setattr(windows.Seen, "of", counted)
    np.testing.assert_allclose(detector.decision_function(probe), whole, rtol=1e-9)
    assert max(sizes) <= 200
    assert sum(sizes) == 100 * 16 * len(detector.encoder.features)


def test_of_more_windows_than_fit_every_so_many_is_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "CELLS", 20 * 16 * 3)
    found = series.fit(series.of_table(rows(2_000, 0), 16), "forecast", alpha=0.1)
    assert found.about["windows fitted"] == 20
    assert len(found.references) <= 20
    assert len(found.calibration) == 400 - 15  # calibration is streamed


def test_a_window_too_wide_is_refused_before_anything_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "WIDEST", 40)
    with pytest.raises(InputError, match="windows of 16 rows have 48 numbers, expected 40 at most"):
        series.fit(series.of_table(rows(400, 0), 16))


def test_a_gap_is_filled_from_within_its_window() -> None:
    """Features of a row: a number, and whether it is missing."""
    x = np.array([[1.0, 0], [0, 1], [3, 0], [0, 1], [0, 1]])
    gaps = np.array([[0], [1]])
    seen = windows.Seen(x, np.zeros((5, 1), bool), Lineup(np.zeros(5, int)), 2, gaps)
    told = seen.of(np.arange(5)).reshape(5, 2, 2)
    assert told[:, :, 0].tolist() == [[1, 1], [1, 1], [3, 3], [3, 3], [0, 0]]
    assert told[:, :, 1].tolist() == [[0, 0], [0, 1], [1, 0], [0, 1], [1, 1]]
    assert x[1, 0] == 0


def test_a_gap_such_as_others_before_is_no_alarm_and_a_fault_is() -> None:
    def level(n: int, seed: int, share: float) -> np.ndarray:
        rng = np.random.default_rng(seed)
        a = 50 + 10 * np.sin(np.arange(n) / 30) + rng.normal(size=n)
        a[rng.random(n) < share] = np.nan
        return a

    detector = series.fit(series.of_table(pa.table({"a": level(4_000, 0, 0.01)}), 16), alpha=0.01)
    a = level(4_000, 1, 0.01)
    a[500] = 70.0
    flagged = detector.predict(pa.table({"a": a})).astype(bool)
    assert flagged[500]
    assert flagged[np.isnan(a)].mean() < 0.3  # a median in its place would alarm at all of them
