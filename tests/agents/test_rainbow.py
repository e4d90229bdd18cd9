import math
from copy import deepcopy

import pytest
import torch
from torch import nn

import tests.probes
from agents import rainbow
from agents.parts.dueling import duel
from agents.parts.noisy import Noisy
from agents.parts.priorities import LEAST
from envs import Spaces, make
from training.errors import InputError
from training.networks import mlp
from training.run import RunConfig

SWITCHES = ("double", "dueling", "prioritised", "distributional", "noisy")
OFF = [{name: False} for name in SWITCHES] + [{"n_step": 1}]


def learned(env: str, steps: int = 5_000, **settings: object) -> rainbow.Learner:
    cfg = rainbow.Config(
        env=env,
        gamma=tests.probes.GAMMA,
        hidden=(32,),
        lr=1e-2,
        low=-3.0,
        high=3.0,
        atoms=25,
        updates=16,
        warm_up=256,
        explore_steps=3_000,
        target_every=1,
        run=RunConfig(steps=steps, device="cpu"),
        **settings,
    )
    envs = make(env, cfg.num_envs, seed=0)
    learner = rainbow.Learner(cfg, envs.spaces)
    for _ in rainbow.train(cfg, learner, envs):
        pass
    return learner


def values(learner: rainbow.Learner, *seen: float) -> torch.Tensor:
    with torch.no_grad():
        return learner.model.worth(learner.model(torch.tensor(seen)[:, None]))


def test_the_projection_by_hand() -> None:
    support = torch.tensor([0.0, 1.0, 2.0, 3.0])
    probability = torch.tensor([[0.1, 0.2, 0.3, 0.4]] * 3)
    reward, discount = torch.tensor([0.25, 1.0, 2.5]), torch.tensor([0.5, 1.0, 0.0])
    found = rainbow.project(probability, reward, discount, support)
    expected = [
        # 0.25, 0.75, 1.25, 1.75: each to the atoms beside it
        [
            0.1 * 0.75 + 0.2 * 0.25,
            0.1 * 0.25 + 0.2 * 0.75 + 0.3 * 0.75 + 0.4 * 0.25,
            0.3 * 0.25 + 0.4 * 0.75,
            0.0,
        ],
        [0.0, 0.1, 0.2, 0.7],  # moved by one atom, and what goes beyond the last stays there
        [0.0, 0.0, 0.5, 0.5],  # after a termination the reward is all
    ]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_a_projection_keeps_the_mean_and_sums_to_one() -> None:
    generator = torch.Generator().manual_seed(0)
    support = torch.linspace(-10.0, 10.0, 51)
    probability = torch.randn(1_000, 51, generator=generator).softmax(-1)
    reward = torch.randn(1_000, generator=generator)
    found = rainbow.project(probability, reward, torch.full((1_000,), 0.5), support)
    torch.testing.assert_close(found.sum(-1), torch.ones(1_000))
    torch.testing.assert_close(found @ support, reward + 0.5 * (probability @ support), atol=1e-4, rtol=0)


def test_the_loss_of_distributions_by_hand_and_its_gradient() -> None:
    logits = torch.zeros(2, 2, 2, requires_grad=True)  # all even
    target = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    action, weight = torch.tensor([1, 0]), torch.tensor([1.0, 0.5])
    loss, surprise, _ = rainbow.c51_loss(logits, action, target, weight)
    first, second = math.log(2) + 0.25 * math.log(0.25) + 0.75 * math.log(0.75), math.log(2)
    assert surprise.tolist() == [pytest.approx(first), pytest.approx(second)]
    assert loss.item() == pytest.approx((first + 0.5 * second) / 2)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[0].tolist() == [[0.0, 0.0], [0.125, -0.125]]  # w (p − m) / B
    assert gradient[1].tolist() == [[-0.125, 0.125], [0.0, 0.0]]


