"""Devices, seeds, networks, steps."""

import math

import pytest
import torch
from torch import nn

from training import device, networks, optim, seeds
from training.errors import InputError


def test_unknown_and_absent_devices_are_refused() -> None:
    assert device.pick("cpu").type == "cpu"
    for name in ("gpu", "cuda:99", "meta:x"):
        with pytest.raises(InputError, match=f"device is '{name}'"):
            device.pick(name)


def test_streams_of_other_names_and_seeds_differ_and_repeat() -> None:
    found = {seeds.stream(seed, name) for seed in range(50) for name in ("a", "b", "ab", "")}
    assert len(found) == 200
    assert seeds.stream(3, "a") == seeds.stream(3, "a")
    drawn = [torch.rand(3, generator=seeds.torch_generator(0, name)) for name in ("a", "a", "b")]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_hidden_layers_keep_the_size_of_what_flows_through() -> None:
    torch.manual_seed(0)
    net = networks.mlp(256, (256, 256, 256), 256, "relu")
    x = torch.randn(512, 256)
    assert net(x).square().mean().item() == pytest.approx(1.0, rel=0.25)


def test_no_hidden_layer_is_a_linear_map() -> None:
    torch.manual_seed(0)
    net = networks.mlp(3, (), 2, "tanh")
    x = torch.randn(4, 3)
    torch.testing.assert_close(net(2 * x), 2 * net(x))


def test_adam_takes_the_steps_of_torchs_adam_with_clipping() -> None:
    torch.manual_seed(0)
    x, nets = torch.randn(8, 3), []
    for _ in range(2):
        torch.manual_seed(1)
        nets.append(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    ours = optim.Adam(nets[0].parameters(), lr=0.01, eps=1e-5)
    theirs = torch.optim.Adam(nets[1].parameters(), lr=0.01, eps=1e-5)
    for max_norm in [0.1, 100.0] * 20:
        norm = ours.descend(nets[0](x).square().sum(), max_norm)
        theirs.zero_grad()
        nets[1](x).square().sum().backward()
        expected = nn.utils.clip_grad_norm_(nets[1].parameters(), max_norm)
        theirs.step()
        torch.testing.assert_close(norm, expected)
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_moves_nothing(bad: float) -> None:
    net = nn.Linear(2, 1)
    before = net.weight.clone()
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    norm = optimizer.descend((net(torch.ones(1, 2)) * bad).sum(), 1.0)
    assert not norm.isfinite()
    assert torch.equal(net.weight, before)
    optimizer.descend(net(torch.ones(1, 2)).sum(), 1.0)
    assert net.weight.isfinite().all()
    assert not torch.equal(net.weight, before)


def test_twins_are_two_perceptrons_side_by_side() -> None:
    torch.manual_seed(0)
    twins, x = networks.Twins(3, (5, 4), 2, "tanh", (0.01, 1.0)), torch.randn(7, 2, 3)
    (w1, w2, w3), (b1, b2, b3) = twins.weights, twins.biases
    for which, found in enumerate(twins(x)):
        h = torch.tanh(torch.tanh(x @ w1[which] + b1[which]) @ w2[which] + b2[which])
        torch.testing.assert_close(found, h @ w3[which] + b3[which])
    assert twins.weights[2][0].norm() < 0.02 < twins.weights[2][1].norm()


def test_learning_rates_fall_to_zero_and_stay_there() -> None:
    for schedule, quarter in ((optim.linear, 0.75), (optim.cosine, 0.5 + 0.5 * math.sqrt(0.5))):
        found = [schedule(done) for done in (0.0, 0.25, 1.0, 1.5)]
        assert found == [1.0, pytest.approx(quarter), pytest.approx(0.0), pytest.approx(0.0)]
