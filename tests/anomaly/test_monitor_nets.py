"""The polynomial and the ensemble that foretell a step."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from anomaly.monitor_nets import Ensemble, Polynomial, beta_nll


def test_beta_nll_of_hand_numbers_and_its_gradient() -> None:
    change, mean = torch.tensor([[[2.0]]]), torch.zeros(1, 1, 1, requires_grad=True)
    log_sigma = torch.full((1, 1, 1), math.log(2.0), requires_grad=True)
    loss = beta_nll(change, mean, log_sigma)
    assert loss.item() == pytest.approx(2 * (0.5 + math.log(2.0)))
    loss.backward()
    assert mean.grad.item() == pytest.approx(-1.0)  # σ (μ − Δ) / σ²
    assert log_sigma.grad.item() == pytest.approx(0.0)  # σ (1 − 1): the right σ already
    wide = torch.full((1, 1, 1), math.log(4.0), requires_grad=True)
    beta_nll(change, mean, wide).backward()
    assert wide.grad.item() == pytest.approx(4 * (1 - 0.25))


def test_a_polynomial_finds_a_cubic_exactly() -> None:
    x = np.random.default_rng(0).normal(size=(400, 3))
    y = np.stack([x[:, 0] ** 3 - 2 * x[:, 1] * x[:, 2], 1 + x[:, 2]], axis=1)
    found = Polynomial.fit(x, y, 3, 1e-9)
    np.testing.assert_allclose(found(x), y, atol=1e-5)


def test_a_polynomial_may_have_fewer_degrees_the_more_inputs_it_has() -> None:
    assert [Polynomial.degrees(inputs)[-1] for inputs in (1, 4, 6, 9, 20, 30)] == [6, 6, 4, 3, 2, 1]


def test_a_polynomial_of_degree_one_is_a_line() -> None:
    x = np.random.default_rng(0).normal(size=(400, 30))
    y = 3 * x[:, :1] - x[:, 7:8] + 2
    found = Polynomial.fit(x, y, 1, 1e-9)
    assert len(found.weight) == 31
    np.testing.assert_allclose(found(x), y, atol=1e-6)
    np.testing.assert_allclose(found(x), found.products(x) @ found.weight, atol=1e-12)


@pytest.mark.parametrize("hidden", [(), (5,), (5, 4, 3)])
def test_an_ensemble_says_what_its_members_say_one_by_one(hidden: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    sizes = (3, *hidden, 4)
    layers = [
        rng.normal(size=(2, *shape)).astype(np.float32)
        for inputs, outputs in pairwise(sizes)
        for shape in ((inputs, outputs), (1, outputs))
    ]
    obs, action, rest = rng.normal(size=(6, 2)), rng.normal(size=(6, 1)), np.array([0.5, 3.0])
    line = Polynomial(np.arange(4)[None], np.zeros((4, 2)))
    low, high = np.full(2, -0.5), np.full(2, 0.7)
    members = []
    for member in range(2):
        h = np.concatenate([obs, action], axis=1)
        for at in range(0, len(layers), 2):
            h = (np.tanh(h) if at else h) @ layers[at][member] + layers[at + 1][member]
        members.append(h)
    means, log_sigmas = np.split(np.stack(members), 2, axis=2)
    mean, sigma = means.mean(axis=0), np.exp(np.clip(log_sigmas.mean(axis=0), low, high))
    doubt = np.log((((means - mean) / sigma) ** 2).mean(axis=(0, 2)) + 1e-6)
    found = Ensemble(line, rest, layers, np.stack([low, high]))(obs, action)
    for value, expected in zip(found, (mean * rest, sigma * rest, doubt), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
