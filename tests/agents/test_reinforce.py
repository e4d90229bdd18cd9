import gymnasium as gym
import pytest
import torch

import tests.probes
from agents import reinforce
from envs import Transition, make
from training.errors import InputError
from training.run import RunConfig


def learned(env: str, steps: int = 20_000, **settings: object) -> reinforce.Learner:
    run = RunConfig(steps=steps, device="cpu")
    told = {"gamma": tests.probes.GAMMA, "rollout": 8, "hidden": (32,), "lr": 1e-2} | settings
    cfg = reinforce.Config(env=env, run=run, **told)
    envs = make(env, cfg.num_envs, seed=0)
    learner = reinforce.Learner(cfg, envs.spaces)
    for _ in reinforce.train(cfg, learner, envs):
        pass
    return learner


def value(learner: reinforce.Learner, *seen: float) -> list[float]:
    with torch.no_grad():
        return learner.model(torch.tensor(seen)[:, None])[1].tolist()


def test_the_loss_by_hand() -> None:
    log_prob = torch.tensor([-1.0, -2.0], requires_grad=True)
    baseline = torch.tensor([1.0, 5.0], requires_grad=True)
    entropy = torch.tensor([0.5, 0.7], requires_grad=True)
    ret = torch.tensor([3.0, 4.0])
    loss, metrics = reinforce.reinforce_loss(
        log_prob, baseline, ret, entropy, value_coef=0.5, entropy_coef=0.1
    )
    assert metrics["loss/policy"].item() == pytest.approx(0.0)  # −(2 · −1 + −1 · −2) / 2
    assert metrics["loss/value"].item() == pytest.approx(2.5)  # (4 + 1) / 2
    assert loss.item() == pytest.approx(0.0 + 0.5 * 2.5 - 0.1 * 0.6)
    by_log_prob, by_value, by_entropy = torch.autograd.grad(loss, (log_prob, baseline, entropy))
    assert by_log_prob.tolist() == [-1.0, 0.5]  # −(G − V) / 2
    assert by_value.tolist() == [-1.0, 0.5]  # c_V · −2 (G − V) / 2: nothing from the first term
    assert by_entropy.tolist() == [pytest.approx(-0.05)] * 2


def test_returns_by_hand_at_each_kind_of_end() -> None:
    flags = torch.tensor([[False, False, False], [True, False, False], [False, True, False]])
    zeros = torch.zeros(3, 3, 1)
    reward = torch.tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [4.0, 4.0, 4.0]])
    rollout = Transition(
        zeros,
        zeros[..., 0],
        reward,
        terminated=flags & torch.tensor([True, False, False]),
        truncated=flags & torch.tensor([False, True, False]),
        next_obs=zeros,
        valid=torch.ones(3, 3, dtype=torch.bool),
    )
    ret, whole = reinforce.returns(rollout, torch.full((3, 3), 8.0), gamma=0.5)
    # the first terminates after two steps; the second is cut off after three, where 8 is still to come
    assert ret[:, 0].tolist() == [2.0, 2.0, 4.0]
    assert ret[:, 1].tolist() == [4.0, 6.0, 8.0]
    assert whole.tolist() == [[True, True, False], [True, True, False], [False, True, False]]


def test_every_row_is_learned_from_once_when_its_episode_has_ended() -> None:
    cfg = reinforce.Config(env="probe/counter-v0", num_envs=3, rollout=4, gamma=1.0)
    envs = make(cfg.env, cfg.num_envs, seed=0)
    learner = reinforce.Learner(cfg, envs.spaces)
    seen = []
    for _ in range(10):
        obs, _, ret = learner.collect(envs)
        terminates = obs[:, 0] % 2 == 0  # after 2 steps, whose rewards are 1 and 2
        assert ret[terminates].tolist() == [3.0 - row[1] for row in obs[terminates].tolist()]
        seen.append(obs)
    rows = torch.cat(seen)
    places, counts = rows.unique(dim=0, return_counts=True)
    assert counts.unique().tolist() == [3]  # once in each environment
    assert len(places) >= 38
    assert len(learner.waiting[0]) < 3


class Unending(tests.probes.Probe):
    """Never ends, and no time limit cuts it off."""


gym.register("probe/unending-v0", Unending, kwargs={"kind": "endless"})


def test_a_run_in_which_no_episode_ends_is_given_up_by_name() -> None:
    with pytest.raises(InputError, match="no episode has ended in 640 steps, more than half of the run"):
        learned("probe/unending-v0", steps=1_024)


def test_a_constant_reward_is_worth_itself() -> None:
    assert value(learned("probe/constant-v0"), 1.0) == [pytest.approx(1.0, abs=0.05)]


def test_a_delayed_reward_is_discounted_once() -> None:
    found = value(learned("probe/delayed-v0"), 0.0, 1.0)
    assert found == [pytest.approx(tests.probes.GAMMA, abs=0.05), pytest.approx(1.0, abs=0.05)]


def test_a_time_limit_bootstraps() -> None:
    assert value(learned("probe/endless-v0"), 1.0) == [pytest.approx(2.0, abs=0.15)]


def test_the_action_follows_what_is_seen() -> None:
    policy = learned("probe/matched-v0").model
    assert policy.act(torch.tensor([[-1.0], [1.0]])).tolist() == [0, 1]


def test_a_continuous_action_finds_the_best_number() -> None:
    learner = learned("probe/near-v0", steps=40_000)
    assert learner.model.act(torch.ones(1, 1)).item() == pytest.approx(0.5, abs=0.1)
