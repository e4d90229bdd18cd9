"""Detectors of pictures: what is compared, by hand, and what a user does with them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from anomaly.detector import Detector
from anomaly.explain import nearest_reference, reasons
from anomaly.pictures import CELLS, DIRECTIONS, FAINT, edges, looks_of, pixels, pooled
from anomaly.players import regions
from anomaly.reader import blocks
from anomaly.sample import of_file
from anomaly.scoring import Wish, score_file
from generative.data import Table, load
from training.errors import InputError


def bars(across: bool, width: int = 20) -> torch.Tensor:
    """One picture of a ramp of brightness, from left to right or from top to bottom."""
    ramp = torch.linspace(0, 1, width).expand(width, width)
    return (ramp if across else ramp.T)[None, None]


@pytest.mark.parametrize(("across", "direction"), [(True, 0.0), (False, DIRECTIONS / 2)])
def test_a_ramp_has_edges_of_its_direction_alone(across: bool, direction: float) -> None:
    found = edges(bars(across)).view(DIRECTIONS, CELLS, CELLS)
    low = int(direction)
    share = direction - low
    inner = found[:, 2:3, 2:3]  # the cell in the middle, far from the border
    steep = 1 / 19  # per pixel
    strength = steep * torch.tensor([1 - share, share])
    expected = strength / (strength.square().sum() + FAINT**2).sqrt()
    np.testing.assert_allclose(inner[low], torch.full_like(inner[low], float(expected[0])), rtol=1e-3)
    np.testing.assert_allclose(inner[low + 1], torch.full_like(inner[0], float(expected[1])), atol=5e-3)
    others = [o for o in range(DIRECTIONS) if o not in (low, low + 1)]
    np.testing.assert_allclose(inner[others], 0, atol=1e-6)


def test_light_on_dark_has_the_edges_of_dark_on_light() -> None:
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(edges(1 - x), edges(x), rtol=1e-3, atol=1e-4)


def test_the_steepest_channel_counts() -> None:
    x = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(edges(torch.cat([0.2 * x, x], 1)), edges(x))


def test_windows_overlap_by_half_and_cells_are_means() -> None:
    x = torch.ones(1, 1, 28, 28)
    assert pixels(x).shape == (1, 14 * 14)
    assert pixels(x).view(14, 14)[1:-1, 1:-1].unique().tolist() == [1.0]
    inner = pooled(torch.full((1, 2, 12, 12), 3.0), 3)[..., 1:-1, 1:-1]
    np.testing.assert_allclose(inner, 3.0, rtol=1e-6)


def test_bytes_and_brightness_look_the_same() -> None:
    x = torch.rand(4, 64, generator=torch.Generator().manual_seed(0))
    for kind in ("pixels", "edges"):
        bright = looks_of(kind, 200 * x, (1, 8, 8), 200.0)
        torch.testing.assert_close(bright, looks_of(kind, x, (1, 8, 8), 1.0))


def one_class(digit: int) -> tuple[Table, np.ndarray, np.ndarray]:
    """Pictures of a digit to fit, others of it, and pictures of other digits."""
    digits = load("digits")
    assert digits.y is not None
    mine, others = np.flatnonzero(digits.y == digit), np.flatnonzero(digits.y != digit)
    return replace(digits, x=digits.x[mine[:120]], y=None), digits.x[mine[120:]], digits.x[others]


def test_a_missing_pixel_is_refused_in_fitting_as_in_scoring() -> None:
    table = one_class(3)[0]
    detector = Detector.fit(table, "pixels")
    for row in range(0, 120, 40):  # whether rows with it would fit or calibrate
        x = table.x.copy()
        x[row, 9] = np.nan
        with pytest.raises(InputError, match="column 'pixel_1_1', some row is missing"):
            Detector.fit(replace(table, x=x), "pixels")
    with pytest.raises(InputError, match="column 'pixel_1_1', row 80 is missing"):
        detector.decision_function(x)


@pytest.mark.parametrize("kind", ["auto", "pixels", "edges"])
def test_a_detector_of_one_digit_tells_the_others_and_survives_saving(kind: str, tmp_path: Path) -> None:
    table, same, others = one_class(3)
    detector = Detector.fit(table, kind, alpha=0.1)
    assert [member.kind for member in detector.members] == ["edges" if kind == "auto" else kind]
    assert detector.predict(others).mean() > 0.9
    assert detector.predict(same).mean() < 0.3
    detector.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model")
    np.testing.assert_array_equal(again.decision_function(others), detector.decision_function(others))


def test_a_file_of_pictures_is_sampled_with_its_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).integers(0, 256, (50, 6, 5), dtype=np.uint8)
    np.savez(tmp_path / "pictures.npz", x=x)
    monkeypatch.setattr("anomaly.sample.CELLS", 20 * 30)
    sample = of_file(str(tmp_path / "pictures.npz"))
    assert (sample.shape, len(sample.table), sample.rows) == ((1, 6, 5), 20, 50)
    rows = np.stack([column.to_numpy() for column in sample.table.columns], 1)
    assert {row.tobytes() for row in rows} <= {row.tobytes() for row in x.reshape(50, -1)}


def test_rows_that_are_no_pictures_are_refused() -> None:
    x = np.random.default_rng(0).normal(size=(30, 4))
    with pytest.raises(InputError, match="edges is for pictures"):
        Detector.fit(Table(x, ("a", "b", "c", "d"), "made up"), "edges")


def test_regions_by_hand() -> None:
    names, owner = regions((2, 8, 9))  # squares of 2 pixels: 4 down, 5 across, the last column half as wide
    assert len(names) == 20
    assert (names[0], names[4], names[19]) == (
        "rows 0-1, columns 0-1",
        "rows 0-1, columns 8",
        "rows 6-7, columns 8",
    )
    owner = owner.reshape(2, 8, 9)
    np.testing.assert_array_equal(owner[0], owner[1])
    assert owner[0, 3].tolist() == [5, 5, 6, 6, 7, 7, 8, 8, 9]
    assert np.bincount(owner.ravel()).tolist() == [8, 8, 8, 8, 4] * 4


@pytest.mark.parametrize("kind", ["edges", "pixels"])
def test_the_region_that_was_changed_explains_a_picture(kind: str) -> None:
    table, _, _ = one_class(0)
    detector = Detector.fit(table, kind)
    for at in range(5):
        x = detector.references[at].copy()
        x.reshape(8, 8)[6:, :2] = 15  # a corner in which nothing is
        why = reasons(detector, x, np.zeros(64, bool))
        assert why[0].column == "rows 6-7, columns 0-1"
        assert why[0].contribution > 2 * why[1].contribution  # the nearest one may be another than it was
        score = detector.score_features(x[None], np.zeros(1, int))[0]
        nearest = detector.references[nearest_reference(detector, x[None])]
        sums = sum(reason.contribution for reason in why)
        assert sums == pytest.approx(score - detector.score_features(nearest, np.zeros(1, int))[0], abs=1e-6)


def test_labels_beside_pictures_are_a_column_for_those_who_ask(tmp_path: Path) -> None:
    table, _, others = one_class(1)
    path = str(tmp_path / "labelled.npz")
    x = np.concatenate([table.x, others[:30]]).reshape(-1, 8, 8).astype(np.uint8)
    np.savez(path, x=x, y=np.repeat([0, 1], [len(table.x), 30]))
    sample = of_file(path, label_column="y")
    assert (len(sample.table), sample.labelled, sample.rows) == (len(table.x), 30, len(x))
    assert sample.shape == (1, 8, 8)
    assert "y" not in sample.schema.names
    _, block = next(blocks(path, (*sample.schema.names, "y")))
    assert block["y"].to_pylist() == ["0"] * len(table.x) + ["1"] * 30
    np.savez(path, x=x, y=np.full(len(x), 3))
    with pytest.raises(InputError, match="row 0 is '3', expected a label: 0"):
        of_file(path, label_column="y")


def test_pictures_of_more_numbers_than_a_text_table_has_columns_are_scored(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), dtype=np.uint8)
    np.save(tmp_path / "t.npy", x)
    detector = Detector.fit(str(tmp_path / "t.npy"))
    assert len(detector.columns) == 64 * 64 * 3
    detector.save(tmp_path / "model")
    wish = Wish(0.5, explain=1)
    found = score_file(detector, tmp_path / "model", str(tmp_path / "t.npy"), tmp_path / "scores.csv", wish)
    assert found.rows == 20
