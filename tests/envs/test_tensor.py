"""Worlds in tensors are Gymnasium's, but for rounding; and vector environments like others."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from envs import make
from envs.worlds import WORLDS, wrapped
from training.errors import InputError

RANGES = {  # states far beyond what policies reach, on both sides of every end
    "CartPole-v1": ((-3, -4, -0.3, -4), (3, 4, 0.3, 4)),
    "Acrobot-v1": ((-np.pi, -np.pi, -12, -28), (np.pi, np.pi, 12, 28)),
    "Pendulum-v1": ((-20, -8), (20, 8)),
    "MountainCar-v0": ((-1.2, -0.07), (0.6, 0.07)),
    "MountainCarContinuous-v0": ((-1.2, -0.07), (0.6, 0.07)),
}


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("env", WORLDS)
def test_every_step_is_gymnasiums(env: str, kind: torch.dtype) -> None:
    rng, theirs = np.random.default_rng(0), gym.make(env).unwrapped
    states = rng.uniform(*RANGES[env], (3_000, len(RANGES[env][0]))).astype(np.float32)
    if isinstance(theirs.action_space, gym.spaces.Discrete):
        actions = rng.integers(theirs.action_space.n, size=3_000)
    else:
        actions = rng.uniform(-2.5, 2.5, (3_000, 1)).astype(np.float32)
        if env == "MountainCarContinuous-v0":
            actions /= 2.5  # beyond its bounds Gymnasium charges what it does not do
    world = WORLDS[env]
    reached, reward, ended = world.step(torch.from_numpy(states).to(kind), torch.from_numpy(actions))
    seen = world.look(reached)
    # Acrobot at full speed makes much of a rounding error within its four stages
    tolerance = 1e-6 if kind == torch.float64 else 5e-3 if env == "Acrobot-v1" else 1e-5
    ends = 0
    for i, (state, action) in enumerate(zip(states, actions, strict=True)):
        theirs.reset(seed=0)
        theirs.state = state.astype(np.float64)
        obs, paid, terminated, _, _ = theirs.step(action if action.ndim else int(action))
        np.testing.assert_allclose(seen[i], obs, rtol=1e-5, atol=tolerance)
        assert reward[i].item() == pytest.approx(paid, rel=1e-4, abs=1e-4)
        assert bool(ended[i]) == terminated
        ends += terminated
    assert ends > 10 or env == "Pendulum-v1"


@pytest.mark.parametrize("env", WORLDS)
def test_sizes_limits_and_beginnings_are_gymnasiums(env: str) -> None:
    assert WORLDS[env].limit == gym.spec(env).max_episode_steps
    envs = make(f"tensor/{env}", 5_000, seed=0)
    theirs = np.stack([gym.make(env).reset(seed=seed)[0] for seed in range(300)])
    ours = envs.obs.numpy()
    assert ours.dtype == theirs.dtype
    assert envs.spaces == make(env, 1, seed=0).spaces
    np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=0.15)
    np.testing.assert_allclose(ours.std(0), theirs.std(0), atol=0.1)
    assert (np.abs(theirs) <= np.abs(ours).max(0) * 1.02).all()


def test_ended_episodes_begin_again_in_the_same_step_and_are_counted() -> None:
    envs = make("tensor/CartPole-v1", 64, seed=0)
    lengths = torch.zeros(64)
    found: list[float] = []
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        before = envs.obs
        row = envs.step(torch.randint(2, (64,), generator=generator))
        assert torch.equal(row.obs, before)
        ended = row.terminated | row.truncated
        lengths += 1
        found += lengths[ended].tolist()
        lengths[ended] = 0
        assert (envs.obs[ended].abs() <= 0.05).all()
        assert torch.equal(envs.obs[~ended], row.next_obs[~ended])
        assert (row.next_obs[row.terminated][:, [0, 2]].abs() > torch.tensor([2.4, 0.2094])).any(1).all()
        assert row.valid.all()
    told = envs.episodes()
    assert told["episode/length"].tolist() == told["episode/return"].tolist() == found
    assert len(found) > 300
    assert envs.episodes() == {}


def test_a_time_limit_truncates() -> None:
    envs = make("tensor/Pendulum-v1", 3, seed=0)
    for step in range(1, 401):
        row = envs.step(torch.zeros(3, 1))
        assert row.truncated.tolist() == [step % 200 == 0] * 3
        assert not row.terminated.any()


def test_what_was_saved_goes_on_the_same_way() -> None:
    envs, other = (make("tensor/CartPole-v1", 8, seed=seed) for seed in (0, 1))
    actions = torch.randint(2, (120, 8), generator=torch.Generator().manual_seed(0))
    for action in actions[:60]:
        envs.step(action)
    other.load_state_dict(envs.state_dict())
    assert torch.equal(envs.obs, other.obs)
    for action in actions[60:]:
        assert all(map(torch.equal, envs.step(action), other.step(action)))
    theirs, ours = envs.episodes(), other.episodes()
    assert theirs["episode/length"].tolist() == ours["episode/length"].tolist()


def test_gymnasium_makes_them_too() -> None:
    envs = gym.make_vec("tensor/Pendulum-v1", num_envs=4)
    obs, _ = envs.reset(seed=0)
    assert obs.shape == envs.observation_space.shape == (4, 3)
    theirs = gym.make("Pendulum-v1").unwrapped
    theirs.reset(seed=0)
    theirs.state = np.array([np.arctan2(obs[0, 1], obs[0, 0]), obs[0, 2]])
    reached, reward, *_ = envs.step(np.full((4, 1), 1.5, np.float32))
    seen, paid, *_ = theirs.step(np.array([1.5], np.float32))
    np.testing.assert_allclose(reached[0], seen, atol=1e-5)
    assert reward[0] == pytest.approx(paid, abs=1e-4)
    for _ in range(199):
        _, _, _, truncated, info = envs.step(envs.action_space.sample())
    assert truncated.all()
    assert info["final_obs"][0].shape == (3,)


def test_other_worlds_are_refused() -> None:
    with pytest.raises(InputError, match="expected one of CartPole-v1"):
        make("tensor/LunarLander-v3", 2, seed=0)


def test_angles_are_wrapped_by_hand() -> None:
    angles = torch.tensor([0.0, 3.5, -3.5, 7.0])
    wanted = [0.0, 3.5 - 2 * np.pi, 2 * np.pi - 3.5, 7.0 - 2 * np.pi]
    assert wrapped(angles).tolist() == pytest.approx(wanted, abs=1e-6)
