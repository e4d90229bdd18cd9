"""A glance clears most rows; about the others all models of a detector are asked."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from anomaly.calibration import realised_range
from anomaly.detector import Detector
from anomaly.glance import ASKED, FAST_HIDDEN, FAST_NETS, FAST_SEEN, WEIGHTS, Glance, nearest
from anomaly.memory import Squares
from anomaly.nets import FOLDS, Nets
from anomaly.ratio import Ratio
from anomaly.surprise import joined
from generative.data import Table

COLUMNS = ("a", "b", "c", "d")


def rows(count: int, seed: int) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=(count, 2))
    noise = 0.1 * np.random.default_rng(seed + 1).normal(size=(count, 4))
    return np.concatenate([z, z @ [[1.0, 1.0], [1.0, -1.0]]], axis=1) + noise


@pytest.fixture(scope="module")
def fitted() -> Detector:
    return Detector.fit(Table(rows(1_500, 0), COLUMNS, "made up"), "auto", alpha=0.1)


@pytest.fixture
def glance(fitted: Detector) -> Glance:
    assert fitted.glance is not None
    return fitted.glance


def test_distances_to_the_nearest_by_hand() -> None:
    kept = Squares(torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]))
    found = nearest(torch.tensor([[0.0, 0.0], [3.0, 2.0]]), kept)
    np.testing.assert_allclose(found, [[0.0], [2.0]])
    np.testing.assert_allclose(nearest(torch.tensor([[0.0, 0.0]]), kept, 2), [[0.0, 1.0]])


def test_the_first_nets_score_as_they_did_among_all() -> None:
    nets = Nets(4, 1, torch.Generator().manual_seed(0))
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    few = Ratio(nets.first(2))
    assert (nets.count, few.nets.count) == (FOLDS, 2)
    torch.testing.assert_close(few.score(x), Ratio(nets)._each(x)[:2].mean(0))


def test_a_glance_joins_what_is_near_two_nets_and_lines(glance: Glance) -> None:
    x = rows(7, 3)
    distance = torch.cdist((torch.from_numpy(x) / glance.scale).float(), glance.rows).amin(1)
    near = glance.surprises[0]((distance + glance.floor).log().double().numpy())
    ratio = glance.surprises[1](glance.ratio.score(torch.from_numpy(x)).double().numpy())
    assert glance.linear is not None
    lines = glance.surprises[2](glance.linear.score(torch.from_numpy(x)).double().numpy())
    wanted = joined(np.stack([near, ratio, lines]), WEIGHTS)
    np.testing.assert_allclose(glance(x), wanted, rtol=1e-3, atol=1e-3)


def test_rows_that_are_not_cleared_get_what_all_models_say(fitted: Detector, glance: Glance) -> None:
    seen = fitted.seen(np.concatenate([rows(2_000, 5), 3 * rows(50, 6)[:, ::-1]]))
    seen.novel[7] = True  # a row with a novel cell is not cleared either
    quick, score = glance(seen.x), fitted.score_seen(seen)
    asked = quick > glance.limit
    asked[7] = True
    every = fitted.score_features(seen.x, seen.novel.sum(1))
    np.testing.assert_allclose(score[asked], every[asked], rtol=1e-4, atol=1e-4)
    assert np.array_equal(score[~asked], quick[~asked])
    assert asked[2_000:].mean() > 0.9
    low, high = realised_range(1_200, ASKED, 2_000, 0.9999)
    assert low <= asked[:2_000].sum() <= high


def test_the_promise_holds_for_scores_of_two_kinds(fitted: Detector) -> None:
    low, high = realised_range(len(fitted.calibration), 0.1, 2_000, 0.999)
    assert low <= int(fitted.predict(rows(2_000, 7)).sum()) <= high


def test_what_is_flagged_hardly_differs_from_what_all_models_flag(fitted: Detector) -> None:
    every = replace(fitted, glance=None)
    every.calibration = np.sort(every.decision_function(rows(1_000, 8)))
    fresh = rows(1_000, 9)
    strange = np.random.default_rng(1).permuted(fresh, axis=0)
    both = fitted.predict(strange) == every.predict(strange)
    assert both.mean() > 0.95
    assert every.predict(strange).mean() > 0.5


def test_only_auto_glances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomaly.models.SEEN", 20)
    table = Table(rows(40, 0), COLUMNS, "made up")
    assert Detector.fit(table, "auto").glance
    for kind, fast in (("ensemble", False), ("auto", True), ("memory", False)):
        assert Detector.fit(table, kind, fast=fast).glance is None


def test_a_glance_that_is_no_number_clears_nothing(fitted: Detector, glance: Glance) -> None:
    blind = Glance(
        glance.rows, glance.scale, glance.ratio, glance.linear, glance.surprises, math.nan, glance.limit
    )
    x = rows(20, 10)
    every = replace(fitted, glance=None).decision_function(x)
    np.testing.assert_allclose(replace(fitted, glance=blind).decision_function(x), every)


def test_a_saved_glance_is_the_same(fitted: Detector, tmp_path: Path) -> None:
    x = rows(500, 11)
    fitted.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model")
    assert again.glance
    assert np.array_equal(again.decision_function(x), fitted.decision_function(x))


def test_all_models_are_asked_about_every_row_where_few_were_fitted() -> None:
    fitted = 1_000 * 5 // 4  # a fifth calibrates
    assert Detector.fit(Table(rows(fitted - 5, 0), COLUMNS, "made up"), "auto").glance is None
    assert Detector.fit(Table(rows(fitted, 0), COLUMNS, "made up"), "auto").glance


def test_a_fast_detector_is_a_smaller_glance_alone() -> None:
    fast = Detector.fit(Table(rows(1_500, 0), COLUMNS, "made up"), "auto", fast=True)
    alone = fast.members[0].model
    assert isinstance(alone, Glance)
    assert (len(alone.rows), alone.ratio.nets.count) == (FAST_SEEN, FAST_NETS)
    assert [weight.shape[2] for weight in alone.ratio.nets.weights] == [*FAST_HIDDEN, 1]
    x = rows(100, 12)
    np.testing.assert_array_equal(fast.decision_function(x), alone(fast.seen(x).x))


def test_two_rows_are_enough_to_glance() -> None:
    found = Detector.fit(Table(rows(3, 0), COLUMNS, "made up"), "auto", fast=True)
    assert np.isfinite(found.decision_function(rows(5, 1))).all()
