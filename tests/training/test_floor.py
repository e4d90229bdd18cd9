"""Devices and seeds."""

import pytest
import torch

from training import device, seeds
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
