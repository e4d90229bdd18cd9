import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from minisom import MiniSom
from torch.distributions import Categorical

import generative.judge
from generative import autoencoder, denoiser, som, vae
from generative.data import load
from generative.judge import judge_of
from generative.parts import bounds
from generative.parts.likelihoods import UNSEEN, Mixed, categorical_nll, values_of
from generative.parts.manifold import radii
from generative.parts.networks import Plan, SignalEncoder, decoder, encoder, sizes
from generative.parts.rows import Form, Scale
from generative.quality import Quality, frechet, kid, nearest, quality, told_apart, told_p_value
from generative.registry import parts
from training.errors import InputError
from training.networks import LayerConfig
from training.optim import OptimConfig
from training.run import RunConfig

G = torch.Generator().manual_seed(0)


def test_a_form_survives_being_packed() -> None:
    form = Form(3, (1, 3, 1), 10, ((), (0.0, 1.0), ()))
    assert Form.unpack(form.pack()) == form


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 15), (1, 5, 3), (2, 64, 48)])
def test_convolutions_take_and_give_any_size(shape: tuple[int, ...]) -> None:
    form, plan = Form(math.prod(shape), shape), Plan("conv", (8,), 4, "relu")
    z = encoder(plan, form, 6, extra=2)(torch.randn(3, form.columns + 2))
    assert z.shape == (3, 6)
    assert decoder(plan, form, 6)(z).shape == (3, form.columns)
    assert min(sizes(shape)[-1]) <= 7


@pytest.mark.parametrize("shape", [(5, 1), (7, 3), (8, 2), (33, 4), (64, 1)])
def test_convolutions_along_time_take_and_give_any_length(shape: tuple[int, int]) -> None:
    plan, form = Plan("conv", (8,), 4, "silu"), Form(shape[0] * shape[1], shape)
    code = encoder(plan, form, 3, extra=2)(torch.randn(2, form.columns + 2))
    assert code.shape == (2, 3)
    assert decoder(plan, form, 3)(code).shape == (2, form.columns)


def test_convolutions_of_sequences_slide_along_time() -> None:
    """What is moved by a stride is found a stride later: columns are channels, and time is not."""
    reader = SignalEncoder(16, 2, 3, 1, "silu").body[:2]
    x = torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    moved = torch.cat([torch.zeros(1, 4), x[:, :-4]], 1)
    found, later = (reader(one.unflatten(1, (16, 2)).transpose(1, 2)) for one in (x, moved))
    torch.testing.assert_close(later[..., 2:7], found[..., 1:6])


def test_convolutions_of_sequences_refuse_what_only_pictures_have() -> None:
    with pytest.raises(InputError, match="convolutions of sequences expect none and 0"):
        encoder(Plan("conv", (8,), 4, "silu", LayerConfig(norm="batch")), Form(16, (8, 2)), 3)


def test_sequences_are_read_in_their_order() -> None:
    form, plan = Form(8, (4, 2)), Plan("lstm", (16,), 4, "relu")
    read = encoder(plan, form, 3)
    x = torch.randn(5, 8, generator=G)
    assert decoder(plan, form, 3)(read(x)).shape == (5, 8)
    assert not torch.allclose(read(x), read(x.view(5, 4, 2).flip(1).flatten(1)))


def test_missing_numbers_are_left_out_by_hand() -> None:
    x = torch.tensor([[1.0, math.nan], [2.0, 1.0]])
    x_hat = torch.zeros(2, 2, requires_grad=True)
    loss, _ = autoencoder.reconstruction_loss(x, x_hat)
    assert loss.item() == pytest.approx((1 + 4 + 1) / 3)
    gradient = torch.autograd.grad(loss, x_hat)[0]
    torch.testing.assert_close(gradient, torch.tensor([[-2.0, 0.0], [-4.0, -2.0]]) / 3)
    scale = Scale(2)
    scale.standardise(x)
    assert scale.shift.tolist() == [1.5, 1.0]
    assert scale(x)[1].tolist() == [1.0, 0.0]


