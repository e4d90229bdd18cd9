import math

import pytest
import torch
from torch import nn

from training import optim, schedules
from training.errors import InputError

PAIRS = {
    "adam": (optim.Adam, {"eps": 1e-5}, torch.optim.Adam, {"eps": 1e-5}),
    "adamw": (optim.Adam, {"weight_decay": 0.1}, torch.optim.AdamW, {"weight_decay": 0.1}),
    "sgd": (optim.SGD, {"momentum": 0.8}, torch.optim.SGD, {"momentum": 0.8}),
    "rmsprop": (optim.RMSprop, {"alpha": 0.9}, torch.optim.RMSprop, {"alpha": 0.9}),
    "adagrad": (optim.Adagrad, {}, torch.optim.Adagrad, {}),
}


def nets() -> list[nn.Sequential]:
    made = []
    for _ in range(2):
        torch.manual_seed(1)
        made.append(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double())
    return made


@pytest.mark.parametrize("name", PAIRS)
def test_optimizers_take_the_steps_of_torchs_with_clipping(name: str) -> None:
    rule, settings, theirs_rule, theirs_settings = PAIRS[name]
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).double()
    mine, their = nets()
    ours = rule(mine.parameters(), lr=0.01, **settings)
    theirs = theirs_rule(their.parameters(), lr=0.01, **theirs_settings)
    for max_norm, max_value in [(0.1, math.inf), (100.0, 0.05), (100.0, math.inf)] * 10:
        norm = ours.descend(mine(x).square().sum(), max_norm, max_value)
        theirs.zero_grad()
        their(x).square().sum().backward()
        if max_value < math.inf:
            expected = torch.cat([p.grad.flatten() for p in their.parameters()]).norm()
            nn.utils.clip_grad_value_(their.parameters(), max_value)
        else:
            expected = nn.utils.clip_grad_norm_(their.parameters(), max_norm)
        theirs.step()
        torch.testing.assert_close(norm, expected)
    for a, b in zip(mine.parameters(), their.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_the_step_for_compilers_is_the_same(weight_decay: float, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).double()
    both = nets()
    fused, plain = (optim.Adam(net.parameters(), 0.01, weight_decay=weight_decay) for net in both)
    for factor in (1.0, math.nan, 2.0, 3.0):
        fused.descend(factor * both[0](x).square().sum(), 1.0)
        with monkeypatch.context() as compiling:
            compiling.setattr("torch.compiler.is_compiling", lambda: True)
            plain.descend(factor * both[1](x).square().sum(), 1.0)
        torch.testing.assert_close(plain.flat, fused.flat, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(plain.change(), fused.change(), rtol=1e-6, atol=1e-8)


def test_l1_is_the_gradient_of_the_penalty_and_makes_zeros() -> None:
    mine, their = nets()
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).double()
    ours = optim.SGD(mine.parameters(), lr=0.01, momentum=0.0, l1=0.3)
    ours.descend(mine(x).square().sum(), 1e9)
    loss = their(x).square().sum() + 0.3 * sum(p.abs().sum() for p in their.parameters())
    loss.backward()
    for a, b in zip(mine.parameters(), their.parameters(), strict=True):
        torch.testing.assert_close(a, b - 0.01 * b.grad)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_moves_nothing(name: str, bad: float) -> None:
    rule, settings = PAIRS[name][:2]
    net = nn.Linear(2, 1)
    before = net.weight.clone()
    optimizer = rule(net.parameters(), lr=0.1, **(settings | {"weight_decay": 0.0}))
    norm = optimizer.descend((net(torch.ones(1, 2)) * bad).sum(), 1.0)
    assert not norm.isfinite()
    assert torch.equal(net.weight, before)
    optimizer.descend(net(torch.ones(1, 2)).sum(), 1.0)
    assert net.weight.isfinite().all()
    assert not torch.equal(net.weight, before)


def test_a_loss_scale_changes_no_step_and_falls_until_gradients_are_finite() -> None:
    mine, their = nets()
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).double()
    ours, plain = optim.Adam(mine.parameters(), 0.01), optim.Adam(their.parameters(), 0.01)
    ours.scale_losses()
    for _ in range(3):
        a, b = (o.descend(n(x).square().sum(), 1.0) for o, n in ((ours, mine), (plain, their)))
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(ours.flat, plain.flat)
    huge = 1e306 * mine(x).square().sum()  # times 2^16 too much for float64
    before = ours.flat.clone()
    assert ours.descend(huge, 1.0) == 0.0
    assert ours.loss_scale == 2.0**15
    assert (ours.flat - before).abs().max() < 0.02  # no more than the momentum of earlier steps


def test_the_loss_scale_rises_after_a_calm_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "CALM", 3)
    net = nn.Linear(1, 1)
    optimizer = optim.SGD(net.parameters(), 0.0)
    optimizer.scale_losses()
    scales = []
    for _ in range(7):
        optimizer.descend(net(torch.ones(1, 1)).sum(), 1.0)
        scales.append(math.log2(optimizer.loss_scale))
    assert scales == [16, 16, 17, 17, 17, 18, 18]


def test_learning_rates_fall_to_zero_and_stay_there() -> None:
    for schedule, quarter in ((schedules.linear, 0.75), (schedules.cosine, 0.5 + 0.5 * math.sqrt(0.5))):
        found = [schedule(done) for done in (0.0, 0.25, 1.0, 1.5)]
        assert found == [1.0, pytest.approx(quarter), pytest.approx(0.0), pytest.approx(0.0)]


def test_one_cycle_rises_to_all_of_it_and_falls_to_zero() -> None:
    found = [schedules.one_cycle(done) for done in (0.0, 0.15, 0.3, 0.65, 1.0)]
    assert found == [pytest.approx(v, abs=1e-12) for v in (0.04, 0.52, 1.0, 0.5, 0.0)]


def test_a_range_test_goes_up_by_equal_factors() -> None:
    found = [schedules.range_test(done) for done in (0.0, 0.5, 1.0)]
    assert found == [pytest.approx(v) for v in (1e-4, 0.1, 100.0)]


def test_learning_rates_warm_up() -> None:
    cfg = optim.OptimConfig(lr=0.5, schedule="constant", lr_warm_up=0.2)
    assert [cfg.lr_at(done) for done in (0.0, 0.1, 0.2, 1.0)] == [0.0, 0.25, 0.5, 0.5]


@pytest.mark.parametrize("rule", ["adam", "sgd", "rmsprop", "adagrad"])
def test_every_configured_optimizer_finds_the_least_of_a_bowl(rule: str) -> None:
    target = torch.tensor([1.0, -2.0])
    x = nn.Parameter(torch.zeros(2))
    cfg = optim.OptimConfig(optimizer=rule, lr=0.5 if rule == "adagrad" else 0.05)
    optimizer = cfg.make([x])
    assert type(optimizer).__name__.lower() == rule
    for step in range(400):
        optimizer.lr = cfg.lr_at(step / 400)
        cfg.descend(optimizer, (x - target).square().sum())
    torch.testing.assert_close(x.detach(), target, atol=1e-2, rtol=0)


def test_wrong_settings_are_named() -> None:
    for name, value in (("lr", 0.0), ("momentum", 1.5), ("weight_decay", -1.0), ("max_value", 0.0)):
        with pytest.raises(InputError, match=f"{name} is"):
            optim.OptimConfig(**{name: value})
