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


def test_descend_does_what_backward_clip_and_step_do() -> None:
    torch.manual_seed(0)
    x, nets = torch.randn(8, 3), []
    for _ in range(2):
        torch.manual_seed(1)
        nets.append(nn.Linear(3, 2))
    ours, theirs = (torch.optim.Adam(net.parameters(), lr=0.1) for net in nets)
    for max_norm in (0.1, 100.0):
        norm = optim.descend(nets[0](x).square().sum(), nets[0].parameters(), ours, max_norm)
        theirs.zero_grad()
        nets[1](x).square().sum().backward()
        expected = nn.utils.clip_grad_norm_(nets[1].parameters(), max_norm)
        theirs.step()
        torch.testing.assert_close(norm, expected)
    torch.testing.assert_close(nets[0].weight, nets[1].weight)


def test_learning_rates_fall_to_zero() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    for schedule, middle in ((optim.linear, 0.75), (optim.cosine, 0.5 + 0.5 * math.sqrt(0.5))):
        found = []
        for done in (0.0, 0.25, 1.0):
            schedule(optimizer, 1.0, done)
            found.append(optimizer.param_groups[0]["lr"])
        assert found == [1.0, pytest.approx(middle), pytest.approx(0.0)]