def test_an_autoencoder_fills_gaps_from_what_is_there() -> None:
    t = torch.rand(600, 1, generator=G) * 4
    rows = torch.cat([t, 2 * t + 1, 5 - t], 1)
    holed = rows.clone()
    holed[torch.rand(rows.shape, generator=G) < 0.2] = math.nan
    cfg = autoencoder.Config(missing=True, latent=1, hidden=(32,), run=RunConfig(steps=800, device="cpu"))
    learner = autoencoder.Learner(cfg, holed)
    for _ in autoencoder.train(cfg, learner):
        pass
    gone = rows[:200].clone()
    gone[:, 1] = math.nan
    with torch.no_grad():
        filled = learner.model.decode(learner.model.encode(gone)).float()
    assert (filled - rows[:200])[:, 1].square().mean() < 0.05 * rows[:, 1].var()
    assert learner.model.score(gone).isfinite().all()


def test_the_denoising_loss_by_hand() -> None:
    x_hat = torch.zeros(2, 2, requires_grad=True)
    loss, _ = denoiser.denoising_loss(torch.tensor([[1.0, 1.0], [2.0, 0.0]]), x_hat, torch.tensor([1.0, 0.5]))
    assert loss.item() == pytest.approx(((1 + 1) * 1 + (1 + 4) * 2) / 2)
    assert torch.autograd.grad(loss, x_hat)[0].tolist() == [[-1.0, -1.0], [-5.0, 0.0]]


def test_a_denoiser_of_normal_rows_shrinks_as_the_exact_one_does() -> None:
    """For x ~ N(0, 1) the mean of x given x + σ ε = y is y / (1 + σ²) (Tweedie's formula)."""
    rows = torch.randn(4_000, 2, generator=G)
    cfg = denoiser.Config(
        lowest=0.5, highest=2.0, hidden=(64,), batch=256, run=RunConfig(steps=800, device="cpu")
    )
    learner = denoiser.Learner(cfg, rows)
    for _ in denoiser.train(cfg, learner):
        pass
    for sigma in (0.5, 2.0):
        y = rows[:1_000] + sigma * torch.randn(1_000, 2, generator=G)
        with torch.no_grad():
            found = learner.model.clean(y, torch.full((1_000,), sigma))
        assert float((found * y).sum() / y.square().sum()) == pytest.approx(1 / (1 + sigma**2), abs=0.08)


def test_the_map_takes_the_steps_that_minisom_takes() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3))
    ours, theirs = som.SOM(som.Config(height=4, width=5), Form(3)), MiniSom(4, 5, 3, sigma=1.5)
    theirs.random_weights_init(rows)
    ours.units.copy_(torch.from_numpy(theirs.get_weights().reshape(20, 3)))
    learner = som.Learner(som.Config(height=4, width=5), torch.from_numpy(rows))
    learner.model = ours
    for row in rows:
        best = theirs.winner(row)
        assert ours.places[
            torch.cdist(torch.from_numpy(row[None]).float(), ours.units).argmin()
        ].tolist() == [*map(float, best)]
        pull = theirs.neighborhood(best, 1.5) * 0.3
        theirs._weights += pull[..., None] * (row - theirs._weights)
        learner.update(torch.from_numpy(row[None]).float(), 1.5, 0.3)
    expected = torch.from_numpy(theirs.get_weights().reshape(20, 3)).float()
    torch.testing.assert_close(ours.units, expected, atol=1e-4, rtol=1e-4)
    assert theirs.quantization_error(rows) == pytest.approx(
        float(ours.quantisation_error(torch.from_numpy(rows)).mean()), rel=1e-4
    )
    inner = ours.u_matrix()[1:-1, 1:-1]
    units = theirs._weights
    around = [np.roll(units, move, axis) for axis in (0, 1) for move in (1, -1)]
    expected_u = np.mean([np.linalg.norm(units - other, axis=-1) for other in around], 0)[1:-1, 1:-1]
    torch.testing.assert_close(inner.double(), torch.from_numpy(expected_u), atol=1e-4, rtol=1e-4)


def test_the_maps_step_for_one_row_goes_down_its_loss() -> None:
    units = torch.tensor([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0]], requires_grad=True)
    x, places = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    near = som.neighbourhood(torch.tensor([1]), places, 1.0)
    h = math.exp(-0.5)
    assert near.tolist() == [pytest.approx([h, 1.0, h])]
    loss, _ = som.som_loss(x, units, near)
    assert loss.item() == pytest.approx(0.5 * (2 * h + 1 + 10 * h))
    gradient = torch.autograd.grad(loss, units)[0]
    torch.testing.assert_close(-gradient, near.T * (x - units.detach()))


