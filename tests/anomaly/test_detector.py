from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import roc_auc_score

from anomaly.calibration import realised_range
from anomaly.detector import CALIBRATE, CALIBRATE_MOST, Detector, fit_model, score_rows
from anomaly.models import OWN, STRANGEST, Member, measured
from anomaly.sample import of_table
from generative import autoencoder, gan, registry, vae
from generative.data import Table, load
from generative.parts.rows import Form
from training.checkpoint import save_model
from training.errors import InputError
from training.optim import OptimConfig
from training.run import RunConfig

SHORT = RunConfig(steps=600, evaluate_every=100, device="cpu")


def table(rows: int, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, 2))
    x = np.concatenate([z, z @ [[1.0], [1.0]], z @ [[1.0], [-1.0]]], axis=1) + 0.1 * rng.normal(
        size=(rows, 4)
    )
    return Table(x.astype(np.float32), ("a", "b", "c", "d"), "made up")


def broken(normal: Table) -> np.ndarray:
    """Rows whose columns are usual, each for itself, and do not fit together."""
    rng = np.random.default_rng(1)
    return np.stack([rng.permutation(column) for column in normal.x.T], axis=1)


def config(kind: str):
    warm_up = {"warm_up": 100} if kind == "vae" else {}
    return registry.module(kind).Config(
        latent=2, hidden=(16,), optim=OptimConfig(lr=5e-3), run=SHORT, **warm_up
    )


@pytest.mark.parametrize("kind", ["autoencoder", "vae"])
def test_a_detector_finds_rows_that_do_not_fit_together(kind: str) -> None:
    detector = Detector.fit(table(1_500), kind, cfg=config(kind))
    fresh = table(500, seed=5)
    rows = np.concatenate([fresh.x, broken(fresh)])
    truth = np.repeat([0, 1], 500)
    assert roc_auc_score(truth, detector.decision_function(rows)) > 0.9
    assert detector.predict(broken(fresh)).mean() > 0.5


def test_the_false_alarm_rate_is_what_was_promised() -> None:
    alarms = tests = 0
    ranges = []
    for seed in range(5):
        detector = Detector.fit(table(800, seed), kind="vae", seed=seed, alpha=0.1, cfg=config("vae"))
        found = detector.predict(table(1_000, seed + 100).x).sum()
        ranges.append(realised_range(len(detector.calibration), 0.1, 1_000, level=0.998))
        assert ranges[-1][0] <= found <= ranges[-1][1]
        alarms, tests = alarms + found, tests + 1_000
    assert 0.07 < alarms / tests < 0.13


