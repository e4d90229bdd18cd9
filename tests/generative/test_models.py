import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from generative import autoencoder, registry, vae
from generative.data import Table
from generative.parts import bounds
from generative.parts.rows import Order, Scale
from training.checkpoint import save_model
from training.errors import InputError
from training.optim import OptimConfig
from training.run import RunConfig

GENERATOR = torch.Generator().manual_seed(0)
CURVE = torch.rand(800, 1, generator=GENERATOR) * 6
ROWS = torch.cat([CURVE.sin() * 3, CURVE.cos() * 3, CURVE * 10 + 100], 1)  # a spiral: one number makes three
ROWS += 0.05 * torch.randn(ROWS.shape, generator=GENERATOR)


def run(steps: int) -> RunConfig:
    return RunConfig(steps=steps, device="cpu", evaluate_every=100)


def learned(module, steps: int = 800, **settings):
    cfg = module.Config(latent=2, hidden=(32, 32), run=run(steps), **settings)
    learner = module.Learner(cfg, ROWS)
    for _ in module.train(cfg, learner):
        pass
    return learner


def test_the_reconstruction_loss_by_hand() -> None:
    x_hat = torch.zeros(2, 2, requires_grad=True)
    loss, _ = autoencoder.reconstruction_loss(torch.tensor([[1.0, 0.0], [2.0, 1.0]]), x_hat)
    assert loss.item() == pytest.approx(1.5)  # (1 + 0 + 4 + 1) / 4
    assert torch.autograd.grad(loss, x_hat)[0].tolist() == [[-0.5, 0.0], [-1.0, -0.5]]


def test_the_normal_likelihood_is_torchs_and_by_hand() -> None:
    x, x_hat = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    log_sigma = torch.tensor([0.0, 1.0, -1.0])
    expected = -Normal(x_hat, log_sigma.exp()).log_prob(x).sum(-1)
    torch.testing.assert_close(vae.gaussian_nll(x, x_hat, log_sigma), expected)
    one = vae.gaussian_nll(torch.tensor([[2.0]]), torch.tensor([[0.0]]), torch.tensor([math.log(2.0)]))
    assert one.item() == pytest.approx(0.5 + math.log(2) + 0.5 * math.log(2 * math.pi))


def test_the_bernoulli_likelihood_is_torchs() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    x = (torch.rand(5, 3, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    expected = -Bernoulli(logits=logits).log_prob(x).sum(-1)
    torch.testing.assert_close(vae.bernoulli_nll(x, logits), expected)


def test_the_divergence_is_torchs_and_what_sampling_says() -> None:
    mean, log_var = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    posterior, prior = Normal(mean, (0.5 * log_var).exp()), Normal(0.0, 1.0)
    found = bounds.kl_divergence(mean, log_var)
    torch.testing.assert_close(found, kl_divergence(posterior, prior).sum(-1))
    torch.manual_seed(0)
    z = posterior.sample((200_000,))
    sampled = (posterior.log_prob(z) - prior.log_prob(z)).sum(-1).mean(0)
    torch.testing.assert_close(found, sampled, atol=0.02, rtol=0.01)


def test_the_divergence_by_hand_is_never_cut_off() -> None:
    mean, log_var = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, math.log(4.0)]])
    expected = 0.5 * 1 + 0.5 * (4 - 1 - math.log(4))
    assert bounds.kl_divergence(mean, log_var).item() == pytest.approx(expected)
    mean.requires_grad_()
    gradient = torch.autograd.grad(bounds.kl_divergence(mean, log_var).sum(), mean)[0]
    assert gradient.tolist() == [[1.0, 0.0]]


def test_the_bound_weighs_its_two_terms() -> None:
    nll, kl = torch.tensor([1.0, 3.0], requires_grad=True), torch.tensor([2.0, 4.0], requires_grad=True)
    loss, metrics = vae.vae_loss(nll, kl, beta=0.5)
    assert loss.item() == pytest.approx(2 + 0.5 * 3)
    assert metrics["loss/negative_elbo"].item() == pytest.approx(5)
    assert [g.tolist() for g in torch.autograd.grad(loss, (nll, kl))] == [[0.5, 0.5], [0.25, 0.25]]


@pytest.mark.parametrize("module", [autoencoder, vae])
def test_a_curve_is_learned_and_what_lies_off_it_is_strange(module) -> None:
    model = learned(module).model
    assert model.reconstruction_error(ROWS).mean() < 0.05
    shuffled = ROWS[torch.randperm(len(ROWS), generator=torch.Generator().manual_seed(0))]
    off = torch.cat([ROWS[:, :2], shuffled[:, 2:]], 1)  # each number is usual, together they are not
    assert (model.score(off).median() > model.score(ROWS).quantile(0.95)).item()