def test_choices_are_found_scored_and_given_back() -> None:
    x = torch.tensor([[0.5, 3.0, 0.0], [1.5, 7.0, 1.0], [2.5, 3.0, 1.0]])
    assert values_of(x, False) == ((), (3.0, 7.0), (0.0, 1.0))
    form = Form(3, values=values_of(x, False))
    mixed, scale = Mixed(form), Scale(3)
    rows = mixed.scaled(x, scale)
    assert rows.tolist()[1] == [1.5, 0, 1, 0, 1]
    torch.testing.assert_close(mixed.back(rows, scale).float(), x)
    out = torch.tensor([[0.0, 1.0, 2.0, 0.0, 0.0]])
    normal = 0.5 * 1.5**2 + 0.5 * math.log(2 * math.pi)
    expected = normal - Categorical(logits=torch.tensor([1.0, 2.0])).log_prob(torch.tensor(1)) + math.log(2)
    assert mixed.nll(rows[1:2], out, torch.zeros(3)).item() == pytest.approx(expected.item())
    assert categorical_nll(torch.zeros(1, 2), torch.zeros(1, 2)).item() == UNSEEN
    with pytest.raises(InputError, match="takes 300 values"):
        values_of(torch.arange(300.0)[:, None], True)


def test_free_bits_and_importance_weights_by_hand() -> None:
    kl = torch.tensor([[0.1, 1.0], [0.3, 3.0]], requires_grad=True)  # means 0.2 and 2
    loss = bounds.free_bits_loss(kl, free=0.5, beta=2.0)
    assert loss.item() == pytest.approx(2 * 0.3)
    assert torch.autograd.grad(loss, kl)[0].tolist() == [[-1.0, 0.0], [-1.0, 0.0]]
    log_w = torch.tensor([[0.0], [math.log(3.0)]], requires_grad=True)
    loss, _ = bounds.importance_loss(log_w, torch.zeros(1), torch.zeros(2, 1))
    assert loss.item() == pytest.approx(-math.log(2))
    torch.testing.assert_close(torch.autograd.grad(loss, log_w)[0], torch.tensor([[-0.25], [-0.75]]))
    noise, log_var = torch.tensor([[[1.0]]]), torch.tensor([[math.log(4.0)]])
    found = bounds.log_weights(torch.tensor([[2.0]]), noise, torch.tensor([[[3.0]]]), log_var)
    assert found.item() == pytest.approx(0.5 * (1 - 9 + math.log(4)) - 2)  # z = 1 + 2 · 1


def linear(rows: torch.Tensor) -> vae.Learner:
    run = RunConfig(steps=1_200, device="cpu")
    cfg = vae.Config(latent=2, hidden=(), warm_up=0, batch=500, optim=OptimConfig(lr=1e-2), run=run)
    learner = vae.Learner(cfg, rows)
    for _ in vae.train(cfg, learner):
        pass
    return learner


def test_a_linear_vae_finds_the_principal_plane_and_the_bound_tightens_with_k() -> None:
    mix = torch.tensor([[2.0, 0.0, 1.0, 1.0], [0.0, -1.0, 1.0, 2.0]])
    rows = torch.randn(2_000, 2, generator=G) @ mix + 0.3 * torch.randn(2_000, 4, generator=G)
    rows = (rows - rows.mean(0)) / rows.std(0, correction=0)
    learner = linear(rows)
    weight = learner.model.decoder[0].weight.detach()
    principal = torch.linalg.svd(rows, full_matrices=False).Vh[:2].T
    overlap = torch.linalg.svdvals(torch.linalg.qr(weight).Q.T @ principal)  # cosines of the angles between
    assert overlap.min() > 0.99
    with torch.no_grad():
        for parameter in learner.model.encoder.parameters():
            parameter.mul_(0.9)  # a worse posterior leaves something to gain
    few, some, many = (float(learner.model.log_likelihood(rows[:500], k).mean()) for k in (1, 10, 300))
    assert few + 0.05 < some < many + 1e-3
    exact = torch.distributions.MultivariateNormal(torch.zeros(4), rows.T.cov()).log_prob(rows[:500]).mean()
    assert many < exact + 0.1
    assert many == pytest.approx(exact.item(), abs=0.2)