@pytest.mark.parametrize("kind", ["auto", "vae", "forest"])
def test_calibration_rows_are_used_for_nothing_else(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    few_steps(monkeypatch)
    normal = table(400)
    changed = Table(normal.x.copy(), normal.columns, normal.source)
    calibrate = of_table(normal).split(0, CALIBRATE, CALIBRATE_MOST)[1]
    assert len(calibrate) == 80
    changed.x[calibrate] += 3.0
    cfg = config("vae") if kind == "vae" else None
    first, second = (Detector.fit(t, kind, cfg=cfg) for t in (normal, changed))
    for mine, other in zip(first.members, second.members, strict=True):
        assert all(torch.equal(array, other.arrays()[name]) for name, array in mine.arrays().items())
    assert first.encoder.to_json() == second.encoder.to_json()
    assert second.threshold > first.threshold


def few_steps(monkeypatch: pytest.MonkeyPatch, steps: int = 30) -> None:
    monkeypatch.setattr("anomaly.nets.FEWEST", steps)
    monkeypatch.setattr("anomaly.nets.MOST", steps)


def test_score_p_value_and_flag_agree() -> None:
    detector = Detector.fit(table(600), "autoencoder", alpha=0.05, cfg=config("autoencoder"))
    x = np.concatenate([table(200, 3).x, broken(table(200, 3))])
    score, p = detector.decision_function(x), detector.p_value(x)
    assert (np.diff(p[np.argsort(score)]) <= 0).all()
    np.testing.assert_array_equal(detector.predict(x), score > detector.threshold)
    np.testing.assert_array_equal(detector.predict(x), p <= 0.05)


@pytest.mark.parametrize("kind", ["auto", "autoencoder", *OWN])
def test_a_saved_detector_scores_the_same_after_loading(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_steps(monkeypatch)
    detector = Detector.fit(table(300), kind, cfg=config(kind) if kind == "autoencoder" else None)
    detector.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model")
    x = table(50, 9).x
    np.testing.assert_array_equal(again.p_value(x), detector.p_value(x))
    np.testing.assert_array_equal(again.decision_function(x), detector.decision_function(x))
    assert (again.alpha, again.columns, again.kind) == (detector.alpha, detector.columns, kind)
    assert again.about == detector.about


@pytest.mark.parametrize("kind", OWN)
def test_each_detector_tells_broken_rows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    few_steps(monkeypatch, 400)
    detector = Detector.fit(table(600), kind)
    fresh = table(300, seed=5)
    strange = 3 * broken(fresh) if kind in ("pca", "forest") else broken(fresh)
    score = detector.decision_function(np.concatenate([fresh.x, strange]))
    assert roc_auc_score(np.repeat([0, 1], 300), score) > 0.85


def test_trimming_leaves_out_the_strangest_tenth() -> None:
    rng = np.random.default_rng(1)
    strange = 30 * rng.choice([-1, 1], (50, 4)) * rng.uniform(1, 2, (50, 4))
    rows = Table(np.concatenate([table(950).x, strange]), ("a", "b", "c", "d"), "made up")
    plain, trimmed = (Detector.fit(rows, "memory", contaminated=told) for told in (False, True))
    assert (plain.about["rows fitted"], trimmed.about["rows fitted"]) == (800, 720)
    assert np.abs(plain.references).max() > 5 * np.abs(trimmed.references).max()
    assert trimmed.about["contaminated"]


@pytest.mark.parametrize("kind", ["auto", "pca"])
def test_contaminated_rows_are_fitted_from_five_on(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    few_steps(monkeypatch)
    for rows in (3, 4):
        with pytest.raises(InputError, match=f"{rows - 1} contaminated rows to fit, expected 4 or more"):
            Detector.fit(table(rows), kind, contaminated=True)
    assert np.isfinite(Detector.fit(table(5), kind, contaminated=True).decision_function(table(9, 1).x)).all()


@pytest.mark.parametrize("kind", ["auto", "pca", "forest"])
@pytest.mark.parametrize("rows", [3, 9])
def test_fitting_never_refuses_for_want_of_rows(
    kind: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_steps(monkeypatch)
    detector = Detector.fit(table(rows), kind)
    assert np.isfinite(detector.decision_function(table(20, 1).x)).all()
    assert detector.alpha == 1 / (len(detector.calibration) + 1)


def test_an_alpha_that_rows_cannot_promise_gives_scores_and_no_flags() -> None:
    detector = Detector.fit(table(50), "pca", alpha=0.001)
    assert not detector.flags
    assert detector.predict(100 + table(20).x).sum() == 0
    assert (detector.p_value(100 + table(20).x) == 1 / 11).all()


def test_gaps_words_and_dates_are_data() -> None:
    rng = np.random.default_rng(0)
    word = rng.choice(["x", "y"], 1_000)
    rows = {
        "value": [
            f"{v:.3f}" if g > 0.05 else ""
            for v, g in zip(rng.normal(size=1_000) + 9 * (word == "x"), rng.random(1_000), strict=True)
        ],
        "word": list(word),
        "when": [f"2024-01-01 {h:02d}:30" for h in rng.integers(8, 18, 1_000)],
    }
    detector = Detector.fit(pa.table(rows), "memory")

    def p(value: str, word: str, when: str) -> float:
        row = {"value": [value], "word": [word], "when": [f"2030-05-06 {when}"]}
        return float(detector.p_value(pa.table(row))[0])

    assert min(p("9", "x", "12:30"), p("0", "y", "12:30"), p("", "x", "12:30")) > 0.05
    assert max(p("0", "x", "12:30"), p("9", "z", "12:30"), p("9", "", "12:30"), p("9", "x", "03:00")) < 0.02


def trained(tmp_path: Path, normal: Table):
    fit, _, _ = registry.parts(normal, 0)
    cfg = config("vae")
    learner = vae.Learner(cfg, torch.from_numpy(normal.x[fit]))
    for _ in vae.train(cfg, learner):
        pass
    registry.save(tmp_path / "model", "vae", learner, normal)
    return learner


def test_a_trained_run_is_calibrated_on_rows_it_kept_for_tests(tmp_path: Path) -> None:
    normal = table(600)
    learner = trained(tmp_path, normal)
    detector = Detector.of_run(tmp_path, normal)
    _, _, test = registry.parts(normal, 0)
    np.testing.assert_array_equal(detector.calibration, np.sort(score_rows(learner.model, normal.x[test])))


def test_a_trained_run_is_calibrated_on_all_rows_of_another_table(tmp_path: Path) -> None:
    trained(tmp_path, table(600))
    assert len(Detector.of_run(tmp_path, table(80, seed=4)).calibration) == 80


def test_pictures_of_bytes_calibrate_a_run_and_are_scored_as_they_calibrated(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (100, 4), dtype=np.uint8)
    pictures = Table(x, tuple(f"x{i}" for i in range(4)), "made up", shape=(1, 2, 2))
    trained(tmp_path, pictures)
    detector = Detector.of_run(tmp_path, replace(pictures, x=x[::-1].copy()))
    assert detector.references.dtype == np.float64
    np.testing.assert_array_equal(np.sort(detector.decision_function(x)), detector.calibration)


def test_frames_whose_names_would_be_lost_are_refused() -> None:
    class DataFrame(np.ndarray):
        columns = ("b", "a")

    detector = Detector.fit(table(100), "pca")
    with pytest.raises(InputError, match="rows are a DataFrame"):
        detector.decision_function(np.zeros((1, 3)).view(DataFrame))


def test_tiny_and_far_columns_are_seen_as_well_as_any() -> None:
    rng = np.random.default_rng(0)
    x = np.stack(
        [rng.normal(size=2_000) * 1e-8, 1e8 + rng.normal(size=2_000), rng.normal(size=2_000)], axis=1
    )
    detector = Detector.fit(Table(x, ("a", "b", "c"), "made up"), "vae", cfg=config("vae"))
    for column, deviation in ((0, 1e-8), (1, 1.0)):
        far = x[:100].copy()
        far[:, column] += 30 * deviation
        assert detector.predict(far).mean() == 1.0


def test_rows_of_an_episode_stay_together() -> None:
    normal = replace(table(400), group=np.repeat(np.arange(40), 10))
    fit, calibrate = of_table(normal).split(0, 0.2, 2_000)
    assert not set(normal.group[fit]) & set(normal.group[calibrate])
    assert (len(fit), len(calibrate)) == (320, 80)


def test_alpha_is_refused_before_anything_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomaly.text_members.fit_member", None)
    with pytest.raises(InputError, match="expected a rate"):
        Detector.fit(table(100), alpha=float("nan"))


def test_a_run_of_other_columns_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, table(100))
    with pytest.raises(InputError, match="digits has 64 columns"):
        Detector.of_run(tmp_path, load("digits"))


def test_folders_that_are_no_detectors_are_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "model", {"w": torch.zeros(1)}, {"kind": "vae"})
    with pytest.raises(InputError, match="holds a vae, expected a detector"):
        Detector.load(tmp_path / "model")
    save_model(tmp_path / "model", {}, {"kind": "detector", "members": []})
    with pytest.raises(InputError, match="no weights of its members, an older version wrote it"):
        Detector.load(tmp_path / "model")


def test_a_model_is_left_as_it_was_when_its_own_measure_was_highest(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def measure(model: gan.GAN, x: torch.Tensor, y: None) -> tuple[float, dict[str, float]]:
        seen.append(next(model.critic.parameters()).clone())
        return (0.1, 0.5, 0.3)[len(seen) - 1], {}

    monkeypatch.setattr(gan.GAN, "measure", measure)
    cfg = gan.Config(hidden=(8,), guard_every=0, run=RunConfig(steps=3, evaluate_every=1, device="cpu"))
    model = fit_model("gan", cfg, table(100), np.arange(80), np.arange(80, 100))
    assert torch.equal(next(model.critic.parameters()), seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_a_measure_is_the_mean_over_rows_however_they_are_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = autoencoder.Autoencoder(autoencoder.Config(), Form(4))
    x = table(100).x
    whole = score_rows(model, x).mean()
    monkeypatch.setattr("anomaly.models.BLOCK", 33)
    assert measured(model, x) == pytest.approx(-whole, rel=1e-5)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(InputError, match="2 rows to learn from, expected at least 3"):
        Detector.fit(table(2))


def test_scores_do_not_depend_on_how_rows_are_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = autoencoder.Autoencoder(autoencoder.Config(), Form(4))
    x = table(100).x
    whole = score_rows(model, x)
    monkeypatch.setattr("anomaly.models.BLOCK", 7)
    np.testing.assert_allclose(score_rows(model, x), whole, rtol=1e-5)
    assert score_rows(model, x[:0]).shape == (0,)


def test_a_fast_detector_scores_nearly_as_the_whole_one_and_keeps_its_promise(tmp_path: Path) -> None:
    whole, fast = (Detector.fit(table(1_500), "auto", alpha=0.1, fast=told) for told in (False, True))
    fresh = table(500, seed=5)
    rows = np.concatenate([fresh.x, broken(fresh)])
    truth = np.repeat([0, 1], 500)
    assert [member.kind for member in fast.members] == ["glance"]
    sharp, dull = (roc_auc_score(truth, one.decision_function(rows)) for one in (whole, fast))
    assert dull > max(0.9, sharp - 0.03)
    low, high = realised_range(len(fast.calibration), 0.1, 500, 0.999)
    assert low <= int(fast.predict(fresh.x).sum()) <= high
    fast.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model")
    assert np.array_equal(again.decision_function(rows), fast.decision_function(rows))


def test_what_cannot_be_fast_says_so() -> None:
    with pytest.raises(InputError, match="detector is 'vae', a fast one expects auto"):
        Detector.fit(table(200), "vae", fast=True)


@pytest.mark.parametrize("value", [1e20, -1e60, 1e150])
@pytest.mark.parametrize("kind", ["auto", "vae"])
def test_what_is_far_beyond_32_bits_is_strange_and_finite(kind: str, value: float) -> None:
    detector = Detector.fit(table(300), kind, alpha=0.1, cfg=None if kind == "auto" else config(kind))
    rows = table(2, seed=5).x.astype(np.float64)
    rows[0, 1] = value
    assert np.isfinite(detector.decision_function(rows)).all()
    assert detector.predict(rows)[0] == 1


def test_a_model_whose_arithmetic_overflows_calls_the_row_strange() -> None:
    detector = Detector.fit(table(300), "nearest", alpha=0.1)
    detector.members = [Member("vae", Overflowing(), None)]
    assert detector.score_features(np.zeros((2, 4)), np.zeros(2, int)).tolist() == [STRANGEST, STRANGEST]
    assert detector.verdict(detector.p_of(np.array([STRANGEST]))) == [1]


class Overflowing:
    """Scores rows as NaN and infinity."""

    def score(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([torch.nan, torch.inf])


def test_scores_of_normal_rows_that_are_no_numbers_are_refused() -> None:
    found = Detector.fit(table(300), "nearest")
    with pytest.raises(InputError, match="1 of 2 normal rows have scores that are NaN"):
        Detector(
            "nearest", found.schema, found.encoder, found.members, np.array([0.0, np.nan]), found.references
        )


def test_scores_that_are_no_numbers_are_refused_when_fitting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomaly.text_members.fit_member", lambda *_: Member("vae", Overflowing(), None))
    with pytest.raises(InputError, match="2 of 2 normal rows have scores that are NaN"):
        Detector.fit(table(10), "vae")


def test_an_array_is_fitted_as_it_is() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 3))
    found = Detector.fit(rows, "nearest")
    assert found.columns == ("x0", "x1", "x2")
    assert found.predict(np.array([[9.0, 9.0, 9.0]])).tolist() == [1]
    with pytest.raises(InputError, match=r"the array has the shape \(200,\), expected \(N, D\)"):
        Detector.fit(rows[:, 0], "nearest")


def test_of_an_array_no_more_rows_are_kept_than_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomaly.sample.ROWS", 100)
    found = of_table(np.arange(600.0).reshape(300, 2))
    assert (len(found.table), found.rows) == (100, 300)
    assert (np.diff(found.table["x0"]) > 0).all()
    monkeypatch.setattr("anomaly.sample.CELLS", 60)
    assert len(of_table(table(300)).table) == 15
    assert len(of_table(replace(table(300), group=np.arange(300) // 10)).table) == 300


def test_tables_are_no_pictures() -> None:
    table = pa.table({"word": ["a", "b", "c"] * 20, "number": np.arange(60.0) % 7})
    with pytest.raises(
        InputError, match="the detector edges is for pictures, the table holds rows of a table"
    ):
        Detector.fit(table, "edges")
