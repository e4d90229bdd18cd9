import pytest
import torch

import tests.probes
from agents import dqn
from envs import Spaces, make
from training.errors import InputError
from training.run import RunConfig


def learned(env: str, steps: int = 6_000, **settings: object) -> dqn.Learner:
    cfg = dqn.Config(
        env=env,
        gamma=tests.probes.GAMMA,
        hidden=(32,),
        lr=3e-3,
        warm_up=256,
        explore_steps=3_000,
        target_every=1,
        run=RunConfig(steps=steps, device="cpu"),
        **settings,
    )
    envs = make(env, cfg.num_envs, seed=0)
    learner = dqn.Learner(cfg, envs.spaces)
    for _ in dqn.train(cfg, learner, envs):
        pass
    return learner


def values(learner: dqn.Learner, *seen: float) -> torch.Tensor:
    with torch.no_grad():
        return learner.model(torch.tensor(seen)[:, None])[..., 0]


def test_the_target_by_hand() -> None:
    q_next = torch.tensor([[1.0, 2.0], [5.0, 0.0]])  # chooses 1, then 0
    q_next_slow = torch.tensor([[7.0, 4.0], [6.0, 9.0]])  # is worth 4, then 6
    discount = torch.tensor([0.5, 0.0])
    found = dqn.td_target(q_next, q_next_slow, torch.tensor([1.0, 3.0]), discount)
    assert found.tolist() == [3.0, 3.0]  # 1 + 0.5·4, and 3 alone


def test_the_loss_by_hand_and_its_gradient() -> None:
    q = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]], requires_grad=True)
    loss, metrics = dqn.td_loss(q, torch.tensor([1, 0]), torch.tensor([0.0, 6.0]))
    assert loss.item() == pytest.approx(6.5)  # (4 + 9) / 2
    assert metrics["q/chosen"].item() == pytest.approx(2.5)
    (gradient,) = torch.autograd.grad(loss, q)
    assert gradient[..., 0].tolist() == [[0.0, 2.0], [-3.0, 0.0]]


def test_a_constant_reward_is_worth_itself() -> None:
    torch.testing.assert_close(values(learned("probe/constant-v0"), 1.0), torch.ones(1, 2), atol=0.05, rtol=0)


def test_values_follow_what_is_seen() -> None:
    expected = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    torch.testing.assert_close(values(learned("probe/observed-v0"), -1.0, 1.0), expected, atol=0.1, rtol=0)


@pytest.mark.parametrize("settings", [{}, {"n_step": 3}, {"dueling": True}], ids=str)
def test_a_delayed_reward_is_discounted_once(settings: dict) -> None:
    found = values(learned("probe/delayed-v0", **settings), 0.0, 1.0).mean(1).tolist()
    assert found == [pytest.approx(tests.probes.GAMMA, abs=0.05), pytest.approx(1.0, abs=0.05)]


@pytest.mark.parametrize("n_step", [1, 4])  # the limit is at 3
def test_a_time_limit_bootstraps(n_step: int) -> None:
    worth = 1 / (1 - tests.probes.GAMMA)
    assert values(learned("probe/endless-v0", n_step=n_step), 1.0).mean().item() == pytest.approx(
        worth, abs=0.1
    )


def test_actions_have_their_own_values() -> None:
    found = values(learned("probe/chosen-v0"), 1.0)
    torch.testing.assert_close(found, torch.tensor([[-1.0, 1.0]]), atol=0.1, rtol=0)


def test_the_action_follows_what_is_seen() -> None:
    policy = learned("probe/matched-v0").model
    assert policy.act(torch.tensor([[-1.0], [1.0]])).tolist() == [0, 1]


def test_exploration_falls_on_a_straight_line() -> None:
    cfg = dqn.Config(epsilon=1.0, epsilon_end=0.2, explore_steps=100)
    learner = dqn.Learner(cfg, Spaces(4, discrete=2))
    found = []
    for learner.step in (0, 50, 100, 900):
        found.append(learner.epsilon)
    assert found == [1.0, pytest.approx(0.6), pytest.approx(0.2), pytest.approx(0.2)]


def test_the_last_bout_still_learns() -> None:
    cfg = dqn.Config(warm_up=0, run=RunConfig(steps=128, device="cpu"))
    envs = make(cfg.env, cfg.num_envs, seed=0)
    learner = dqn.Learner(cfg, envs.spaces)
    before = learner.model.net[0].weight.clone()
    assert len(list(dqn.train(cfg, learner, envs))) == 1
    assert not torch.equal(learner.model.net[0].weight, before)


def test_learning_waits_for_the_first_whole_window() -> None:
    cfg = dqn.Config(
        num_envs=1, collect=2, n_step=5, updates=1, warm_up=0, run=RunConfig(steps=8, device="cpu")
    )
    envs = make(cfg.env, cfg.num_envs, seed=0)
    learner = dqn.Learner(cfg, envs.spaces)
    learned = ["loss/td" in metrics for _, metrics in dqn.train(cfg, learner, envs)]
    assert learned == [False, False, True, True]


def test_actions_that_q_cannot_choose_and_sampling_are_refused() -> None:
    with pytest.raises(InputError, match="continuous actions"):
        dqn.QNetwork(dqn.Config(), Spaces(3, low=(-1.0,), high=(1.0,)))
    with pytest.raises(InputError, match="several discrete actions at once"):
        dqn.QNetwork(dqn.Config(), Spaces(3, choices=(2, 2)))
    with pytest.raises(InputError, match="deterministic"):
        dqn.QNetwork(dqn.Config(), Spaces(3, discrete=2)).act(torch.zeros(1, 3), torch.Generator())
