import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tests.probes
from agents import ppo, registry
from agents.parts.actor_critic import ActorCritic
from envs import Spaces, make
from training.errors import InputError
from training.run import RunConfig


def learned(env: str, steps: int = 12_000, **settings: object) -> ppo.Learner:
    cfg = ppo.Config(
        env=env,
        gamma=tests.probes.GAMMA,
        num_envs=16,
        rollout=16,
        minibatch=128,
        hidden=(32,),
        lr=5e-3,
        run=RunConfig(steps=steps, device="cpu"),
        **settings,
    )
    envs = make(env, cfg.num_envs, seed=0)
    learner = ppo.Learner(cfg, envs.spaces)
    for _ in ppo.train(cfg, learner, envs):
        pass
    return learner


def value(learner: ppo.Learner, *seen: float) -> list[float]:
    with torch.no_grad():
        return learner.model(torch.tensor(seen)[:, None])[1].tolist()


def test_the_loss_by_hand() -> None:
    # ratios 2 and 1/2, ε = 0.2: min(2·1, 1.2·1) = 1.2;  min(0.5·(−1), 0.8·(−1)) = −0.8
    log_ratio = torch.tensor([2.0, 0.5]).log()
    loss, metrics = ppo.ppo_loss(
        log_ratio,
        torch.zeros(2),
        torch.tensor([1.0, -1.0]),
        value=torch.tensor([1.0, 2.0]),
        value_target=torch.tensor([0.0, 4.0]),
        clip=0.2,
        value_coef=0.5,
    )
    assert metrics["loss/policy"].item() == pytest.approx(-0.2)  # −(1.2 − 0.8) / 2
    assert metrics["loss/value"].item() == pytest.approx(2.5)  # (1 + 4) / 2
    assert loss.item() == pytest.approx(-0.2 + 0.5 * 2.5)


def test_the_clip_stops_the_gradient_on_the_side_it_bounds_and_not_on_the_other() -> None:
    log_prob = torch.tensor([2.0, 2.0, 0.5, 0.5]).log().requires_grad_()
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    zeros = torch.zeros(4)
    loss, _ = ppo.ppo_loss(log_prob, zeros, advantage, zeros, zeros, clip=0.2, value_coef=0.5)
    (gradient,) = torch.autograd.grad(loss, log_prob)
    assert gradient.tolist() == [0.0, pytest.approx(0.5), pytest.approx(-0.125), 0.0]  # −Â ρ / 4, or 0


def test_the_value_term_has_a_gradient() -> None:
    predicted = torch.tensor([1.0, 2.0], requires_grad=True)
    zeros = torch.zeros(2)
    loss, _ = ppo.ppo_loss(zeros, zeros, zeros, predicted, zeros, clip=0.2, value_coef=0.5)
    (gradient,) = torch.autograd.grad(loss, predicted)
    assert gradient.tolist() == [0.5, 1.0]  # c_V · 2 (V − R) / B


def test_entropy_is_paid_for() -> None:
    entropy = torch.tensor([0.4, 0.6], requires_grad=True)
    zeros = torch.zeros(2)
    told = {"clip": 0.2, "value_coef": 0.5, "entropy_coef": 0.1}
    loss, _ = ppo.ppo_loss(zeros, zeros, zeros, zeros, zeros, entropy, **told)
    assert loss.item() == pytest.approx(-0.1 * 0.5)
    assert torch.autograd.grad(loss, entropy)[0].tolist() == [pytest.approx(-0.05)] * 2  # −c_H / B


def test_a_bonus_for_entropy_keeps_actions_open() -> None:
    closed, open_ = (
        learned("probe/chosen-v0", steps=8_000, entropy_coef=c).model.learned(torch.ones(1, 1))[0]
        for c in (0.0, 10.0)
    )
    assert closed.softmax(-1).max() > 0.95
    assert open_.softmax(-1).max() < 0.9


