"""Files of scores: the same bits however the work is cut, whole or not there, with the reasons."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from anomaly import scoring
from anomaly.calibration import discoveries
from anomaly.detector import Detector
from anomaly.explain import QUICK, contributions, nearest_reference, reasons
from anomaly.scoring import Wish, score_file
from tests.scores import blocks_seen, scored
from training.errors import InputError

ROWS = 300
pytestmark = pytest.mark.usefixtures("small_blocks")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of numbers and words, and rows with every tenth strange."""
    here = tmp_path_factory.mktemp("scoring")
    rng = np.random.default_rng(0)
    normal = pa.table(
        {"a": rng.normal(size=400), "b": rng.normal(size=400), "w": rng.choice(["x", "y"], 400)}
    )
    detector = Detector.fit(normal, "memory", alpha=0.05)
    detector.save(here / "model")
    a, w = rng.normal(size=ROWS), rng.choice(["x", "y"], ROWS).astype(object)
    a[::10] += 9
    w[5::100] = "z"
    rows = pa.table({"b": rng.normal(size=ROWS), "extra": ["!"] * ROWS, "w": list(w), "a": a})
    parquet.write_table(rows, here / "t.parquet", row_group_size=70)
    csv.write_csv(rows, here / "t.csv")
    return here


def test_each_row_has_its_score_in_order(place: Path, tmp_path: Path) -> None:
    found = scored(place, tmp_path / "s.parquet")
    assert found["row"].to_pylist() == list(range(ROWS))
    detector = Detector.load(place / "model")
    rows = parquet.read_table(place / "t.parquet")
    np.testing.assert_allclose(found["score"], detector.decision_function(rows), rtol=1e-6)
    np.testing.assert_array_equal(found["p_value"], detector.p_of(found["score"].to_numpy()))
    np.testing.assert_array_equal(found["anomaly"], found["p_value"].to_numpy() <= 0.05 + 1e-12)
    assert found["anomaly"].to_numpy()[::10].all()


