import json
import random

import numpy as np
import pytest
import torch

from training.errors import InputError
from training.state import capture, global_generators, pack, restore, set_global_generators, unpack


def test_a_tree_survives_json() -> None:
    tree = {
        "tensor": torch.arange(3),
        "array": np.arange(4, dtype=np.uint32),
        "nested": [{"a/b": 1, "": torch.zeros(2)}, {3: "three", None: 2**100}],
        "plain": [None, True, 1.5, "text", np.float64(2.5)],
    }
    tensors, rest = pack(tree)
    found = unpack(tensors, json.loads(json.dumps(rest)))
    assert torch.equal(found["tensor"], tree["tensor"])
    np.testing.assert_array_equal(found["array"], tree["array"])
    assert found["nested"][0]["a/b"] == 1
    assert torch.equal(found["nested"][0][""], torch.zeros(2))
    assert found["nested"][1] == {3: "three", None: 2**100}
    assert found["plain"] == [None, True, 1.5, "text", 2.5]


def test_anything_else_is_refused_by_its_place() -> None:
    with pytest.raises(TypeError, match="state at /a/1 is a function"):
        pack({"a": [1, lambda: None]})


def test_generators_of_all_kinds_go_on_where_they_were() -> None:
    def draw() -> tuple:
        return random.random(), np.random.rand(), torch.rand(1).item(), np.random.normal(), random.gauss(0, 1)

    draw()
    tensors, rest = pack(global_generators())
    first = draw()
    set_global_generators(unpack(tensors, json.loads(json.dumps(rest))))
    assert draw() == first


def test_attributes_of_every_kind_come_back() -> None:
    class Some:
        def __init__(self) -> None:
            self.net = torch.nn.Linear(2, 1)
            self.generator = torch.Generator()
            self.count, self.mean, self.names = 3, torch.ones(2), ["a"]

    one, other = Some(), Some()
    one.generator.manual_seed(7)
    names = ("net", "generator", "count", "mean", "names")
    one.count, one.mean = 5, torch.tensor([1.0, 2.0])
    restore(other, capture(one, names))
    assert torch.equal(other.net.weight, one.net.weight)
    assert torch.rand(1, generator=other.generator) == torch.rand(1, generator=one.generator)
    assert (other.count, other.mean.tolist(), other.names) == (5, [1.0, 2.0], ["a"])


def test_a_generator_of_another_kind_of_device_is_told_in_one_line() -> None:
    class Some:
        generator = torch.Generator()

    with pytest.raises(InputError, match="generator drew on another device than cpu, expected the one that"):
        restore(Some(), {"generator": torch.zeros(16, dtype=torch.uint8)})  # as long as a state of CUDA's