def test_advantages_are_normalised_within_a_rollout() -> None:
    cfg = ppo.Config(env="CartPole-v1", reward_scale=7.0)
    envs = make(cfg.env, cfg.num_envs, seed=0)
    *_, advantage, target = ppo.Learner(cfg, envs.spaces).collect(envs)
    assert advantage.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert advantage.std(correction=0).item() == pytest.approx(1.0, abs=1e-4)
    assert target.max() > 7.0


def test_a_constant_reward_is_worth_itself() -> None:
    assert value(learned("probe/constant-v0"), 1.0) == [pytest.approx(1.0, abs=0.05)]


def test_values_follow_what_is_seen() -> None:
    found = value(learned("probe/observed-v0"), -1.0, 1.0)
    assert found == [pytest.approx(-1.0, abs=0.1), pytest.approx(1.0, abs=0.1)]


def test_a_delayed_reward_is_discounted_once() -> None:
    found = value(learned("probe/delayed-v0"), 0.0, 1.0)
    assert found == [pytest.approx(tests.probes.GAMMA, abs=0.05), pytest.approx(1.0, abs=0.05)]


def test_a_time_limit_bootstraps() -> None:
    worth = 1 / (1 - tests.probes.GAMMA)  # 2; a limit taken for an end would give less
    assert value(learned("probe/endless-v0"), 1.0) == [pytest.approx(worth, abs=0.1)]


@pytest.mark.parametrize("shared", [True, False])
def test_the_better_action_is_chosen(shared: bool) -> None:
    policy = learned("probe/chosen-v0", shared=shared).model
    assert policy.act(torch.ones(3, 1)).tolist() == [1, 1, 1]


def test_the_action_follows_what_is_seen() -> None:
    policy = learned("probe/matched-v0").model
    assert policy.act(torch.tensor([[-1.0], [1.0]])).tolist() == [0, 1]


def test_a_continuous_action_finds_the_best_number() -> None:
    learner = learned("probe/near-v0", steps=30_000)
    assert learner.model.act(torch.ones(1, 1)).item() == pytest.approx(0.5, abs=0.1)
    assert learner.model.head.log_std.item() < -0.5  # and grows sure of it


def test_several_discrete_numbers_are_chosen_together() -> None:
    assert learned("probe/pair-v0").model.act(torch.ones(2, 1)).tolist() == [[1, 2], [1, 2]]
    assert learned("probe/switches-v0").model.act(torch.ones(1, 1)).tolist() == [[1, 0, 1]]


def test_no_forbidden_action_is_ever_taken_and_the_best_allowed_one_is_learned() -> None:
    learner = learned("probe/masked-v0", entropy_coef=0.01)  # the probe fails when a mask is not kept
    assert learner.spaces.masked
    seen = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    assert learner.model.act(seen).tolist() == [1, 0]
    drawn = learner.model.act(seen[1:].expand(1000, 4), torch.Generator().manual_seed(0))
    assert drawn.unique().tolist() == [0]
    with torch.no_grad():
        assert learner.model.head.entropy(learner.model(seen)[0])[1].item() == 0.0


def test_normalised_rewards_have_the_worth_of_their_deviation() -> None:
    # S is 1 in every episode of one step: no deviation, so rewards stay as they are. In the endless probe S
    # is 1, 1.5, 1.75 in turn.
    assert value(learned("probe/constant-v0", normalise_reward=True), 1.0) == [pytest.approx(1.0, abs=0.05)]
    sums = torch.tensor([1.0, 1.5, 1.75])
    worth = 2.0 / sums.std(correction=0).item()
    found = value(learned("probe/endless-v0", normalise_reward=True), 1.0)
    assert found == [pytest.approx(worth, rel=0.1)]


def test_normalised_observations_are_saved_with_the_model_and_rest_while_it_acts() -> None:
    learner = learned("probe/matched-v0", normalise_obs=True, steps=4_000)
    before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    assert before["norm.count"].item() == learner.step
    assert learner.model.act(torch.tensor([[-1.0], [1.0]])).tolist() == [0, 1]
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.model.state_dict().items())


