import math

import pytest
import torch
from torch import nn

from training import networks
from training.average import Average
from training.errors import InputError
from training.networks import LayerConfig
from training.normalise import RunningNorm


@pytest.mark.parametrize("init", ["orthogonal", "he", "xavier"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "silu"])
def test_hidden_layers_keep_the_size_of_what_flows_through(init: str, activation: str) -> None:
    torch.manual_seed(0)
    net = networks.mlp(256, (256, 256, 256), 256, activation, layer=LayerConfig(init=init))
    size = net(torch.randn(512, 256)).square().mean().item()
    low = 0.4 if activation == "silu" else 0.75  # SiLU has no gain for all sizes
    assert low < size < 1.35


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_bounded_activations_start_out_of_saturation(activation: str) -> None:
    torch.manual_seed(0)
    net = networks.mlp(256, (256, 256), 256, activation)
    hidden = net[:4](torch.randn(512, 256))
    assert hidden.std() > (0.5 if activation == "tanh" else 0.05)
    assert hidden.abs().quantile(0.8) < 0.99


def test_no_hidden_layer_is_a_linear_map() -> None:
    torch.manual_seed(0)
    net = networks.mlp(3, (), 2, "tanh")
    x = torch.randn(4, 3)
    torch.testing.assert_close(net(2 * x), 2 * net(x))


def test_normalisations_stand_between_the_weights_and_the_activation() -> None:
    x = 100 + 7 * torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    batch = networks.mlp(3, (5,), 2, "relu", layer=LayerConfig(norm="batch"))
    normal = batch[:2](x)
    torch.testing.assert_close(normal.mean(0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(normal.std(0, correction=0), torch.ones(5), atol=1e-3, rtol=0)
    layer = networks.mlp(3, (50,), 2, "relu", layer=LayerConfig(norm="layer"))
    torch.testing.assert_close(layer[:2](x).mean(-1), torch.zeros(64), atol=1e-4, rtol=0)


def test_spectral_normalisation_bounds_every_layers_slope_by_one() -> None:
    torch.manual_seed(0)
    net = networks.mlp(4, (32,), 3, "relu", layer=LayerConfig(norm="spectral", init="he"))
    for _ in range(50):  # each pass in training mode is a step of the power iteration
        net(torch.randn(2, 4))
    for linear in (net[0], net[2]):
        assert torch.linalg.matrix_norm(linear.weight, 2).item() == pytest.approx(1.0, abs=1e-3)


def test_dropout_leaves_out_units_in_training_and_none_in_evaluation() -> None:
    net = networks.mlp(3, (1_000,), 1, "sigmoid", layer=LayerConfig(dropout=0.3))
    x = torch.randn(5, 3)
    assert (net[:3](x) == 0).float().mean().item() == pytest.approx(0.3, abs=0.05)
    with networks.evaluating(net):
        assert (net[:3](x) > 0).all()
    assert net.training
    with pytest.raises(InputError, match="dropout is 2"):
        LayerConfig(dropout=2)


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "spectral"])
@pytest.mark.parametrize(("pool", "features"), [("none", 8 * 7 * 7), ("max", 8 * 1 * 1), ("average", 8)])
def test_convolutions_halve_the_picture_and_flatten_it(norm: str, pool: str, features: int) -> None:
    layer = LayerConfig(norm=norm)
    net = networks.cnn(1, (4, 8), "relu", kernels=(4, 4), strides=(2, 2), pool=pool, layer=layer)
    assert net(torch.randn(2, 1, 28, 28)).shape == (2, features)
    same = networks.cnn(3, (4,), "relu", kernels=(3,), strides=(1,), layer=layer)
    assert same(torch.randn(2, 3, 9, 6)).shape == (2, 4 * 9 * 6)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_recurrent_layers_start_orthogonal_and_lstms_remember(cell: str) -> None:
    layer = networks.recurrent(cell, 3, 8)
    out, _ = layer(torch.randn(5, 2, 3))
    assert out.shape == (5, 2, 8)
    for gate in layer.weight_hh_l0.split(8):
        torch.testing.assert_close(gate @ gate.T, torch.eye(8), atol=1e-5, rtol=0)
    biases = (layer.bias_ih_l0 + layer.bias_hh_l0).tolist()
    assert biases == ([0.0] * 8 + [1.0] * 8 + [0.0] * 16 if cell == "lstm" else [0.0] * 24)


