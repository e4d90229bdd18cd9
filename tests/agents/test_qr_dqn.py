import pytest
import torch

import tests.probes
from agents import qr_dqn
from envs import Spaces, make
from training.errors import InputError
from training.run import RunConfig


def learned(env: str, steps: int = 8_000, **settings: object) -> qr_dqn.Learner:
    cfg = qr_dqn.Config(
        env=env,
        gamma=tests.probes.GAMMA,
        hidden=(32,),
        lr=1e-2,
        quantiles=4,
        warm_up=256,
        explore_steps=3_000,
        target_every=1,
        run=RunConfig(steps=steps, device="cpu"),
        **settings,
    )
    envs = make(env, cfg.num_envs, seed=0)
    learner = qr_dqn.Learner(cfg, envs.spaces)
    for _ in qr_dqn.train(cfg, learner, envs):
        pass
    return learner


def quantiles(learner: qr_dqn.Learner, *seen: float) -> torch.Tensor:
    with torch.no_grad():
        return learner.model(torch.tensor(seen)[:, None])


def test_the_target_by_hand() -> None:
    q_next = torch.tensor([[0.5, -2.0]])  # chooses 0
    theta_next_slow = torch.tensor([[[2.0, 4.0], [8.0, 8.0]]])
    found = qr_dqn.quantile_target(q_next, theta_next_slow, torch.tensor([1.0]), torch.tensor([0.5]))
    assert found.tolist() == [[2.0, 3.0]]  # 1 + 0.5·2, 1 + 0.5·4


def test_the_loss_by_hand_and_its_gradient() -> None:
    theta = torch.tensor([[[9.0, 9.0], [0.0, 1.0]]], requires_grad=True)  # τ = 1/4, 3/4
    loss, _ = qr_dqn.quantile_loss(theta, torch.tensor([1]), torch.tensor([[3.0, 0.5]]))
    # θ_1 = 0: u = 3, 0.5, both above: 1/4 (2.5 + 0.125) / 2
    # θ_2 = 1: u = 2 above: 3/4 · 1.5;  u = −0.5 below: 1/4 · 0.125; their mean
    assert loss.item() == pytest.approx(0.25 * 2.625 / 2 + (0.75 * 1.5 + 0.25 * 0.125) / 2)
    (gradient,) = torch.autograd.grad(loss, theta)
    assert gradient[0, 0].tolist() == [0.0, 0.0]  # the other action learns nothing
    # −weight · (u, cut at ±1) / 2
    expected = [-(0.25 + 0.125) / 2, -(0.75 - 0.25 * 0.5) / 2]
    assert gradient[0, 1].tolist() == [pytest.approx(value) for value in expected]


def test_the_minimum_of_the_loss_are_the_quantiles_of_what_is_returned() -> None:
    drawn = torch.randn(4_000, generator=torch.Generator().manual_seed(0)) * 100  # wide beside κ = 1
    theta = torch.zeros(1, 1, 4, requires_grad=True)
    descent = torch.optim.Adam([theta], lr=2.0)
    for _ in range(400):
        loss, _ = qr_dqn.quantile_loss(theta, torch.tensor([0]), drawn[None])
        theta.grad = None
        loss.backward()
        descent.step()
    expected = torch.quantile(drawn, torch.tensor([0.125, 0.375, 0.625, 0.875]))
    torch.testing.assert_close(theta.detach()[0, 0], expected, atol=2.0, rtol=0)


def test_a_constant_reward_is_worth_itself_at_every_quantile() -> None:
    found = quantiles(learned("probe/constant-v0"), 1.0)
    torch.testing.assert_close(found, torch.ones(1, 2, 4), atol=0.1, rtol=0)


@pytest.mark.parametrize("settings", [{}, {"n_step": 3}, {"dueling": True}], ids=str)
def test_a_delayed_reward_is_discounted_once(settings: dict) -> None:
    found = quantiles(learned("probe/delayed-v0", **settings), 0.0, 1.0).mean((1, 2)).tolist()
    assert found == [pytest.approx(tests.probes.GAMMA, abs=0.05), pytest.approx(1.0, abs=0.05)]


def test_a_time_limit_bootstraps() -> None:
    worth = 1 / (1 - tests.probes.GAMMA)
    assert quantiles(learned("probe/endless-v0"), 1.0).mean().item() == pytest.approx(worth, abs=0.1)


def test_the_action_follows_what_is_seen() -> None:
    found = quantiles(learned("probe/matched-v0"), -1.0, 1.0).mean(-1)
    torch.testing.assert_close(found, torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), atol=0.1, rtol=0)


def test_a_gamble_is_known_as_one() -> None:
    low, *_, high = quantiles(learned("probe/gamble-v0"), 1.0).mean((0, 1)).tolist()
    assert (low, high) == (pytest.approx(-1.0, abs=0.25), pytest.approx(1.0, abs=0.25))


def test_continuous_actions_are_refused() -> None:
    with pytest.raises(InputError, match="continuous actions"):
        qr_dqn.QuantileNetwork(qr_dqn.Config(), Spaces(3, low=(-1.0,), high=(1.0,)))
