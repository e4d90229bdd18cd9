from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from training.checkpoint import save_model
from training.errors import InputError
from training.optim import SGD, Adam
from training.transfer import freeze, take_over, within


class Model(nn.Module):
    def __init__(self, hidden: int, outputs: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, outputs))
        self.bias = nn.Parameter(torch.randn(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x) + self.bias


def learner(hidden: int = 4, outputs: int = 2) -> Any:
    model, slow = Model(hidden, outputs), Model(hidden, outputs)
    return SimpleNamespace(model=model, slow=slow, optimizer=Adam(model.parameters(), 0.1))


def saved(path: Path, model: nn.Module) -> Path:
    save_model(path / "model", model.state_dict(), {})
    return path


def test_layers_that_fit_are_taken_into_every_copy_and_told_of(tmp_path: Path) -> None:
    source = Model(4, 5)
    source(torch.randn(9, 3))  # moves the running statistics
    new = learner()
    found = take_over(new, saved(tmp_path, source))
    assert found.taken == ("encoder.0", "encoder.1")
    assert found.left == {
        "bias": "its bias is 5 there, 2 here",
        "encoder.2": "its weight is 5×4 there, 2×4 here",
    }
    for model in (new.model, new.slow):
        for name, value in model.encoder[:2].state_dict().items():
            assert torch.equal(value, source.encoder.state_dict()[name])
    assert str(found).splitlines()[0] == "taken over: encoder.0, encoder.1"
    x = torch.randn(8, 3)
    new.optimizer.descend(new.model(x).square().mean(), 1.0)
    assert not torch.equal(new.model.encoder[0].weight, source.encoder[0].weight), (
        "the optimizer still has them"
    )


def test_a_layer_of_which_only_the_bias_fits_is_left(tmp_path: Path) -> None:
    source = nn.ModuleDict({"encoder": nn.Linear(7, 4)})
    model = nn.ModuleDict({"encoder": nn.Linear(3, 4), "other": nn.Linear(1, 1)})
    with pytest.raises(InputError, match="no layer that fits: encoder: its weight is 4×7 there, 4×3 here"):
        take_over(SimpleNamespace(model=model), saved(tmp_path, source))


def test_parts_can_be_kept_and_found_under_another_name(tmp_path: Path) -> None:
    source = nn.ModuleDict({"encoder": nn.Linear(3, 4), "scale": nn.Linear(1, 1)})
    model = nn.ModuleDict({"net": nn.Linear(3, 4), "scale": nn.Linear(1, 1)})
    kept = model["scale"].weight.clone()
    found = take_over(SimpleNamespace(model=model), saved(tmp_path, source), {"scale"}, {"encoder": "net"})
    assert found.taken == ("net",)
    assert torch.equal(model["net"].weight, source["encoder"].weight)
    assert torch.equal(model["scale"].weight, kept)


def test_a_part_that_the_run_lacks_begins_like_another(tmp_path: Path) -> None:
    plain = nn.ModuleDict({"net": nn.Linear(3, 4)})
    both = nn.ModuleDict({"net": nn.Linear(3, 4), "smooth": nn.Linear(3, 4)})
    model = nn.ModuleDict({"net": nn.Linear(3, 4), "smooth": nn.Linear(3, 4)})
    for number, (source, smooth) in enumerate(((plain, plain["net"]), (both, both["smooth"]))):
        run = saved(tmp_path / str(number), source)
        found = take_over(SimpleNamespace(model=model), run, alike={"smooth": "net"})
        assert found.taken == ("net", "smooth")
        assert torch.equal(model["net"].weight, source["net"].weight)
        assert torch.equal(model["smooth"].weight, smooth.weight)


@pytest.mark.parametrize("rule", [Adam, SGD])
def test_frozen_layers_stay_and_the_others_learn_as_if_they_were_alone(rule: Any) -> None:
    x = torch.randn(8, 3)
    torch.manual_seed(0)
    one = nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Linear(4, 1)})
    two = nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Linear(4, 1)})
    two.load_state_dict(one.state_dict())
    before = one["a"].weight.clone()
    held = SimpleNamespace(model=one, optimizer=rule(one.parameters(), 0.1, weight_decay=0.1))
    freeze(held, ["a"])
    alone = rule(two["b"].parameters(), 0.1, weight_decay=0.1)
    for _ in range(3):
        held.optimizer.descend(one["b"](one["a"](x)).square().mean(), 1.0)
        alone.descend(two["b"](two["a"](x).detach()).square().mean(), 1.0)
    assert torch.equal(one["a"].weight, before)
    torch.testing.assert_close(one["b"].weight, two["b"].weight)
    assert not torch.equal(one["b"].weight[0], before[0])
    with pytest.raises(InputError, match="all weights of a network are frozen"):
        freeze(held, ["b"])


def test_frozen_batch_normalisation_goes_on_by_the_statistics_that_it_has() -> None:
    model = nn.ModuleDict({"a": nn.BatchNorm1d(3), "b": nn.BatchNorm1d(3)})
    freeze(SimpleNamespace(model=model, optimizer=Adam(model.parameters(), 0.1)), ["a"])
    model.train()
    x = 5 + torch.randn(8, 3)
    torch.testing.assert_close(model["a"](x), x / (1 + 1e-5) ** 0.5)
    model["b"](x)
    assert model["a"].running_mean.tolist() == [0, 0, 0]
    assert (model["b"].running_mean > 0).all()


def test_parts_name_layers_by_their_beginning() -> None:
    layers = ("encoder.0", "encoder.2", "encoders.0", "bias")
    assert within(layers, ("encoder", "bias")) == ["encoder.0", "encoder.2", "bias"]
    with pytest.raises(InputError, match=r"freeze is 'nose', expected .*: bias, encoder, encoders"):
        within(layers, ("nose",))
