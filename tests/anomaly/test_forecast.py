"""Views of a linear forecast, by hand and where it is right."""

import numpy as np
import pytest
import torch

from anomaly import forecast
from anomaly.forecast import FLOOR, Forecast
from anomaly.windows import Windows
from training.errors import InputError


def test_views_of_a_forecast_by_hand() -> None:
    """x_t = ½ x_{t−2} foretold of windows of 4 rows: L = 2, S = 2."""

    def model(view: str) -> Forecast:
        weight = torch.tensor([[0.5], [0.0]], dtype=torch.float64)
        one = torch.ones(1, dtype=torch.float64)
        usual = torch.tensor([[1.0], [2.0], [0.1]], dtype=torch.float64)
        return Forecast(view, weight, 0 * one, 2 * one, usual, 1, torch.tensor([0]))  # type: ignore[arg-type]

    x = torch.tensor([[2.0, 4.0, 3.0, 8.0]], dtype=torch.float64)  # e = (3 − 1) / 2, (8 − 2) / 2
    for view, expected in (
        ("forecast", np.log(3 + FLOOR)),
        ("shift", np.log(3 + FLOOR)),
        ("drift", np.log(2 + FLOOR)),
        ("unrest", np.log(1 + FLOOR) - 0.1),
        ("calm", 0.1 - np.log(1 + FLOOR)),
        ("value", np.log((8 - 1) / 2 + FLOOR)),
        ("level", np.log((8 - 1) / 2 + FLOOR)),
    ):
        assert float(model(view).score(x)) == pytest.approx(expected), view


def test_a_fitted_forecast_foretells_a_season() -> None:
    x = Windows(16).of(np.sin(np.arange(500) / 5)[:, None])[15:]
    fitted = Forecast.fit("forecast", torch.from_numpy(x), 16)
    assert float(fitted.deviation[0]) < 0.02
    moved = x.copy()
    moved[:, -1] += 1
    assert (fitted.score(torch.from_numpy(moved)) > fitted.score(torch.from_numpy(x)) + 2).all()


def test_a_forecast_of_many_features_looks_back_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "MOST", 6)
    x = torch.randn(50, 16 * 3, generator=torch.Generator().manual_seed(0))
    fitted = Forecast.fit("unrest", x, 16)
    assert fitted.weight.shape == (6, 3)  # two lags of three features
    assert fitted.score(x).isfinite().all()


def test_a_forecast_of_too_many_features_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "MOST", 2)
    with pytest.raises(InputError, match="a forecast of 3 features at once is too much, expected 2 at most"):
        Forecast.fit("forecast", torch.zeros(10, 12), 4)
