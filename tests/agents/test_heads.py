import math

import pytest
import torch
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Normal

from agents.parts.heads import Categorical, Choices, Gaussian, allowed, head
from envs.spaces import Spaces


def test_categorical_agrees_with_torch_distributions() -> None:
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    action = torch.arange(50) % 4
    ours, theirs = Categorical(4), TorchCategorical(logits=logits)
    torch.testing.assert_close(ours.log_prob(logits, action), theirs.log_prob(action))
    torch.testing.assert_close(ours.entropy(logits), theirs.entropy())


def test_gaussian_agrees_with_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = Gaussian(3)
    ours.log_std.data = torch.tensor([0.3, -1.0, 0.0])
    mean, action = torch.randn(2, 50, 3, generator=generator)
    theirs = Normal(mean, ours.log_std.exp())
    torch.testing.assert_close(ours.log_prob(mean, action), theirs.log_prob(action).sum(-1))
    torch.testing.assert_close(ours.entropy(mean), theirs.entropy().sum(-1))


def test_gumbel_noise_draws_with_the_probabilities_of_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, -1.0])
    ours = Categorical(3)
    noise = ours.noise(200_000, generator=torch.Generator().manual_seed(0))
    counts = ours.sample(logits.expand(200_000, 3), noise).bincount(minlength=3)
    expected = logits.softmax(-1) * 200_000
    chi_square = ((counts - expected).square() / expected).sum()
    assert chi_square < 13.8  # 0.1 % of two degrees of freedom


def test_continuous_actions_start_with_the_deviation_that_is_asked_for() -> None:
    narrow = head(Spaces(3, low=(-1.0, -1.0), high=(1.0, 1.0)), 0.15)
    assert narrow.log_std.exp().tolist() == [pytest.approx(0.15)] * 2
    drawn = narrow.sample(
        torch.zeros(20_000, 2), narrow.noise(20_000, generator=torch.Generator().manual_seed(0))
    )
    assert drawn.std().item() == pytest.approx(0.15, abs=0.002)


def test_gaussian_samples_have_the_learned_deviation() -> None:
    ours = Gaussian(1)
    ours.log_std.data = torch.tensor([math.log(0.5)])
    noise = ours.noise(100_000, generator=torch.Generator().manual_seed(0))
    drawn = ours.sample(torch.full((100_000, 1), 2.0), noise)
    assert drawn.mean().item() == pytest.approx(2.0, abs=0.01)
    assert drawn.std().item() == pytest.approx(0.5, abs=0.01)


def test_the_best_action_is_the_likeliest() -> None:
    assert Categorical(3).best(torch.tensor([[0.0, 2.0, 1.0]])).tolist() == [1]
    assert Gaussian(1).best(torch.tensor([[0.7]])).tolist() == [[pytest.approx(0.7)]]


def test_the_head_follows_the_action_space() -> None:
    assert isinstance(head(Spaces(4, discrete=2)), Categorical)
    assert isinstance(head(Spaces(4, low=(-1.0,), high=(1.0,))), Gaussian)


def test_several_choices_by_hand() -> None:
    outputs = torch.tensor([[0.0, math.log(3.0), 0.0, 0.0, math.log(2.0)]])  # (1/4, 3/4) and (1/4, 1/4, 1/2)
    head = Choices((2, 3))
    assert head.best(outputs).tolist() == [[1, 2]]
    assert head.log_prob(outputs, torch.tensor([[1, 0]])).item() == pytest.approx(math.log(3 / 4 * 1 / 4))
    quarters = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) - 2 * 0.25 * math.log(0.25)
    assert head.entropy(outputs).item() == pytest.approx(quarters - 0.5 * math.log(0.5))


def test_several_choices_are_drawn_independently_with_their_probabilities() -> None:
    outputs = torch.tensor([0.0, math.log(3.0), 0.0, 0.0, math.log(2.0)]).expand(100_000, 5)
    head = Choices((2, 3))
    drawn = head.sample(outputs, head.noise(100_000, generator=torch.Generator().manual_seed(0)))
    share = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=6) / 100_000
    wanted = torch.outer(torch.tensor([0.25, 0.75]), torch.tensor([0.25, 0.25, 0.5])).flatten()
    assert torch.allclose(share, wanted, atol=0.005)


def test_what_a_mask_forbids_has_no_probability_and_no_gradient() -> None:
    outputs = torch.tensor([[1.0, 5.0, 1.0]], requires_grad=True)
    logits = allowed(outputs, torch.tensor([[1.0, 0.0, 1.0]]))
    head = Categorical(3)
    assert head.log_prob(logits, torch.tensor([2])).item() == pytest.approx(math.log(0.5))
    assert head.entropy(logits).item() == pytest.approx(math.log(2.0))
    (gradient,) = torch.autograd.grad(head.log_prob(logits, torch.tensor([2])).sum(), outputs)
    assert gradient.tolist() == [[pytest.approx(-0.5), 0.0, pytest.approx(0.5)]]
