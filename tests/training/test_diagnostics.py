import math
import re
import warnings

import pytest
import torch
from torch import nn

from training.diagnostics import ENOUGH, Diagnostics, dead_units
from training.networks import LayerConfig, Twins, mlp
from training.optim import SGD


def warnings_of(diagnostics: Diagnostics) -> list[str]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        diagnostics()
    return [str(warning.message) for warning in told]


class Learner:
    def __init__(self, model: nn.Module, lr: float = 0.1) -> None:
        self.model = model
        self.optimizer = SGD(model.parameters(), lr=lr, momentum=0.0)

    def update(self, loss: torch.Tensor) -> None:
        self.optimizer.descend(loss, 1e9)


def test_norms_and_steps_of_each_layer_by_hand() -> None:
    model = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1))
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), ([[3.0, 4.0]], [0.0], [[2.0]], [0.0]), strict=True):
            parameter.copy_(torch.tensor(value))
    learner = Learner(model)
    learner.update(model(torch.tensor([[1.0, 0.0]])).sum())  # 2 (3 a + 4 b + c) + d at a = 1, b = 0
    found = Diagnostics(learner)()
    # The first layer's gradient is (2, 0) and 2 for its bias, the second's 3 and 1; steps are a tenth.
    assert found["gradient/0"] == pytest.approx(math.sqrt(8))
    assert found["gradient/1"] == pytest.approx(math.sqrt(10))
    assert found["update/0"] == pytest.approx(0.1 * math.sqrt(8) / math.sqrt(2.8**2 + 4**2 + 0.2**2))
    assert found["update/1"] == pytest.approx(0.1 * math.sqrt(10) / math.sqrt(1.7**2 + 0.1**2))
    assert found["optim/lr"] == 0.1


def test_layers_have_the_names_of_their_modules() -> None:
    spectral = mlp(2, (3,), 1, "relu", layer=LayerConfig(norm="spectral"))
    assert {k for k in Diagnostics(Learner(spectral))() if k.startswith("gradient")} == {
        "gradient/0.weight",
        "gradient/0",
        "gradient/2.weight",
        "gradient/2",
    }
    twins = Diagnostics(Learner(Twins(2, (3,), 1, "relu", (1.0, 1.0))))()
    assert {"gradient/weights.0", "gradient/biases.1"} < set(twins)


def test_a_vanishing_gradient_is_told_of_once_with_the_layers_name() -> None:
    torch.manual_seed(0)
    model = mlp(4, (8,) * 12, 1, "sigmoid")
    learner = Learner(model)
    diagnostics = Diagnostics(learner)
    learner.update(model(torch.randn(16, 4)).square().mean())
    assert [warnings_of(diagnostics) for _ in range(ENOUGH - 1)] == [[]] * (ENOUGH - 1)
    (told,) = warnings_of(diagnostics)
    assert re.fullmatch(r"the gradient of 0 .* vanishes: .*e-\d+ of the largest layer's, per weight", told)
    assert warnings_of(diagnostics) == [], "once"


def test_a_gradient_that_crosses_zero_has_not_vanished() -> None:
    model = nn.Linear(2, 1)
    learner = Learner(model, lr=0.0)
    diagnostics = Diagnostics(learner)
    for row in range(20):  # the bias's gradient is zero at every third row
        sign = torch.tensor([[1.0], [0.0]]) if row % 3 else torch.tensor([[1.0], [-1.0]])
        learner.update((model(torch.eye(2)) * sign).sum())
        assert warnings_of(diagnostics) == []


def test_a_healthy_network_is_not_warned_of() -> None:
    torch.manual_seed(0)
    model = mlp(4, (64,) * 6, 1, "relu")
    learner = Learner(model, lr=1e-3)
    diagnostics = Diagnostics(learner)
    for _ in range(30):
        learner.update((model(torch.randn(64, 4)) - 1).square().mean())
        assert warnings_of(diagnostics) == []


def test_an_exploding_gradient_is_told_of_with_the_layers_name() -> None:
    model = nn.Linear(2, 1)
    learner = Learner(model, lr=0.0)
    diagnostics = Diagnostics(learner)
    for _ in range(6):
        learner.update(model(torch.ones(3, 2)).sum())
        diagnostics()
    learner.update(model(torch.ones(3, 2)).sum() * 5_000)
    (told,) = warnings_of(diagnostics)
    assert re.search(r"of weight .* explodes: 5000 times", told)


def test_dead_units_are_those_that_stand_still() -> None:
    model = mlp(1, (4,), 1, "relu")
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [-1.0], [1.0], [1.0]]))
        model[0].bias.copy_(torch.tensor([0.0, 0.0, -99.0, 0.5]))
    with dead_units(model) as found:
        model(torch.linspace(0.1, 1, 50)[:, None])
        model(torch.ones(1, 1))  # a single row tells nothing
    assert found == {"dead/1": 0.5}
    assert not model[1]._forward_hooks


def test_dead_units_of_twins_are_counted_net_by_net_and_layer_by_layer() -> None:
    twins = Twins(1, (2, 3), 1, "relu", (1.0, 1.0))
    with torch.no_grad():
        for weight, bias in zip(twins.weights, twins.biases, strict=True):
            weight.fill_(1.0)
            bias.zero_()
        twins.biases[0][
            0
        ] = -99.0  # the first net is off; its numbers differ from the other's, and stand still
        twins.biases[1][1, 0, 2] = -99.0
    with dead_units(twins) as found:
        twins(torch.linspace(0.1, 1, 50)[:, None])
    assert found == {"dead/activations.0": 0.5, "dead/activations.1": pytest.approx(4 / 6)}


def test_dead_channels_are_counted_over_places() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 0.0]).reshape(2, 1, 1, 1))
        model[0].bias.fill_(0.0)
    with dead_units(model) as found:
        model(torch.arange(18.0).reshape(2, 1, 3, 3))
    assert found == {"dead/1": 0.5}
