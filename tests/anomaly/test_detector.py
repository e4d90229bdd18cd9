from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from anomaly.calibration import realised_range
from anomaly.detector import SHARES, Detector, score_rows
from generative import autoencoder, registry, vae
from generative.data import Table, load, split, split_table
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
        detector = Detector.fit(table(800, seed), seed=seed, alpha=0.1, cfg=config("vae"))
        found = detector.predict(table(1_000, seed + 100).x).sum()
        ranges.append(realised_range(len(detector.calibration), 0.1, 1_000, level=0.998))
        assert ranges[-1][0] <= found <= ranges[-1][1]
        alarms, tests = alarms + found, tests + 1_000
    assert 0.07 < alarms / tests < 0.13


def test_calibration_rows_are_used_for_nothing_else() -> None:
    normal = table(400)
    changed = Table(normal.x.copy(), normal.columns, normal.source)
    calibrate = list(split(400, 0, *SHARES))[2]
    changed.x[calibrate] += 3.0
    first, second = (Detector.fit(t, cfg=config("vae")) for t in (normal, changed))
    weights = first.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert second.threshold > first.threshold


def test_score_p_value_and_flag_agree() -> None:
    detector = Detector.fit(table(600), "autoencoder", alpha=0.05, cfg=config("autoencoder"))
    x = np.concatenate([table(200, 3).x, broken(table(200, 3))])
    score, p = detector.decision_function(x), detector.p_value(x)
    assert (np.diff(p[np.argsort(score)]) <= 0).all()
    np.testing.assert_array_equal(detector.predict(x), score > detector.threshold)
    np.testing.assert_array_equal(detector.predict(x), p <= 0.05)


def test_a_saved_detector_scores_the_same_after_loading(tmp_path: Path) -> None:
    detector = Detector.fit(table(300), cfg=config("vae"))
    detector.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model")
    x = table(50, 9).x
    np.testing.assert_array_equal(again.p_value(x), detector.p_value(x))
    assert (again.alpha, again.columns, again.kind) == (detector.alpha, detector.columns, "vae")


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


def test_tiny_and_far_columns_are_seen_as_well_as_any() -> None:
    rng = np.random.default_rng(0)
    x = np.stack(
        [rng.normal(size=2_000) * 1e-8, 1e8 + rng.normal(size=2_000), rng.normal(size=2_000)], axis=1
    )
    detector = Detector.fit(Table(x, ("a", "b", "c"), "made up"), cfg=config("vae"))
    for column, deviation in ((0, 1e-8), (1, 1.0)):
        far = x[:100].copy()
        far[:, column] += 30 * deviation
        assert detector.predict(far).mean() == 1.0


def test_rows_of_an_episode_stay_together() -> None:
    normal = replace(table(400), group=np.repeat(np.arange(40), 10))
    parts = split_table(normal, 0, *SHARES)
    episodes = [set(normal.group[part]) for part in parts]
    assert not episodes[0] & episodes[2]
    assert not episodes[1] & episodes[2]
    assert sum(map(len, parts)) == 400


def test_alpha_is_refused_before_anything_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomaly.detector.fit_model", None)
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


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(InputError, match="2 rows or episodes, expected at least 3"):
        Detector.fit(table(2))
    with pytest.raises(InputError, match="expected at least 999 of them"):
        Detector.fit(table(50), alpha=0.001, cfg=config("vae"))


def test_scores_do_not_depend_on_how_rows_are_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = autoencoder.Autoencoder(autoencoder.Config(), Form(4))
    x = table(100).x
    whole = score_rows(model, x)
    monkeypatch.setattr("anomaly.detector.BLOCK", 7)
    np.testing.assert_allclose(score_rows(model, x), whole, rtol=1e-5)
    assert score_rows(model, x[:0]).shape == (0,)
