import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

import tests.probes  # noqa: F401  (registers the probes)
from envs import Transition, VectorEnv, make
from envs.replayable import Replayable
from envs.spaces import Spaces
from training.errors import InputError
from training.state import pack, unpack


def played(envs: VectorEnv, steps: int) -> list[Transition]:
    zeros = torch.zeros(envs.num_envs, dtype=torch.int64)
    return [envs.step(zeros) for _ in range(steps)]


def counters(mode: AutoresetMode, kind: type = SyncVectorEnv, **options: object) -> VectorEnv:
    made = kind([lambda: gym.make("probe/counter-v0")] * 2, autoreset_mode=mode, **options)
    return VectorEnv(made, 0)


def story(transition_rows: list[Transition]) -> list[tuple]:
    """What happened in environment 1, row by row, where an action was taken."""
    rows = Transition.stack(transition_rows).map(lambda field: field[:, 1])
    kept = rows.map(lambda field: field[rows.valid])
    return list(
        zip(
            kept.obs.tolist(),
            kept.reward.tolist(),
            kept.terminated.tolist(),
            kept.truncated.tolist(),
            kept.next_obs.tolist(),
            strict=True,
        )
    )


EXPECTED = [
    ([0, 0], 1, False, False, [0, 1]),
    ([0, 1], 2, True, False, [0, 2]),
    ([1, 0], 1, False, False, [1, 1]),
    ([1, 1], 2, False, False, [1, 2]),
    ([1, 2], 3, False, True, [1, 3]),
    ([2, 0], 1, False, False, [2, 1]),
]


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
def test_every_autoreset_mode_tells_the_same_story(mode: AutoresetMode, kind: type) -> None:
    envs = counters(mode, kind)
    assert story(played(envs, 12))[: len(EXPECTED)] == EXPECTED
    envs.close()


def test_environments_that_reuse_their_memory_do_not_change_the_past() -> None:
    envs = counters(AutoresetMode.SAME_STEP, copy=False)
    assert story(played(envs, 8))[: len(EXPECTED)] == EXPECTED


def test_only_next_step_environments_have_rows_without_an_action() -> None:
    for mode in AutoresetMode:
        rows = Transition.stack(played(counters(mode), 10))
        assert bool(rows.valid.all()) == (mode != AutoresetMode.NEXT_STEP)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_episodes_are_counted_once_in_every_mode(mode: AutoresetMode) -> None:
    envs = counters(mode)
    played(envs, 12)
    found = envs.episodes()
    assert found["episode/length"][:4].tolist() == [2, 2, 3, 3]
    assert found["episode/return"][:4].tolist() == [3, 3, 6, 6]
    assert envs.episodes() == {}


def test_native_cartpole_steps_like_the_single_one() -> None:
    envs = make("CartPole-v1", 8, seed=1)
    single = gym.make("CartPole-v1").unwrapped
    generator = torch.Generator().manual_seed(0)
    compared = ends = 0
    for _ in range(400):
        exact = envs._envs.state.T.copy()  # the observation is this, rounded to float32
        t = envs.step(torch.randint(2, (8,), generator=generator))
        for i in range(8):
            if not t.valid[i]:
                continue
            single.reset()
            single.state = exact[i]
            obs, reward, terminated, _, _ = single.step(int(t.action[i]))
            np.testing.assert_allclose(t.next_obs[i].numpy(), obs, rtol=1e-6)
            assert (float(t.reward[i]), bool(t.terminated[i])) == (reward, terminated)
            compared, ends = compared + 1, ends + terminated
    assert compared > 3_000
    assert ends > 50


def test_continuous_actions_fill_the_bounds_and_are_clipped() -> None:
    envs = make("Pendulum-v1", 2, seed=0)
    high = torch.tensor(envs.spaces.high)
    actions = np.array([[-1.0], [0.0], [1.0], [7.0]], np.float32)
    np.testing.assert_allclose(envs.spaces.to_env(actions)[:, 0], np.array([-1, 0, 1, 1]) * high.item())


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_actions_never_leave_the_bounds(kind: type) -> None:
    """Not by the rounding of 32 bits either, whatever the bounds; sums of huge ones do not overflow."""
    bounds = np.random.default_rng(0).uniform(-3, 3, (500, 2)).round(2)
    low, high = np.append(bounds.min(1), -3e38), np.append(bounds.max(1) + 0.01, 3e38)
    box = gym.spaces.Box(low.astype(kind), high.astype(kind), dtype=kind)

    class Strict(gym.Env):
        observation_space, action_space = gym.spaces.Box(-1, 1, (2,)), box

        def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
            return np.zeros(2, np.float32), {}

        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
            assert self.action_space.contains(action)
            return np.zeros(2, np.float32), 0.0, False, False, {}

    env = Replayable(Strict())
    env.reset(seed=0)
    spaces = Spaces.of(env.observation_space, box, "strict")
    for told in (-1.0, 1.0, 0.999_999_9, 7.0):
        env.step(spaces.to_env(np.full((1, 501), told, np.float32))[0])