def test_samples_look_like_the_data_and_repeat() -> None:
    model = learned(vae, 1_500).model
    drawn, again, other = model.sample(500, 0), model.sample(500, 0), model.sample(500, 1)
    assert not drawn.requires_grad
    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, other)
    torch.testing.assert_close(drawn.mean(0).float(), ROWS.mean(0), atol=4.0, rtol=0)
    nearest = torch.cdist(drawn.float() / ROWS.std(0), ROWS / ROWS.std(0)).min(1).values
    assert nearest.median() < 0.15


def test_a_linear_vae_finds_the_noise_and_the_exact_likelihood() -> None:
    """Factor analysis: x = W z + noise has a known density, which the bound reaches (Lucas et al., 2019)."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.tensor([[2, 0, 1, 1, -1, 2, 1, -2], [0, -1, 1, 2, 1, 1, -1, 0.5]])
    rows = torch.randn(4_000, 2, generator=generator) @ mix
    rows += 0.3 * torch.randn(4_000, 8, generator=generator)
    cfg = vae.Config(latent=2, hidden=(), warm_up=0, optim=OptimConfig(lr=1e-2), batch=500, run=run(2_000))
    learner = vae.Learner(cfg, rows)
    for _ in vae.train(cfg, learner):
        pass
    noise = learner.model.log_sigma.exp() * learner.model.scale.scale
    torch.testing.assert_close(noise.float(), torch.full((8,), 0.3), atol=0.03, rtol=0)
    scaled = learner.model.scale(rows)
    exact = -torch.distributions.MultivariateNormal(torch.zeros(8), scaled.T.cov()).log_prob(scaled).mean()
    assert loss_of(learner, rows) == pytest.approx(exact.item(), abs=0.05)


@torch.no_grad()
def loss_of(learner: vae.Learner, rows: torch.Tensor) -> float:
    """The negative bound, in nats a row, with fresh noise."""
    scaled = learner.model.scaled(rows)
    mean, log_var = learner.model.posterior(scaled)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
    nll = learner.model.nll(scaled, mean + (0.5 * log_var).exp() * noise)
    return float((nll + bounds.kl_divergence(mean, log_var)).mean())


@pytest.mark.parametrize("kind", ["autoencoder", "vae"])
def test_a_saved_model_scores_the_same_after_loading(kind: str, tmp_path) -> None:
    learner = learned(registry.module(kind), 20)
    table = Table(ROWS.numpy(), ("a", "b", "c"), "some")
    registry.save(tmp_path / "model", kind, learner, table)
    trained = registry.load(tmp_path / "model")
    assert torch.equal(trained.model.score(ROWS), learner.model.score(ROWS))
    assert (trained.columns, trained.fingerprint) == (("a", "b", "c"), table.fingerprint())


def test_scores_do_not_depend_on_the_rows_beside_them() -> None:
    model = learned(vae, 20).model
    torch.testing.assert_close(model.score(ROWS)[:3], model.score(ROWS[:3]))


def test_constant_columns_do_no_harm() -> None:
    rows = torch.cat([ROWS, torch.full((len(ROWS), 1), 7.0)], 1)
    scale = Scale(4)
    scale.standardise(rows)
    assert scale.scale[3].item() == 1.0
    torch.testing.assert_close(scale.back(scale(rows)).float(), rows)


def test_the_order_shows_every_row_once_a_pass() -> None:
    order = Order(torch.Generator().manual_seed(0))
    passes = [torch.cat([order.draw(10, 5) for _ in range(2)]).sort().values for _ in range(3)]
    assert all(p.tolist() == list(range(10)) for p in passes)
    assert len(order.draw(3, 128)) == 3


def test_unknown_and_damaged_models_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="the model is 'gam'"):
        registry.module("gam")
    save_model(tmp_path / "a", {"w": torch.zeros(1)}, {"kind": "ppo"})
    with pytest.raises(InputError, match="holds a 'ppo', expected one of"):
        registry.load(tmp_path / "a")
    cfg = registry.describe("vae", vae.Config(), ("a",))
    save_model(tmp_path / "b", {"w": torch.zeros(1)}, cfg)
    with pytest.raises(InputError, match="do not fit the vae"):
        registry.load(tmp_path / "b")
