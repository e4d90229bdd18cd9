import math

import numpy as np
import pytest
import torch
from torch import Tensor

from generative import gan
from generative.parts.manifold import manifold
from generative.parts.rows import Form
from training.run import RunConfig

TRUE, FALSE = torch.tensor([0.0, 2.0]), torch.tensor([0.0, -3.0])


def soft(x: float) -> float:
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ("kind", "critic", "generator"),
    [
        ("nonsaturating", (soft(0) + soft(-2) + soft(0) + soft(-3)) / 2, (soft(0) + soft(3)) / 2),
        ("hinge", (1 + 0 + 1 + 0) / 2, 1.5),
        ("wasserstein", -1.5 - 1, 1.5),
    ],
)
def test_the_losses_by_hand(kind: gan.Loss, critic: float, generator: float) -> None:
    true, false = TRUE.clone().requires_grad_(), FALSE.clone().requires_grad_()
    loss, metrics = gan.critic_loss(true, false, kind)
    assert loss.item() == pytest.approx(critic)
    assert metrics["critic/logit_gap"].item() == pytest.approx(2.5)
    up, down = torch.autograd.grad(loss, (true, false))
    assert up[0] < 0 < down[0]  # rows are pushed up, samples down
    loss, _ = gan.generator_loss(false, kind)
    assert loss.item() == pytest.approx(generator)
    assert (torch.autograd.grad(loss, false)[0] < 0).all()


def test_the_penalties_by_hand() -> None:
    gradient = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    loss, metrics = gan.r1_loss(gradient, gamma=0.5)
    assert loss.item() == pytest.approx(0.5 * 0.5 * 25 / 2)
    assert metrics["critic/r1"].item() == pytest.approx(12.5)
    assert torch.autograd.grad(loss, gradient)[0].tolist() == [[0.75, 1.0], [0.0, 0.0]]
    loss, _ = gan.lipschitz_loss(gradient, weight=10.0)
    assert loss.item() == pytest.approx(10 * (16 + 1) / 2, rel=1e-4)
    slope = torch.autograd.grad(loss, gradient)[0]
    assert slope.isfinite().all()  # at a slope of zero too
    assert slope[0].tolist() == pytest.approx([24.0, 32.0])


def test_the_slope_of_a_critic_is_its_numeric_derivative() -> None:
    cfg = gan.Config(hidden=(8, 8), network="dense")
    torch.manual_seed(0)
    critic = gan.GAN(cfg, Form(3)).critic.double()
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    found = gan.slope(critic(x), x)
    step = 1e-6 * torch.eye(3, dtype=torch.float64)
    with torch.no_grad():
        logits = [critic(x + s) - critic(x - s) for s in step]
    torch.testing.assert_close(found, torch.stack(logits, 1) / 2e-6, rtol=1e-5, atol=1e-7)
    weight = critic.body[0][0].weight  # of the first layer
    assert torch.autograd.grad(gan.r1_loss(found, gamma=1.0)[0], weight)[0].abs().sum() > 0


def test_r1_comes_every_few_updates_and_weighs_as_if_always() -> None:
    learner = learned(ring(200), r1_every=3, steps=7)
    assert [("critic/r1" in m) for m in learner.seen] == [True, False, False, True, False, False, True]


@pytest.mark.parametrize(
    ("loss", "kinds"),
    [
        (
            "nonsaturating",
            "32 16 16 16 16 16 32 16",
        ),  # steps of critic and generator in turn, every third with R1
        ("hinge", "16 16 16 16 16 16 16 16"),
        ("wasserstein", "32 32 16 32 32 16 32 32 16 32 32 16"),  # x̃ by itself, in every step
    ],
)
def test_steps_with_a_penalty_are_in_fp32_where_others_are_in_bf16(loss: gan.Loss, kinds: str) -> None:
    run = RunConfig(steps=4, device="cpu", precision="bf16")
    learner = gan.Learner(gan.Config(loss=loss, hidden=(64, 64), r1_every=3, run=run), ring(200))
    seen: list[str] = []
    learner.model.critic.head.register_forward_hook(lambda *told: seen.append(str(8 * told[2].itemsize)))
    weights = [p for p in learner.model.parameters() if p.requires_grad and p.dim() > 1]
    before = [weight.clone() for weight in weights]
    for _, metrics in gan.train(learner.cfg, learner):
        assert all(value.isfinite() for value in metrics.values())
        assert metrics["loss/critic"].dtype == torch.float32
    assert " ".join(seen) == kinds
    assert not any(torch.equal(old, new) for old, new in zip(before, weights, strict=True))