def test_epochs_end_when_the_policy_has_moved_too_far() -> None:
    moved = {}
    for kl_stop in (0.0, 1e-4):
        cfg = ppo.Config(epochs=20, lr=1e-2, kl_stop=kl_stop, run=RunConfig(device="cpu"))
        envs = make(cfg.env, cfg.num_envs, seed=0)
        learner = ppo.Learner(cfg, envs.spaces)
        next(ppo.train(cfg, learner, envs))
        moved[kl_stop] = learner.optimizer.count
    assert moved[0.0] == 20 * 4
    assert moved[1e-4] == 4


def test_a_sampled_action_is_not_always_the_best_one() -> None:
    policy = ActorCritic(ppo.Config(), Spaces(4, discrete=2))
    generator = torch.Generator().manual_seed(0)
    assert 50 < policy.act(torch.zeros(200, 4), generator).sum() < 150


def test_other_seeds_learn_other_weights() -> None:
    cfg = ppo.Config()
    spaces = Spaces(4, discrete=2)
    first, second, again = (
        ppo.Learner(replace(cfg, run=RunConfig(seed=seed)), spaces).model.net[0].weight for seed in (0, 1, 0)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_a_rollout_of_resets_only_teaches_nothing() -> None:
    cfg = ppo.Config(num_envs=1, rollout=1, run=RunConfig(steps=60, device="cpu"))
    envs = make(cfg.env, 1, seed=0)
    learner = ppo.Learner(cfg, envs.spaces)
    for _ in ppo.train(cfg, learner, envs):
        assert all(weight.isfinite().all() for weight in learner.model.parameters())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"gamma": 1.5}, "gamma is 1.5"),
        ({"minibatch": 0}, "minibatch is 0"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"clip": float("inf")}, "clip is inf"),
        ({"hidden": (64, 0)}, "hidden is 64 0"),
        ({"value_coef": float("nan")}, "value_coef is nan"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ppo.Config(**setting)


def test_averaged_weights_act_and_change_nothing_that_is_learned(tmp_path: Path) -> None:
    def nets(average: float) -> tuple[ppo.Learner, list[dict[str, torch.Tensor]]]:
        """A learner after three iterations, and what its net was before, between and after them."""
        cfg = ppo.Config(env="probe/matched-v0", hidden=(8,), average=average, run=RunConfig(steps=3 * 1_024))
        envs = make(cfg.env, cfg.num_envs, seed=0)
        learner = ppo.Learner(cfg, envs.spaces)
        found = [copy.deepcopy(learner.model.net.state_dict())]
        for _ in ppo.train(cfg, learner, envs):
            found.append(copy.deepcopy(learner.model.net.state_dict()))
        return learner, found

    learner, states = nets(0.15)
    assert learner.model.smooth is not None
    torch.testing.assert_close(states, nets(0.0)[1], rtol=0, atol=0)
    by_hand = states[0]
    for net, decay in zip(states[1:], (0.1, 0.15, 0.15), strict=True):  # 1/10, then 2/11 is past 0.15
        by_hand = {name: decay * by_hand[name] + (1 - decay) * now for name, now in net.items()}
    torch.testing.assert_close(dict(learner.model.smooth.state_dict()), by_hand)

    obs, noise = torch.linspace(-1, 1, 101)[:, None], torch.Generator()
    acted = learner.model.act(obs, noise.manual_seed(0))
    assert torch.equal(learner.model(obs)[0], learner.model.smooth(obs)[:, :2])
    registry.save(tmp_path / "model", "ppo", learner)
    assert torch.equal(registry.load(tmp_path / "model").policy.act(obs, noise.manual_seed(0)), acted)
    learner.model.net.load_state_dict(states[0])
    assert torch.equal(learner.model.act(obs, noise.manual_seed(0)), acted)
    learner.model.smooth.load_state_dict(states[0])
    assert not torch.equal(learner.model.act(obs, noise.manual_seed(0)), acted)