def test_actions_without_bounds_are_taken_as_they_are() -> None:
    low, high = np.float32([-2, -np.inf, 0]), np.float32([4, np.inf, np.inf])
    spaces = Spaces.of(gym.spaces.Box(-1, 1, (3,)), gym.spaces.Box(low, high), "some")
    given = np.float32([[0, 7, 5], [-1, -7, -5], [9, 0.5, 0.5]])
    assert spaces.to_env(given).tolist() == [[1, 7, 5], [-2, -7, 0], [4, 0.5, 0.5]]
    assert not spaces.bounded


def test_discrete_actions_may_start_anywhere() -> None:
    box = gym.spaces.Box(-1, 1, (3,))
    spaces = Spaces.of(box, gym.spaces.Discrete(3, start=-1), "some")
    assert spaces.to_env(np.array([0, 2])).tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("action", "choices"),
    [
        (gym.spaces.MultiDiscrete([2, 3]), (2, 3)),
        (gym.spaces.MultiBinary(3), (2, 2, 2)),
        (gym.spaces.MultiDiscrete([2, 3], start=[0, 1]), None),
        (gym.spaces.MultiDiscrete([[2, 3]]), None),
        (gym.spaces.MultiBinary((2, 2)), None),
        (gym.spaces.Box(0, 5, (2,), np.int32), None),
        (gym.spaces.Dict(a=gym.spaces.Discrete(2)), None),
    ],
)
def test_actions_of_several_discrete_numbers(action: gym.Space, choices: tuple[int, ...] | None) -> None:
    box = gym.spaces.Box(-1, 1, (3,))
    if choices is None:
        with pytest.raises(InputError, match=r"some has actions .* expected Discrete"):
            Spaces.of(box, action, "some")
    else:
        found = Spaces.of(box, action, "some")
        assert found.choices == choices
        assert action.contains(found.to_env(np.array([n - 1 for n in choices])))


def test_observations_of_other_kinds_are_flattened_by_gymnasiums_rule() -> None:
    envs = make("FrozenLake-v1", 3, seed=0)
    assert envs.spaces.obs == 16
    assert envs.obs.sum(1).tolist() == [1.0, 1.0, 1.0]


class Named(gym.Env):
    """Shows numbers with names."""

    observation_space = gym.spaces.Dict(
        {
            "speed": gym.spaces.Box(-9, 9, (2, 1)),
            "gear": gym.spaces.Discrete(3),
            "door": gym.spaces.MultiBinary(2),
        }
    )
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        speed = np.array([[7.0], [8.0]], np.float32)
        return {"speed": speed, "gear": np.int64(1), "door": np.array([0, 1], np.int8)}, {}


def test_observations_with_names_are_laid_out_in_the_order_of_names() -> None:
    gym.register("probe/named-v0", Named)
    assert make("probe/named-v0", 1, seed=0).obs.tolist() == [[0, 1, 0, 1, 0, 7, 8]]  # door, gear, speed


def test_unknown_and_unfit_environments_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"CartPole-v9.*cannot be made"):
        make("CartPole-v9", 2, seed=0)
    with pytest.raises(InputError, match="cannot be made"):
        make("no such thing", 2, seed=0)


@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1", "Pendulum-v1", "MountainCar-v0"])
def test_environments_go_on_from_their_state(env: str) -> None:
    def play(envs: VectorEnv, steps: int) -> Transition:
        rows = []
        for _ in range(steps):
            bounds = envs.spaces.actions
            seed = int(envs.obs.double().abs().sum() * 1_000)  # actions follow from what is seen
            generator = torch.Generator().manual_seed(seed)
            shape = (4,) if envs.spaces.discrete else (4, bounds)
            draw = torch.randint(bounds, shape, generator=generator) if envs.spaces.discrete else None
            rows.append(envs.step(draw if draw is not None else torch.rand(shape, generator=generator)))
        return Transition.stack(rows)

    first, second = make(env, 4, seed=5), make(env, 4, seed=99)
    play(first, 57)
    state = first.state_dict()
    tensors, rest = pack(state)
    second.load_state_dict(unpack(tensors, json.loads(json.dumps(rest))))
    for a, b in zip(play(first, 250), play(second, 250), strict=True):
        assert torch.equal(a, b)
    assert str(first.episodes()) == str(second.episodes())


def test_environments_of_somebody_else_say_that_they_cannot_be_saved() -> None:
    with pytest.raises(InputError, match="SyncVectorEnv cannot be saved"):
        counters(AutoresetMode.SAME_STEP).state_dict()


def test_an_environment_that_does_not_repeat_itself_is_found_out() -> None:
    class Own(gym.Env):
        observation_space = gym.spaces.Box(0, 1, (1,))
        action_space = gym.spaces.Discrete(2)
        own = np.random.default_rng()

        def reset(self, *, seed=None, options=None):
            return self.own.random(1, np.float32), {}

        def step(self, action):
            return self.own.random(1, np.float32), 0.0, False, False, {}

    gym.register("probe/own-v0", Own, max_episode_steps=20)
    first, second = make("probe/own-v0", 2, seed=0), make("probe/own-v0", 2, seed=0)
    played(first, 5)
    with pytest.raises(InputError, match="environment 0 did not repeat its episode"):
        second.load_state_dict(first.state_dict())