def test_the_losses_in_bf16_are_those_in_fp32_to_three_digits() -> None:
    curves = []
    for precision in ("fp32", "bf16"):
        run = RunConfig(steps=40, device="cpu", precision=precision)
        learner = gan.Learner(gan.Config(hidden=(64, 64), guard_every=0, run=run), ring(200))
        seen = [metrics for _, metrics in gan.train(learner.cfg, learner)]
        curves.append(torch.tensor([[m["loss/critic"], m["loss/generator"]] for m in seen]))
    assert not torch.equal(*curves)
    torch.testing.assert_close(*curves, rtol=0, atol=0.01)


def test_hinge_critics_have_a_largest_singular_value_of_one() -> None:
    y = torch.arange(200) % 3
    critic = learned(ring(200), y, loss="hinge", steps=30, conditional=True).model.critic
    for layer in (critic.head[0], critic.body[0][0], critic.label):
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=0.05)


def test_samples_come_from_the_average_and_its_buffers() -> None:
    """θ̄ after one update is (1 − d) θ + d θ₀ with d = 1/10; batch norm's statistics go the same way."""
    cfg = gan.Config(hidden=(8,), network="dense", run=RunConfig(steps=1, device="cpu"))
    learner = gan.Learner(cfg, ring(100))
    start = {name: value.clone() for name, value in learner.model.generator.state_dict().items()}
    next(gan.train(cfg, learner))
    now, slow = learner.model.generator.state_dict(), learner.model.smooth.state_dict()
    for name in ("body.0.weight", "body.1.running_mean", "body.1.running_var"):
        assert not torch.equal(now[name], start[name])
        torch.testing.assert_close(slow[name], 0.1 * start[name] + 0.9 * now[name])
    with torch.no_grad():
        learner.model.generator.body[0].weight.zero_()  # not what samples
        drawn = learner.model.sample(5, 0)
    assert drawn.std(0).min() > 0


def test_samples_repeat_and_have_the_label_one_asks_for() -> None:
    rows = torch.cat([torch.randn(300, 2) * 0.1 - 2, torch.randn(300, 2) * 0.1 + 2])
    y = torch.arange(2).repeat_interleave(300)
    learner = learned(rows, y, steps=400, conditional=True)
    model = learner.model
    assert torch.equal(model.sample(20, 1), model.sample(20, 1))
    assert not torch.equal(model.sample(20, 1), model.sample(20, 2))
    low = model.sample(100, 0, torch.zeros(100, dtype=torch.int64))
    high = model.sample(100, 0, torch.ones(100, dtype=torch.int64))
    assert (low.mean(1) < 0).float().mean() > 0.95
    assert (high.mean(1) > 0).float().mean() > 0.95


def test_the_guard_takes_a_collapsed_generator_back() -> None:
    learner = learned(ring(500), steps=300)
    assert learner.guard()["sample/coverage"] > 0.2
    best = {name: value.clone() for name, value in learner.best.items()}
    with torch.no_grad():
        for network in (learner.model.generator, learner.model.smooth):
            for parameter in network.parameters():
                parameter.zero_()  # all samples are one
    found = learner.guard()
    assert found["sample/coverage"] < 0.05
    assert found["sample/rescues"] == 1
    for network in (learner.model.generator, learner.model.smooth):
        assert all(torch.equal(value, best[name]) for name, value in network.state_dict().items())


