import pytest
import torch

import tests.probes
from agents import pqn
from envs import Spaces, make
from training.errors import InputError
from training.run import RunConfig


def learned(env: str, steps: int = 30_000, **settings: object) -> pqn.Learner:
    cfg = pqn.Config(
        env=env,
        gamma=tests.probes.GAMMA,
        hidden=(32,),
        explore_steps=10_000,
        run=RunConfig(steps=steps, device="cpu"),
        **{"lr": 5e-3, "layer_norm": False} | settings,  # of one number layer normalisation leaves its sign
    )
    envs = make(env, cfg.num_envs, seed=0)
    learner = pqn.Learner(cfg, envs.spaces)
    for _ in pqn.train(cfg, learner, envs):
        pass
    return learner


def values(learner: pqn.Learner, *seen: float) -> torch.Tensor:
    with torch.no_grad():
        return learner.model(torch.tensor(seen)[:, None])[..., 0]


def test_the_targets_by_hand() -> None:
    columns = [
        torch.tensor(column)[:, None]
        for column in (
            [1.0, 2.0, 3.0, 4.0],  # reward
            [9.0, 8.0, 7.0, 6.0],  # max_a Q before
            [8.0, 5.0, 6.0, 10.0],  # and after; the second episode step was cut off, another began
            [False, False, True, False],
            [False, True, False, False],
        )
    ]
    found = pqn.q_lambda(*columns, gamma=0.5, lam=0.8)[:, 0].tolist()
    last = 4 + 0.5 * 10  # the rollout ends: Q goes on
    cut = 2 + 0.5 * 5  # so it does where the episode was cut off
    first = 1 + 0.5 * (0.2 * 8 + 0.8 * cut)
    assert found == [pytest.approx(first), pytest.approx(cut), pytest.approx(3.0), pytest.approx(last)]


def test_the_loss_by_hand_and_its_gradient() -> None:
    q = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]], requires_grad=True)
    loss, metrics = pqn.td_loss(q, torch.tensor([1, 0]), torch.tensor([0.0, 6.0]))
    assert loss.item() == pytest.approx(6.5)  # (4 + 9) / 2
    assert metrics["q/chosen"].item() == pytest.approx(2.5)
    (gradient,) = torch.autograd.grad(loss, q)
    assert gradient[..., 0].tolist() == [[0.0, 2.0], [-3.0, 0.0]]


def test_values_follow_what_is_seen() -> None:
    expected = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    torch.testing.assert_close(values(learned("probe/observed-v0"), -1.0, 1.0), expected, atol=0.1, rtol=0)


@pytest.mark.parametrize("lam", [0.0, 0.9])
def test_a_delayed_reward_is_discounted_once(lam: float) -> None:
    found = values(learned("probe/delayed-v0", lam=lam), 0.0, 1.0).mean(1).tolist()
    assert found == [pytest.approx(tests.probes.GAMMA, abs=0.05), pytest.approx(1.0, abs=0.05)]


def test_a_time_limit_bootstraps() -> None:
    worth = 1 / (1 - tests.probes.GAMMA)
    assert values(learned("probe/endless-v0"), 1.0).mean().item() == pytest.approx(worth, abs=0.1)


@pytest.mark.parametrize("settings", [{}, {"minibatch": 128, "layer_norm": True}], ids=str)
def test_the_action_follows_what_is_seen(settings: dict) -> None:
    found = values(learned("probe/matched-v0", **settings), -1.0, 1.0)
    torch.testing.assert_close(found, torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), atol=0.1, rtol=0)


def test_layers_are_normalised_by_default() -> None:
    network = pqn.QNetwork(pqn.Config(), Spaces(3, discrete=2))
    norms = [layer for layer in network.net if isinstance(layer, torch.nn.LayerNorm)]
    assert [norm.normalized_shape for norm in norms] == [(64,), (64,)]


def test_a_rollout_of_resets_only_teaches_nothing() -> None:
    cfg = pqn.Config(num_envs=1, rollout=1, run=RunConfig(steps=60, device="cpu"))
    envs = make(cfg.env, 1, seed=0)
    learner = pqn.Learner(cfg, envs.spaces)
    for _ in pqn.train(cfg, learner, envs):
        assert all(weight.isfinite().all() for weight in learner.model.parameters())


def test_continuous_actions_are_refused() -> None:
    with pytest.raises(InputError, match="continuous actions"):
        pqn.QNetwork(pqn.Config(), Spaces(3, low=(-1.0,), high=(1.0,)))
