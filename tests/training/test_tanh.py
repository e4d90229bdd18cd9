"""The hyperbolic tangent: torch's, whatever it is asked for."""

import pytest
import torch
from torch import nn

from training.tanh import Tanh, tanh


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_it_is_torchs_to_rounding(dtype):
    x = torch.linspace(-20, 20, 4_001, dtype=torch.float64).to(dtype)
    assert tanh(x).dtype == dtype
    torch.testing.assert_close(tanh(x), x.tanh())


def test_what_is_no_number_stays_so_and_infinities_are_one():
    x = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -0.0])
    torch.testing.assert_close(tanh(x), x.tanh(), equal_nan=True, rtol=0, atol=0)


def test_its_first_and_second_gradients_are_those_of_finite_differences():
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(tanh, (x,))
    assert torch.autograd.gradgradcheck(tanh, (x,))


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (2, 3, 4)])
def test_shapes_and_strides_stay(shape):
    x = torch.randn(shape)
    assert tanh(x).shape == x.shape
    assert torch.equal(tanh(x.mT if x.dim() > 1 else x), tanh(x).mT if x.dim() > 1 else tanh(x))


def test_a_row_is_the_same_alone_and_among_others():
    """Policies act on one environment as on many."""
    x = torch.randn(257, 37)
    assert torch.equal(torch.stack([tanh(row) for row in x]), tanh(x))


def test_no_gradient_is_kept_where_none_is_wanted():
    x = torch.randn(3, requires_grad=True)
    with torch.no_grad():
        assert not tanh(x).requires_grad
    with torch.inference_mode():
        assert tanh(x * 1).is_inference()
    assert not tanh(x.detach()).requires_grad


def test_a_layer_learns_what_torchs_learns():
    ours, theirs = nn.Sequential(nn.Linear(3, 8), Tanh()), nn.Sequential(nn.Linear(3, 8), nn.Tanh())
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(16, 3)
    for net in (ours, theirs):
        net(x).square().sum().backward()
    torch.testing.assert_close(ours[0].weight.grad, theirs[0].weight.grad)