def test_rows_of_a_sorted_file_are_watched_from_every_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """800 rows in two far groups, one after the other: samples of the first alone cover no more than half."""
    rows = torch.randn(800, 2, generator=torch.Generator().manual_seed(0))
    rows[400:] += 100
    y = torch.arange(2).repeat_interleave(400)
    learner = learned(rows, y, steps=1, conditional=True)
    x, labels = learner.watched
    assert len(x) == 500
    assert torch.equal(labels, (x[:, 0] > 50).long())
    assert 0.4 < labels.double().mean() < 0.6
    for share, drawn in ((1.0, rows), (0.5, rows[:400].repeat(2, 1))):
        some = drawn[torch.linspace(0, 799, 500).long()]
        monkeypatch.setattr(learner.model, "sample", lambda *_, some=some: some)
        assert learner.model.measure(rows, y)[0] == pytest.approx(share, abs=0.1)
    assert learner.guard()["sample/coverage"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 15), (1, 5, 3)])
def test_pictures_of_any_size_are_made(shape: tuple[int, ...]) -> None:
    rows = torch.rand(40, math.prod(shape), generator=torch.Generator().manual_seed(0))
    cfg = gan.Config(width=4, batch=16, run=RunConfig(steps=2, device="cpu"))
    learner = gan.Learner(cfg, rows, form=Form(rows.shape[1], shape))
    assert len(list(gan.train(cfg, learner))) == 2
    drawn = learner.model.sample(3, 0)
    assert drawn.shape == (3, rows.shape[1])
    assert 0 <= drawn.min() <= drawn.max() <= 1
    assert learner.model.features(rows).shape[0] == 40


@pytest.mark.parametrize("loss", ["nonsaturating", "hinge", "wasserstein"])
@pytest.mark.long
def test_eight_normal_distributions_are_all_found(loss: gan.Loss) -> None:
    rows = ring(4_000)
    settings = {"critic_steps": 2, "penalty": 0.1} if loss == "wasserstein" else {}
    learner = learned(rows, loss=loss, steps=6_000, **settings)
    assert modes(learner.model.sample(2_000, 0).float()) == 8


def test_coverage_and_density_by_hand() -> None:
    data = torch.tensor([[0.0], [1.0], [10.0], [11.0]])  # with k = 1 every ball reaches 1 far
    found = manifold(data, torch.tensor([[0.5], [0.6]]), k=1)
    assert (found.precision, found.coverage) == (1.0, 0.5)
    assert found.density == pytest.approx((2 + 2) / 2)  # two balls round each sample, over k
    assert found.recall == 0.0  # the samples' balls reach 0.1 far
    same = manifold(data, data, k=1)
    assert (same.precision, same.recall, same.coverage) == (1.0, 1.0, 1.0)


def ring(count: int) -> Tensor:
    """Eight normal distributions on a circle."""
    rng = np.random.default_rng(0)
    angle = rng.integers(0, 8, count) * np.pi / 4
    rows = np.stack([np.cos(angle), np.sin(angle)], 1) + 0.05 * rng.normal(size=(count, 2))
    return torch.from_numpy(rows)


def modes(x: Tensor) -> int:
    """How many of the eight have a twentieth of the rows within four deviations."""
    angle = torch.arange(8) * torch.pi / 4
    near = torch.cdist(x, torch.stack([angle.cos(), angle.sin()], 1)) < 0.2
    return int((near.float().mean(0) > 0.05).sum())


def learned(rows: Tensor, y: Tensor | None = None, *, steps: int, **settings) -> gan.Learner:
    cfg = gan.Config(
        hidden=(64, 64), latent=8, guard_every=0, r1=0.1, run=RunConfig(steps=steps, device="cpu"),
        **({"batch": 128} | settings),
    )  # fmt: skip
    classes = 0 if y is None else int(y.max()) + 1
    learner = gan.Learner(cfg, rows, y, Form(rows.shape[1], classes=classes))
    learner.seen = [metrics for _, metrics in gan.train(cfg, learner)]
    return learner
