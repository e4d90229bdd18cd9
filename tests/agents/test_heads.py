import math

import pytest
import torch
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Normal

from agents.parts.heads import Categorical, Gaussian, head
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