def test_an_update_weighs_its_draws_by_importance() -> None:
    """−log of the mean weight is below the mean of −log of each, which is what the plain bound would say."""
    rows = torch.randn(300, 3, generator=G)
    cfg = vae.Config(latent=2, hidden=(8,), samples=50, warm_up=0, run=RunConfig(steps=20, device="cpu"))
    learner = vae.Learner(cfg, rows)
    list(vae.train(cfg, learner))
    x, noise = (
        learner.x[torch.arange(300)],
        torch.randn(50, 300, 2, generator=torch.Generator().manual_seed(0)),
    )
    with torch.no_grad():
        mean, log_var = learner.model.posterior(x)
        z = mean + (0.5 * log_var).exp() * noise
        log_w = bounds.log_weights(learner.model.nll(x, z), noise, z, log_var)
    found = float(learner.update(x, None, noise, 1.0)["loss/importance"])
    assert found == pytest.approx(float((math.log(50) - log_w.logsumexp(0)).mean()), abs=1e-5)
    assert found < -float(log_w.mean()) - 0.01


def test_collapse_is_told() -> None:
    rows = torch.randn(300, 3, generator=G)
    cfg = vae.Config(
        latent=2,
        hidden=(8,),
        beta=50.0,
        warm_up=0,
        optim=OptimConfig(lr=2e-2),
        run=RunConfig(steps=200, device="cpu"),
    )
    with pytest.warns(UserWarning, match="posterior collapse: 0 of 2 latent dimensions"):
        list(vae.train(cfg, vae.Learner(cfg, rows)))


def test_labels_reach_a_conditional_vae() -> None:
    rows = torch.cat([torch.randn(200, 3, generator=G) - 4, torch.randn(200, 3, generator=G) + 4])
    y = torch.arange(2).repeat_interleave(200)
    cfg = vae.Config(conditional=True, latent=2, hidden=(16,), run=RunConfig(steps=300, device="cpu"))
    learner = vae.Learner(cfg, rows, y, Form(3, classes=2))
    for _ in vae.train(cfg, learner):
        pass
    model = learner.model
    with torch.no_grad():
        drawn = model.sample(100, 0, y[::4])
    assert (drawn[:50] < 0).double().mean() > 0.95 < (drawn[50:] > 0).double().mean()
    assert (model.score(rows, y) <= model.score(rows, 1 - y)).float().mean() > 0.95
    torch.testing.assert_close(
        model.score(rows), torch.minimum(model.score(rows, y), model.score(rows, 1 - y))
    )
    with pytest.raises(InputError, match="told no labels"):
        model.encode(rows)


def test_pixels_are_drawn_by_their_brightness() -> None:
    x = torch.tensor([[0, 255, 128]], dtype=torch.uint8).repeat(2_000, 1)
    cfg = vae.Config(likelihood="bernoulli", binarise=True, hidden=(8,), run=RunConfig(steps=1, device="cpu"))
    learner = vae.Learner(cfg, x)
    assert learner.x.rows.dtype == torch.uint8
    drawn = learner.model.drawn(learner.x[torch.arange(2_000)], learner.generator)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn.mean(0).tolist() == pytest.approx([0, 1, 128 / 255], abs=0.03)


def test_distances_of_distributions_by_hand() -> None:
    a = torch.randn(20_000, 2, generator=G, dtype=torch.float64)
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)
    b = 2 * a + torch.tensor([3.0, 0.0])  # |3|² + 2 · (1 + 4 − 2 · 2)
    assert frechet(a, b) == pytest.approx(9 + 2, rel=0.03)
    one, two = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [1.0]])
    own = (1 * 2 + 1) ** 3, (0 * 1 + 1) ** 3
    across = (1 + 2**3 + 1 + 3**3) / 4  # kernels of (1, 0), (1, 1), (2, 0), (2, 1)
    assert kid(one, two) == pytest.approx(own[0] + own[1] - 2 * across)
    assert told_apart(a[:300].float(), a[300:600].float()) == pytest.approx(0.5, abs=0.1)
    assert told_apart(a[:300].float(), b[:300].float()) > 0.8
    assert told_p_value(0.5, 100) == pytest.approx(0.54, abs=0.01)
    place, distance = nearest(one, torch.tensor([[1.5], [5.0], [2.25]]))
    assert (place.tolist(), distance.tolist()) == ([0, 2], [0.5, 0.25])


