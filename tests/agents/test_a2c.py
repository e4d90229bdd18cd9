import pytest
import torch

import tests.probes
from agents import a2c
from envs import make
from training.run import RunConfig


def learned(env: str, steps: int = 40_000, **settings: object) -> a2c.Learner:
    cfg = a2c.Config(
        env=env,
        gamma=tests.probes.GAMMA,
        hidden=(32,),
        run=RunConfig(steps=steps, device="cpu"),
        **{"lr": 1e-2, "num_envs": 32} | settings,
    )
    envs = make(env, cfg.num_envs, seed=0)
    learner = a2c.Learner(cfg, envs.spaces)
    for _ in a2c.train(cfg, learner, envs):
        pass
    return learner


def value(learner: a2c.Learner, *seen: float) -> list[float]:
    with torch.no_grad():
        return learner.model(torch.tensor(seen)[:, None])[1].tolist()


def test_the_loss_by_hand() -> None:
    loss, metrics = a2c.a2c_loss(
        torch.tensor([-1.0, -2.0]),
        torch.tensor([3.0, -1.0]),
        value=torch.tensor([1.0, 2.0]),
        value_target=torch.tensor([0.0, 4.0]),
        entropy=torch.tensor([0.5, 0.7]),
        value_coef=0.5,
        entropy_coef=0.1,
    )
    assert metrics["loss/policy"].item() == pytest.approx(0.5)  # −(−3 + 2) / 2
    assert metrics["loss/value"].item() == pytest.approx(2.5)  # (1 + 4) / 2
    assert metrics["policy/entropy"].item() == pytest.approx(0.6)
    assert loss.item() == pytest.approx(0.5 + 0.5 * 2.5 - 0.1 * 0.6)


def test_every_term_has_a_gradient() -> None:
    log_prob, predicted, entropy = (torch.tensor([-1.0, -2.0], requires_grad=True) for _ in range(3))
    advantage, target = torch.tensor([3.0, -1.0]), torch.zeros(2)
    loss, _ = a2c.a2c_loss(log_prob, advantage, predicted, target, entropy, value_coef=0.5, entropy_coef=0.1)
    found = [g.tolist() for g in torch.autograd.grad(loss, (log_prob, predicted, entropy))]
    assert found == [
        [pytest.approx(-1.5), pytest.approx(0.5)],  # −A / B
        [pytest.approx(-0.5), pytest.approx(-1.0)],  # c_V · 2 (V − R) / B
        [pytest.approx(-0.05), pytest.approx(-0.05)],  # −c_H / B
    ]


def test_values_follow_what_is_seen() -> None:
    found = value(learned("probe/observed-v0"), -1.0, 1.0)
    assert found == [pytest.approx(-1.0, abs=0.1), pytest.approx(1.0, abs=0.1)]


def test_a_delayed_reward_is_discounted_once() -> None:
    found = value(learned("probe/delayed-v0"), 0.0, 1.0)
    assert found == [pytest.approx(tests.probes.GAMMA, abs=0.05), pytest.approx(1.0, abs=0.05)]


def test_a_time_limit_bootstraps() -> None:
    worth = 1 / (1 - tests.probes.GAMMA)
    assert value(learned("probe/endless-v0"), 1.0) == [pytest.approx(worth, abs=0.1)]


def test_the_action_follows_what_is_seen() -> None:
    policy = learned("probe/matched-v0").model
    assert policy.act(torch.tensor([[-1.0], [1.0]])).tolist() == [0, 1]


def test_a_continuous_action_finds_the_best_number() -> None:
    learner = learned("probe/near-v0", lr=5e-3, num_envs=4, entropy_coef=0.0)
    assert learner.model.act(torch.ones(1, 1)).item() == pytest.approx(0.5, abs=0.1)


def test_normalised_rewards_have_the_worth_of_their_deviation() -> None:
    sums = torch.tensor([1.0, 1.5, 1.75])  # as in the test of PPO
    worth = 2.0 / sums.std(correction=0).item()
    found = value(learned("probe/endless-v0", normalise_reward=True), 1.0)
    assert found == [pytest.approx(worth, rel=0.1)]