def test_the_loss_of_values_by_hand_and_its_gradient() -> None:
    q = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]], requires_grad=True)
    action, target, weight = torch.tensor([1, 0]), torch.tensor([[0.0], [6.0]]), torch.tensor([1.0, 0.5])
    loss, surprise, _ = rainbow.td_loss(q, action, target, weight)
    assert surprise.tolist() == [2.0, 3.0]
    assert loss.item() == pytest.approx((4 + 0.5 * 9) / 2)
    (gradient,) = torch.autograd.grad(loss, q)
    assert gradient[..., 0].tolist() == [[0.0, 2.0], [-1.5, 0.0]]


def test_dueling_by_hand() -> None:
    outputs = torch.tensor([[[10.0], [1.0], [3.0]]])  # V, A(0), A(1)
    assert duel(outputs).tolist() == [[[9.0], [11.0]]]


def test_noise_by_hand() -> None:
    layer = Noisy(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), sigma=0.5)
    with torch.no_grad():
        layer.net[0].weight.copy_(torch.eye(2))
        layer.net[0].bias.fill_(0.0)
        layer.net[1].weight.copy_(torch.tensor([[1.0, 2.0]]))
        layer.net[1].bias.fill_(0.5)
        assert layer.sigmas[0].weight.tolist() == [[pytest.approx(0.5 / 2**0.5)] * 2]
        layer.sigmas[0].weight.copy_(torch.tensor([[0.1, 0.2]]))
        layer.sigmas[0].bias.fill_(0.3)
        x, noise = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, -9.0, 16.0]])  # f: 2, −3; 4
        # W x + b = 11.5; ε_out (W_σ (ε_in x) + b_σ) = 4 (0.1 · 6 − 0.2 · 12 + 0.3)
        assert layer(x, noise).item() == pytest.approx(11.5 + 4 * (0.6 - 2.4 + 0.3))
        assert layer(x).item() == pytest.approx(11.5)


def test_noise_of_each_row_agrees_with_the_papers_matrix() -> None:
    torch.manual_seed(0)
    layer = Noisy(mlp(3, (5, 4), 2, "relu"), sigma=0.5)
    generator = torch.Generator().manual_seed(1)
    x, noise = torch.randn(4, 3), layer.noise(4, generator=generator)
    scaled = (noise.sign() * noise.abs().sqrt()).split([5, 4, 4, 2], -1)
    for i in range(4):
        h = layer.net[0](x[i]).relu()
        for k, linear in enumerate((layer.net[2], layer.net[4])):
            before, after = scaled[2 * k][i], scaled[2 * k + 1][i]
            weight = linear.weight + layer.sigmas[k].weight * torch.outer(after, before)
            h = weight @ h + linear.bias + layer.sigmas[k].bias * after
            h = h.relu() if k == 0 else h
        torch.testing.assert_close(layer(x, noise)[i], h)


def test_noise_is_learned_and_the_greedy_policy_has_none() -> None:
    cfg = rainbow.Config(warm_up=0, run=RunConfig(steps=256, device="cpu"))
    envs = make(cfg.env, cfg.num_envs, seed=0)
    learner = rainbow.Learner(cfg, envs.spaces)
    before = [sigma.weight.clone() for sigma in learner.model.net.sigmas]
    for _ in rainbow.train(cfg, learner, envs):
        pass
    assert all(not torch.equal(a, b.weight) for a, b in zip(before, learner.model.net.sigmas, strict=True))
    same, noise = torch.ones(50, 4), learner.noise(50)
    with torch.no_grad():
        calm, noisy = (learner.model.worth(learner.model(same, n)) for n in (None, noise))
    assert (calm.std(0).max().item(), noisy.std(0).min().item()) == (0.0, pytest.approx(1.0, rel=0.99))
    assert torch.equal(learner.model.explore(same, iter([noise])), noisy.argmax(-1))


@pytest.mark.parametrize("off", [{}, *(pytest.param(off, marks=pytest.mark.long) for off in OFF)], ids=str)
def test_a_delayed_reward_is_discounted_once_whatever_is_switched_off(off: dict) -> None:
    found = values(learned("probe/delayed-v0", **off), 0.0, 1.0).amax(1).tolist()
    assert found == [pytest.approx(tests.probes.GAMMA, abs=0.07), pytest.approx(1.0, abs=0.07)]