def test_equal_rows_far_from_zero_are_no_distance_apart() -> None:
    """Pairs of equal rows, more than cdist takes without a product of matrices."""
    x = 1e3 + torch.randn(30, 64, generator=torch.Generator().manual_seed(0))
    x = x.repeat_interleave(2, 0)
    assert radii(x, 1).tolist() == [0.0] * 60
    place, distance = nearest(x[::2], x[::2])
    assert place.tolist() == list(range(30))
    assert distance.tolist() == [0.0] * 30
    apart = (x[::2, None].double() - x[None, ::2].double()).norm(dim=2).sort().values
    torch.testing.assert_close(radii(x[::2].double(), 3), apart[:, 3])


def test_no_distance_over_none_is_even_and_any_other_is_without_bound() -> None:
    assert Quality({"frechet": 0.0}, {"frechet": 0.0}, 20).ratio == 1.0
    assert Quality({"frechet": 2.0}, {"frechet": 0.0}, 20).ratio == math.inf


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    table = load("digits")
    fit, _, test = parts(table, 0)
    return table, fit, test, judge_of(table, fit, tmp_path_factory.mktemp("judge") / "kept")


def test_the_judge_knows_the_digits(judged) -> None:
    table, _, test, judge = judged
    x, y = torch.from_numpy(table.x[test]), torch.from_numpy(table.y[test])
    assert (judge.labels(x) == y).double().mean() > 0.95
    assert "sha256" in judge.name


def test_the_judge_is_kept_for_the_same_rows_and_made_anew_for_others(judged, tmp_path, monkeypatch) -> None:
    table, fit, _, _ = judged
    monkeypatch.setattr(generative.judge, "STEPS", 3)
    first = judge_of(table, fit, tmp_path / "judge").name
    assert judge_of(table, fit).name == first  # learning is the same each time
    with monkeypatch.context() as patch:
        patch.setattr(generative.judge.Judge, "learn", None)
        assert judge_of(table, fit, tmp_path / "judge").name == first  # from its folder
    assert judge_of(table, fit[::-1].copy(), tmp_path / "judge").name != first
    judge_of(table, fit, tmp_path / "judge")
    relabelled = replace(table, y=(table.y + 1) % 10)
    assert judge_of(relabelled, fit, tmp_path / "judge").name != first
    judge_of(table, fit, tmp_path / "judge")
    monkeypatch.setattr(generative.judge, "STEPS", 4)
    assert judge_of(table, fit, tmp_path / "judge").name != first


def test_quality_tells_rows_from_noise_and_from_one_row(judged) -> None:
    table, fit, test, judge = judged
    x, train = torch.from_numpy(table.x[test]), torch.from_numpy(table.x[fit])
    good = quality(train[:270], train[270:], x, judge)
    assert good.ratio < 3
    assert good.samples["coverage"] > 0.8
    noise = quality(torch.rand(270, 64, generator=G) * 16, train, x, judge)
    assert (noise.ratio > 10) & (noise.samples["coverage"] < 0.3) & (noise.samples["told"] > 0.9)
    one = quality(train[:1].repeat(270, 1), train, x, judge)
    assert one.samples["precision"] >= 0.9 > 0.1 > one.samples["coverage"]
    assert max(one.classes) == 1.0
    with pytest.raises(InputError, match="there are 5 test rows, unseen"):
        quality(train, train, x[:5], judge)


def test_the_distance_of_one_column_by_hand() -> None:
    a = torch.tensor([[0.0], [2.0]])  # variance 2; of b 8
    assert frechet(a, 2 * a + 1) == pytest.approx((3 - 1) ** 2 + 2 + 8 - 2 * math.sqrt(2 * 8), rel=1e-6)


@pytest.mark.parametrize("likelihood", ["categorical", "mixed"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.uint8])
def test_rows_of_nothing_but_choices_are_learned(likelihood: str, dtype: torch.dtype) -> None:
    x = torch.randint(0, 4, (60, 9), generator=G).to(dtype)
    cfg = vae.Config(likelihood=likelihood, hidden=(8,), warm_up=0, run=RunConfig(steps=60, device="cpu"))
    learner = vae.Learner(cfg, x, form=Form(9, (1, 3, 3)))
    losses = [float(m["loss/negative_elbo"]) for _, m in vae.train(cfg, learner)]
    assert losses[0] > losses[-1] > 0
    assert not learner.model.log_sigma.requires_grad
    assert set(learner.model.sample(5, 0).unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}


def test_an_lstm_needs_a_size() -> None:
    with pytest.raises(InputError, match="hidden is none, expected the size of the lstm"):
        encoder(Plan("lstm", (), 4, "relu"), Form(8, (4, 2)), 3)
