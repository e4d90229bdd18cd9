"""SHAP values of scores that are known, over the columns of the user's table."""

import sys
from collections.abc import Callable
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from anomaly import shapley
from anomaly.detector import Detector
from anomaly.explain import reasons
from anomaly.models import Member
from training.errors import InputError


class Linear:
    """A score that is a weighted sum of features, plus a product of two of them."""

    def __init__(self, weights: np.ndarray, product: float = 0.0) -> None:
        self.weights, self.product = torch.from_numpy(weights), product

    def score(self, x: Tensor) -> Tensor:
        return x @ self.weights + self.product * x[:, 0] * x[:, 1]


@pytest.fixture
def detector() -> Detector:
    """Two columns of numbers, one of them with gaps, and one of words."""
    rng = np.random.default_rng(0)
    b = rng.normal(size=400)
    rows = {
        "a": rng.normal(size=400),
        "b": np.where(rng.random(400) < 0.2, np.nan, b),
        "w": rng.choice(list("xyz"), 400),
    }
    return Detector.fit(pa.table(rows), "memory")


class EveryOrder:
    """Shapley values by all orders of the columns, asked for as shap's explainer is."""

    def __init__(self, value: Callable[[np.ndarray], np.ndarray], _: np.ndarray, seed: int) -> None:
        self.value = value

    def __call__(self, x: np.ndarray, max_evals: int, silent: bool) -> SimpleNamespace:
        count = x.shape[1]
        steps = []
        for order in permutations(range(count)):
            place = np.argsort(order)
            taken = place < np.arange(count + 1)[:, None]
            steps.append(np.diff(self.value(taken.astype(float)))[place])
        base = self.value(np.zeros((1, count)))
        return SimpleNamespace(values=np.mean(steps, 0)[None], base_values=base)


@pytest.fixture(params=["every order", "shap"])
def _explainer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What draws the orders: shap where it is installed, and all of them where it is not."""
    if request.param == "shap":
        pytest.importorskip("shap")
    else:
        monkeypatch.setattr(shapley, "_explainer", lambda: EveryOrder)


def background(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The normal rows: all that are kept."""
    monkeypatch.setattr(shapley, "BACKGROUND", len(detector.references))
    return detector.references


@pytest.mark.usefixtures("_explainer")
def test_a_linear_score_has_the_known_values(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.arange(1.0, 1 + len(detector.owner))
    detector.members = [Member("linear", Linear(weights), None)]
    normal = background(detector, monkeypatch)
    seen = detector.seen(pa.table({"a": [3.0], "b": [np.nan], "w": ["x"]}))
    phi, base = shapley.shap_values(detector, seen.x[0], seen.novel[0])
    each = weights * (seen.x[0] - normal.mean(0))
    np.testing.assert_allclose(phi, np.bincount(detector.owner, each), atol=1e-9)
    assert len(phi) == 3  # columns, not features
    assert base == pytest.approx((normal @ weights).mean())


@pytest.mark.usefixtures("_explainer")
def test_a_product_is_shared_and_the_sum_is_the_score(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector.members = [Member("product", Linear(np.zeros(len(detector.owner)), 1.0), None)]
    normal = background(detector, monkeypatch)
    assert detector.owner[:2].tolist() == [0, 1]
    seen = detector.seen(pa.table({"a": [3.0], "b": [2.0], "w": ["x"]}))
    phi, base = shapley.shap_values(detector, seen.x[0], seen.novel[0])
    (p, q), (a, b) = seen.x[0, :2], normal[:, :2].T
    first = ((p * b - a * b) + (p * q - a * q)).mean() / 2  # in both orders of the two
    second = ((a * q - a * b) + (p * q - p * b)).mean() / 2
    np.testing.assert_allclose(phi, [first, second, 0.0], atol=1e-9)
    assert base + phi.sum() == pytest.approx(p * q)


@pytest.mark.usefixtures("_explainer")
def test_a_word_never_seen_counts_for_its_column(detector: Detector) -> None:
    rows = pa.table({"a": [0.0], "b": [0.0], "w": ["new"]})
    seen = detector.seen(rows)
    phi, base = shapley.shap_values(detector, seen.x[0], seen.novel[0])
    assert phi[2] >= detector.encoder.novelty - 1e-9
    assert base + phi.sum() == pytest.approx(detector.decision_function(rows)[0], rel=1e-6)
    assert reasons(detector, seen.x[0], seen.novel[0])[0].column == "w"


def test_without_shap_there_is_one_clear_line(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shap.explainers", None)
    with pytest.raises(InputError, match=r"SHAP is not installed, expected: pip install .*\[shap\]"):
        shapley.shap_values(detector, np.zeros(len(detector.owner)), np.zeros(3, bool))
