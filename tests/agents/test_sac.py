import math

import pytest
import torch
from torch.distributions import Normal
from torch.distributions.transforms import TanhTransform

import tests.probes  # noqa: F401  (registers them)
from agents import sac
from agents.parts.heads import SquashedGaussian
from envs import Spaces, make
from training.errors import InputError
from training.run import RunConfig


@pytest.fixture(scope="module")
def near() -> sac.Learner:
    """A learner of the probe that pays −(a − ½)²."""
    run = RunConfig(steps=3_000, device="cpu")
    cfg = sac.Config(env="probe/near-v0", batch=64, hidden=(32,), lr=5e-3, tau=0.05, warm_up=500, run=run)
    envs = make(cfg.env, cfg.num_envs, seed=0)
    learner = sac.Learner(cfg, envs.spaces)
    for _ in sac.train(cfg, learner, envs):
        pass
    return learner


def test_the_critic_loss_by_hand() -> None:
    q = torch.tensor([[1.0, 2.0], [3.0, 0.0]], requires_grad=True)
    slow = torch.tensor([[4.0, 9.0], [6.0, 9.0]])
    loss, metrics = sac.critic_loss(
        q,
        slow,
        log_prob_next=torch.tensor([-1.0, 2.0]),
        reward=torch.tensor([1.0, 5.0]),
        discount=torch.tensor([0.5, 0.0]),
        temperature=torch.tensor(2.0),
    )
    # y = 1 + ½ (4 + 2 · 1) = 4, and 5 after a termination
    assert loss.item() == pytest.approx((9 + 9) / 2 + (1 + 25) / 2)
    assert metrics["q/chosen"].item() == pytest.approx(1.5)
    (gradient,) = torch.autograd.grad(loss, q)
    assert gradient.tolist() == [[-3.0, -3.0], [-1.0, -5.0]]  # 2 (Q − y) / B


def test_the_policy_loss_by_hand() -> None:
    log_prob = torch.tensor([-1.0, 3.0], requires_grad=True)
    q = torch.tensor([[1.0, 2.0], [0.0, 7.0]], requires_grad=True)
    loss, metrics = sac.policy_loss(log_prob, q, torch.tensor(0.5))
    assert loss.item() == pytest.approx((-0.5 - 0.0 + 1.5 - 2.0) / 2)
    assert metrics["policy/entropy"].item() == pytest.approx(-1.0)
    by_log_prob, by_q = torch.autograd.grad(loss, (log_prob, q))
    assert by_log_prob.tolist() == [0.25, 0.25]
    assert by_q.tolist() == [[0.0, -0.5], [-0.5, 0.0]]  # the smaller of the two only


def test_the_temperature_loss_by_hand() -> None:
    log = torch.tensor(math.log(2.0), requires_grad=True)
    log_prob = torch.tensor([1.0, 2.0], requires_grad=True)
    loss, metrics = sac.temperature_loss(log, log_prob, target_entropy=-1.0)
    assert loss.item() == pytest.approx(-math.log(2.0) * 0.5)
    assert metrics["explore/temperature"].item() == pytest.approx(2.0)
    by_log, by_log_prob = torch.autograd.grad(loss, (log, log_prob), allow_unused=True)
    assert by_log.item() == pytest.approx(-0.5)  # entropy 1.5 less than wanted: α grows
    assert by_log_prob is None


def test_the_squashed_density_by_hand_and_by_torch() -> None:
    head = SquashedGaussian(1)
    action, log_prob = head.draw(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.5]]))
    assert action.item() == pytest.approx(math.tanh(0.5))
    by_hand = -0.125 - 0.5 * math.log(2 * math.pi) - math.log(1 - math.tanh(0.5) ** 2)
    assert log_prob.item() == pytest.approx(by_hand, abs=1e-6)
    outputs = 0.4 * torch.randn(100, 6, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(100, 3, generator=torch.Generator().manual_seed(1))
    action, log_prob = SquashedGaussian(3).draw(outputs, noise)
    u = outputs[:, :3] + outputs[:, 3:].exp() * noise
    normal = Normal(outputs[:, :3], outputs[:, 3:].exp())
    expected = (normal.log_prob(u) - TanhTransform().log_abs_det_jacobian(u, u.tanh())).sum(-1)
    torch.testing.assert_close(log_prob, expected, rtol=1e-4, atol=1e-4)
    assert head.draw(torch.tensor([[50.0, 0.0]]), torch.zeros(1, 1))[1].isfinite()


def test_a_continuous_action_finds_the_best_number(near: sac.Learner) -> None:
    assert near.model.act(torch.ones(1, 1)).item() == pytest.approx(0.5, abs=0.1)


def test_actions_are_worth_their_reward(near: sac.Learner) -> None:
    with torch.no_grad():
        q = near.critic(torch.ones(2, 1), torch.tensor([[0.5], [-0.5]])).mean(0)
    assert q.tolist() == [pytest.approx(0.0, abs=0.1), pytest.approx(-1.0, abs=0.2)]


def test_the_temperature_brings_the_entropy_to_its_target(near: sac.Learner) -> None:
    noise = near.model.head.noise(20_000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, log_prob = near.model.head.draw(near.model(torch.ones(20_000, 1)), noise)
    assert -log_prob.mean().item() == pytest.approx(-1.0, abs=0.3)


def test_the_slow_critic_goes_its_share_of_the_way() -> None:
    cfg = sac.Config(tau=0.25, warm_up=16, updates=1, run=RunConfig(steps=16, device="cpu"))
    envs = make(cfg.env, cfg.num_envs, seed=0)
    learner = sac.Learner(cfg, envs.spaces)
    before = learner.slow.net.weights[0].clone()
    next(sac.train(cfg, learner, envs))
    after = before + 0.25 * (learner.critic.net.weights[0] - before)
    assert not torch.equal(before, learner.critic.net.weights[0])
    torch.testing.assert_close(learner.slow.net.weights[0], after)


def test_discrete_actions_are_refused() -> None:
    with pytest.raises(InputError, match="sac expects continuous ones"):
        sac.Learner(sac.Config(env="CartPole-v1"), Spaces(4, discrete=2))


def test_actions_without_bounds_are_refused() -> None:
    with pytest.raises(InputError, match="mine:Mine has actions without bounds, sac expects"):
        sac.Learner(sac.Config(env="mine:Mine"), Spaces(4, low=(-1.0, -math.inf), high=(1.0, 1.0)))