def test_twins_are_two_perceptrons_side_by_side() -> None:
    torch.manual_seed(0)
    twins, x = networks.Twins(3, (5, 4), 2, "tanh", (0.01, 1.0)), torch.randn(7, 2, 3)
    (w1, w2, w3), (b1, b2, b3) = twins.weights, twins.biases
    for which, found in enumerate(twins(x)):
        h = torch.tanh(torch.tanh(x @ w1[which] + b1[which]) @ w2[which] + b2[which])
        torch.testing.assert_close(found, h @ w3[which] + b3[which])
    assert twins.weights[2][0].norm() < 0.02 < twins.weights[2][1].norm()


def test_running_statistics_are_those_of_all_rows_at_once() -> None:
    rows = 1e4 + torch.randn(1_000, 3, generator=torch.Generator().manual_seed(0)).double().cumsum(0)
    norm = RunningNorm(3)
    for part in rows.split([1, 0, 299, 700]):
        norm.update(part)
    torch.testing.assert_close(norm.mean, rows.mean(0))
    torch.testing.assert_close(norm.deviation, rows.std(0, correction=0))
    inside = rows[500:600].float()
    torch.testing.assert_close(norm.back(norm(inside)), inside, rtol=1e-6, atol=1e-2)
    assert norm(torch.full((1, 3), 1e9)).tolist() == [[norm.limit] * 3]


def test_rows_that_are_not_finite_leave_running_statistics_alone() -> None:
    norm, other = RunningNorm(2), RunningNorm(2)
    rows = torch.tensor([[1.0, 2.0], [math.nan, 0.0], [3.0, 5.0], [0.0, math.inf]])
    norm.update(rows)
    other.update(rows[[0, 2]])
    assert torch.equal(norm.mean, other.mean)
    assert torch.equal(norm.deviation, other.deviation)
    assert norm.count == 2


def test_a_column_that_never_varies_is_only_shifted() -> None:
    norm = RunningNorm(1)
    norm.update(torch.full((50, 1), 7.0))
    assert norm(torch.tensor([[7.0], [8.0]])).tolist() == [[0.0], [1.0]]


@pytest.mark.parametrize("size", [1e-20, 1e-7, 1.0, 1e25])
def test_the_unit_of_a_column_makes_no_difference_but_rounding_is_no_deviation(size: float) -> None:
    rows = torch.randn(1_000, 1, generator=torch.Generator().manual_seed(0)).double()
    norm = RunningNorm(1)
    norm.update(3 + rows)
    other = RunningNorm(1)
    other.update(size * (3 + rows))
    torch.testing.assert_close(
        other((size * (3 + rows)).float()), norm((3 + rows).float()), rtol=1e-3, atol=1e-4
    )
    still = RunningNorm(1)
    still.update(size * (3 + 1e-9 * rows))
    assert still.deviation.item() == 1.0


def test_an_average_follows_weights_and_buffers_by_hand() -> None:
    model = nn.BatchNorm1d(1)
    average = Average(model, decay=0.5)
    with torch.no_grad():
        model.weight.fill_(3.0)  # from 1
        model.running_mean.fill_(8.0)  # from 0
        model.num_batches_tracked.fill_(4)
    average.update(model)  # decay (1 + 0) / (10 + 0)
    assert average.model.weight.item() == pytest.approx(0.1 * 1 + 0.9 * 3)
    assert average.model.running_mean.item() == pytest.approx(0.9 * 8)
    assert average.model.num_batches_tracked.item() == 4
    for _ in range(60):  # in the end the decay is the one asked for
        average.update(model)
    with torch.no_grad():
        model.weight.fill_(5.0)
    average.update(model)
    assert average.model.weight.item() == pytest.approx(4.0, abs=1e-4)
    assert not average.model.training
    again = Average(nn.BatchNorm1d(1), decay=0.5)
    again.load_state_dict(average.state_dict())
    assert torch.equal(again.model.weight, average.model.weight)
    assert again.count == average.count