def test_parquet_and_csv_give_the_same_file(place: Path, tmp_path: Path) -> None:
    scored(place, tmp_path / "a.csv")
    scored(place, tmp_path / "b.csv", "t.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert (tmp_path / "a.csv").read_text().startswith("row,score,p_value,anomaly\n0,")


@pytest.mark.parametrize("cuts", [(0, 7, 150, 151, ROWS), (0, 16, 64, 128, ROWS), (0, 299, ROWS)])
def test_shards_are_bit_equal_to_the_whole(place: Path, tmp_path: Path, cuts: tuple) -> None:
    whole = scored(place, tmp_path / "whole.parquet", explain=2)
    parts = [
        scored(place, tmp_path / f"{start}.parquet", explain=2, start=start, stop=stop)
        for start, stop in pairwise(cuts)
    ]
    assert pa.concat_tables(parts).equals(whole)


def test_a_killed_run_goes_on_without_scoring_finished_parts(place: Path, tmp_path: Path) -> None:
    whole = scored(place, tmp_path / "whole.csv")
    with blocks_seen(dies_at=160), pytest.raises(KeyboardInterrupt):
        scored(place, tmp_path / "s.csv")
    assert not (tmp_path / "s.csv").exists()
    with blocks_seen() as seen:
        assert scored(place, tmp_path / "s.csv").equals(whole)
    assert seen == list(range(128, ROWS, 16))  # two parts of 64 rows were whole


def test_a_run_killed_at_its_end_still_says_that_the_file_is_too_short(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = scoring._write_part

    def write(parts: Path, start: int, kept: list[np.ndarray]) -> int:
        if usual(parts, start, kept) == ROWS:
            raise KeyboardInterrupt
        return start + sum(map(len, kept))

    monkeypatch.setattr(scoring, "_write_part", write)
    with pytest.raises(KeyboardInterrupt):
        scored(place, tmp_path / "s.csv", stop=ROWS + 50)
    with pytest.raises(InputError, match=f"ends at row {ROWS}, expected the rows 0 to {ROWS + 50}"):
        scored(place, tmp_path / "s.csv", stop=ROWS + 50)
    assert list(tmp_path.iterdir()) == []


def test_parts_of_another_call_are_not_taken(place: Path, tmp_path: Path) -> None:
    parts = tmp_path / ".s.csv.parts"
    parts.mkdir()
    (parts / "identity.json").write_text("another")
    np.save(parts / "0.npy", np.full(64, 7.0))
    assert (scored(place, tmp_path / "s.csv")["score"].to_numpy() != 7).all()


def test_a_file_changed_inside_a_folder_makes_another_call(place: Path, tmp_path: Path) -> None:
    file = tmp_path / "pictures" / "a" / "0.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"one")
    before = scoring._identity(place / "model", str(tmp_path / "pictures"), Wish(0.05))
    (tmp_path / "pictures" / "scores.csv").touch()  # what is written there is no picture
    assert scoring._identity(place / "model", str(tmp_path / "pictures"), Wish(0.05)) == before
    file.write_bytes(b"another")
    assert scoring._identity(place / "model", str(tmp_path / "pictures"), Wish(0.05)) != before


def test_rows_that_cannot_be_read_leave_nothing(place: Path, tmp_path: Path) -> None:
    text = (place / "t.csv").read_text().splitlines()
    text[201] = text[201].rsplit(",", 1)[0] + ",oops"
    (place / "bad.csv").write_text("\n".join(text))
    (tmp_path / "s.csv").write_text("before")
    with pytest.raises(InputError, match=r"bad\.csv: column 'a', row 200 is 'oops', expected a number"):
        scored(place, tmp_path / "s.csv", "bad.csv")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("s.csv", "before")]


def test_reasons_name_the_column_that_was_changed(place: Path, tmp_path: Path) -> None:
    found = scored(place, tmp_path / "s.parquet", explain=2).to_pylist()
    assert {row["column_1"] for row in found[::10]} == {"a"}
    assert {row["column_1"] for row in found[5::100]} == {"w"}
    assert all(abs(float(row["expected_1"])) < 5 for row in found[::10])
    assert {row["expected_1"] for row in found[5::100]} <= {"x", "y"}
    assert all(row["column_1"] is None for row in found if not row["anomaly"])
    assert all(row["share_1"] >= (row["share_2"] or 0) for row in found[::10])


def test_contributions_sum_to_the_score(place: Path) -> None:
    detector = Detector.load(place / "model")
    rows = parquet.read_table(place / "t.parquet").slice(0, 20)
    seen = detector.seen(rows)
    x, novel = seen.x, seen.novel
    score = detector.score_features(x, novel.sum(1))
    normal = detector.score_features(detector.references, np.zeros(len(detector.references), int))
    for i, reference in enumerate(nearest_reference(detector, x)):
        for orders in (QUICK, 8):
            phi = contributions(detector, x[i], novel[i], int(reference), orders)
            assert phi.sum() == pytest.approx(score[i] - normal[reference], abs=1e-6)


def test_the_nearest_normal_row_is_found_far_from_zero(place: Path) -> None:
    detector = Detector.load(place / "model")
    detector.references = 1e8 + np.random.default_rng(0).normal(size=(50, 4))
    assert nearest_reference(detector, detector.references + 0.01).tolist() == list(range(50))


def test_a_column_that_is_as_expected_contributes_nothing(place: Path) -> None:
    detector = Detector.load(place / "model")
    x, novel = detector.references[3].copy(), np.zeros(3, bool)
    x[detector.encoder.owner == 0] += 7
    phi = contributions(detector, x, novel, 3, QUICK)
    assert phi[0] > 1
    assert phi[1] == phi[2] == 0.0
    assert reasons(detector, x, novel)[0].column == "a"


def test_discoveries_by_hand() -> None:
    # p-values 1/5 (twice), 2/5, 5/5 of five rows: 2/5 · ... sorted: .2 .2 .4 1 1; 0.5·i/5 = .1 .2 .3 .4 .5
    assert discoveries(np.array([2, 1, 0, 0, 2]), 0.5) == pytest.approx(0.2)
    assert discoveries(np.array([2, 1, 0, 0, 2]), 0.7) == pytest.approx(0.4)
    assert discoveries(np.array([0, 1, 0, 0, 4]), 0.5) == 0.0


def test_discoveries_keep_their_rate() -> None:
    rng, shares = np.random.default_rng(0), []
    for _ in range(400):
        calibration = np.sort(rng.normal(size=400))
        score = np.concatenate([rng.normal(size=160), 4 + rng.normal(size=40)])
        rank = 400 - np.searchsorted(calibration, score)
        limit = discoveries(np.bincount(rank, minlength=401), 0.2)
        flagged = (1 + rank) / 401 <= limit + 1e-12
        shares.append(flagged[:160].sum() / max(1, flagged.sum()))
    assert np.mean(shares) <= 0.2 + 3 * np.std(shares) / 20


def test_fdr_flags_fewer_rows_than_its_rate_as_alpha(place: Path, tmp_path: Path) -> None:
    found = scored(place, tmp_path / "s.parquet", alpha=0.05, fdr=0.2, explain=1)
    rank = np.round(found["p_value"].to_numpy() * 81).astype(int) - 1
    limit = discoveries(np.bincount(rank, minlength=81), 0.2)
    np.testing.assert_array_equal(found["anomaly"], found["p_value"].to_numpy() <= limit + 1e-12)
    alone = scored(place, tmp_path / "alone.parquet", alpha=0.2)["anomaly"].to_numpy()
    assert found["anomaly"].to_numpy().sum() < alone.sum()
    assert 30 <= found["anomaly"].to_numpy().sum() < ROWS / 2


def test_the_summary_names_the_strangest_rows(place: Path, tmp_path: Path) -> None:
    detector = Detector.load(place / "model")
    found = score_file(detector, place / "model", str(place / "t.csv"), tmp_path / "s.csv", Wish(0.05))
    assert (found.rows, sum(found.counts)) == (ROWS, ROWS)
    scores = csv.read_csv(tmp_path / "s.csv")["score"].to_numpy()
    assert [row for row, _, _ in found.top] == list(np.argsort(-scores, kind="stable")[: len(found.top)])
    json.dumps(found.top)


def test_what_is_strange_does_not_choose_the_normal_row_it_is_explained_by() -> None:
    """Of rows at (0, 0) and (9, 5) the first is like (99, 0) but for the strange column, though farther."""
    rng = np.random.default_rng(0)
    x = np.where(rng.random((400, 1)) < 0.5, [[0.0, 0.0]], [[9.0, 5.0]]) + 0.1 * rng.normal(size=(400, 2))
    detector = Detector.fit(x, "nearest")
    seen = detector.seen(np.array([[99.0, 0.0]]))
    nearest = detector.references[nearest_reference(detector, seen.x)[0]]
    assert detector.shown(nearest, 1).startswith(("0", "-0"))