@pytest.mark.parametrize("distributional", [True, False])
def test_a_time_limit_bootstraps(distributional: bool) -> None:
    worth = 1 / (1 - tests.probes.GAMMA)
    found = values(learned("probe/endless-v0", distributional=distributional), 1.0)
    assert found.max().item() == pytest.approx(worth, abs=0.1)


@pytest.mark.parametrize("noisy", [pytest.param(True, marks=pytest.mark.long), False])
def test_the_action_follows_what_is_seen(noisy: bool) -> None:
    found = values(learned("probe/matched-v0", noisy=noisy), -1.0, 1.0)
    torch.testing.assert_close(found, torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), atol=0.15, rtol=0)


def test_a_gamble_is_known_as_one() -> None:
    learner = learned("probe/gamble-v0")
    with torch.no_grad():
        probability = learner.model(torch.ones(1, 1)).softmax(-1)[0, 0]
    lost, won = (probability[(learner.model.support - z).abs() < 0.3].sum().item() for z in (-1.0, 1.0))
    assert (lost, won) == (pytest.approx(0.5, abs=0.15), pytest.approx(0.5, abs=0.15))


def test_a_bout_weighs_what_it_drew_and_remembers_its_surprise() -> None:
    cfg = rainbow.Config(
        env="CartPole-v1", noisy=False, distributional=False, updates=1, warm_up=0, replay=512
    )
    envs = make(cfg.env, cfg.num_envs, seed=0)
    learner = rainbow.Learner(cfg, envs.spaces)
    draw, drawn = learner.draw, []
    learner.draw = lambda count: drawn.append(draw(count)) or drawn[-1]  # type: ignore[func-returns-value]
    learner.collect(envs)
    learner.learn()  # from now on priorities differ
    before = deepcopy(learner.model)
    slow = deepcopy(learner.slow)
    metrics = learner.learn()
    index, weight = drawn[-1]
    rows = learner.replay.take(index)
    with torch.no_grad():
        best = before(rows.next_obs)[..., 0].argmax(-1, keepdim=True)
        target = rows.reward + rows.discount * slow(rows.next_obs)[..., 0].gather(1, best)[:, 0]
        error = before(rows.obs)[..., 0].gather(1, rows.action[:, None])[:, 0] - target
    assert weight.min() < 0.9
    torch.testing.assert_close(metrics["loss/td"], (weight * error.square()).mean())
    priority = (error.abs().double() + LEAST) ** cfg.omega
    assert learner.priorities is not None
    leaves = learner.priorities.tree[index + (1 << learner.priorities.levels)]
    highest = torch.stack([priority[index == place].max() for place in index])
    torch.testing.assert_close(leaves, highest)


def test_the_weights_of_the_prioritised_replay_grow_whole_over_the_run() -> None:
    cfg = rainbow.Config(beta=0.4, warm_up=0, run=RunConfig(steps=1_000, device="cpu"))
    learner = rainbow.Learner(cfg, Spaces(4, discrete=2))
    learner.collect(make(cfg.env, cfg.num_envs, seed=0))
    learner.priorities.update(torch.arange(2), torch.tensor([1.0, 4.0]))
    learner.step = 1_000
    index, weight = learner.draw(500)
    share = learner.priorities.tree[index + (1 << learner.priorities.levels)]
    torch.testing.assert_close(weight, (share.min() / share).float())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"low": 1.0, "high": 1.0}, "51 atoms from 1.0 to 1.0"),
        ({"atoms": 1}, "1 atoms from"),
        ({"low": float("nan")}, "51 atoms from nan"),
        ({"omega": 2.0}, "omega is 2.0"),
        ({"replay": 5}, "replay is 5"),
        ({"hidden": ()}, "hidden is empty"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rainbow.Config(**setting)


def test_continuous_actions_are_refused() -> None:
    with pytest.raises(InputError, match="continuous actions"):
        rainbow.RainbowNetwork(rainbow.Config(), Spaces(3, low=(-1.0,), high=(1.0,)))
