"""Matrix products: torch's, whichever library makes them."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from training import affine as module
from training.affine import LEAST, Linear, affine


@pytest.fixture(params=[True, False], ids=["oneDNN", "MKL"], autouse=True)
def library(request, monkeypatch):
    """Every test with each library, whatever the processor; small products too."""
    if request.param and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN")
    torch.manual_seed(0)
    monkeypatch.setattr(module, "LEAST", 1)
    monkeypatch.setattr(module, "ROWS", 1)
    monkeypatch.setattr(module, "_mkl_holds_back", lambda: request.param)
    return request.param


@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3), (1, 3), (0, 3), (3,)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_it_is_torchs_to_rounding(shape, with_bias):
    x, weight, bias = torch.randn(shape), torch.randn(4, 3), torch.randn(4) if with_bias else None
    torch.testing.assert_close(affine(x, weight, bias), functional.linear(x, weight, bias))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_numbers_keep_their_kind(dtype):
    x, weight = torch.randn(5, 3, dtype=dtype), torch.randn(4, 3, dtype=dtype)
    assert torch.equal(affine(x, weight), functional.linear(x, weight))


def test_rows_and_weights_may_be_views():
    x, weight = torch.randn(3, 50)[:, ::2].T, torch.randn(3, 8).T[::2]
    torch.testing.assert_close(affine(x, weight), functional.linear(x, weight))


def loss(product, x, weight, bias):
    return product(x, weight, bias).sin().square().sum()


def test_gradients_are_torchs():
    told = [torch.randn(shape, requires_grad=True) for shape in ((6, 3), (4, 3), (4,))]
    ours = torch.autograd.grad(loss(affine, *told), told)
    theirs = torch.autograd.grad(loss(functional.linear, *told), told)
    torch.testing.assert_close(ours, theirs)


def test_gradients_of_gradients_are_torchs():
    """Gradient penalties need them."""
    told = [torch.randn(shape, requires_grad=True) for shape in ((6, 3), (4, 3), (4,))]
    found = []
    for product in (affine, functional.linear):
        slopes = torch.autograd.grad(loss(product, *told), told, create_graph=True)
        found.append(torch.autograd.grad(sum(slope.square().sum() for slope in slopes), told))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("learned", [(0,), (1,), (2,), (0, 2)])
def test_what_needs_no_gradient_gets_none(learned):
    told = [torch.randn(shape) for shape in ((6, 3), (4, 3), (4,))]
    for i in learned:
        told[i].requires_grad_()
    affine(*told).sum().backward()
    assert [x.grad is not None for x in told] == [i in learned for i in range(3)]


def test_autocast_is_respected():
    x, weight = torch.randn(6, 3), torch.randn(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert affine(x, weight).dtype == torch.bfloat16


def test_a_layer_is_torchs():
    ours, theirs = Linear(3, 4), nn.Linear(3, 4)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(6, 3)
    torch.testing.assert_close(ours(x), theirs(x))


def test_large_products_are_torchs_to_rounding(monkeypatch):
    monkeypatch.setattr(module, "LEAST", LEAST)
    x, weight, bias = torch.randn(256, 128), torch.randn(128, 128), torch.randn(128)
    assert x.numel() * len(weight) >= LEAST
    torch.testing.assert_close(affine(x, weight, bias), functional.linear(x, weight, bias))


def test_numbers_of_rows_that_nobody_chose_stay_with_mkl(monkeypatch):
    monkeypatch.setattr(module, "ROWS", 16)
    asked = []
    monkeypatch.setattr(module, "_product", lambda *told: asked.append(told) or functional.linear(*told))
    weight = torch.randn(4, 3)
    for rows in (31, 32, 33):
        affine(torch.randn(rows, 3), weight)
    affine(torch.randn(4, 8, 3), weight)
    assert [len(x) for x, *_ in asked] == ([32, 32] if module._mkl_holds_back() else [])
