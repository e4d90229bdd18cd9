import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from envs.drawing import frame, render
from envs.faults import Fault
from envs.recording import Episodes, record
from tests.processes import run
from training.errors import InputError


def right(obs: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(obs), dtype=torch.int64)


def test_recorded_episodes_are_what_gymnasium_plays() -> None:
    episodes = record(right, "CartPole-v1", [7, 8])
    env = gym.make("CartPole-v1")
    for i, seed in enumerate([7, 8]):
        obs, _ = env.reset(seed=seed)
        start, ended = episodes.starts[i], False
        for row in range(start, start + episodes.length[i]):
            np.testing.assert_array_equal(episodes.obs[row], obs)
            obs, reward, terminated, truncated, _ = env.step(1)
            np.testing.assert_array_equal(episodes.next_obs[row], obs)
            assert (episodes.reward[row], episodes.terminated[row]) == (reward, terminated)
            ended = terminated or truncated
        assert ended
    assert episodes.returns.tolist() == episodes.length.tolist()


def test_an_episode_does_not_depend_on_those_beside_it() -> None:
    both, alone = record(right, "CartPole-v1", [3, 4]), record(right, "CartPole-v1", [4, 4])
    np.testing.assert_array_equal(both.obs[both.starts[1] :], alone.obs[alone.starts[1] :])


def test_an_episode_without_an_end_is_cut() -> None:
    episodes = record(right, "CartPole-v1", [0], max_steps=4)
    assert episodes.length.tolist() == [4]
    assert episodes.truncated.tolist() == [False, False, False, True]


def test_continuous_actions_are_recorded_as_the_environment_got_them() -> None:
    episodes = record(lambda obs: torch.full((len(obs), 1), 0.5), "Pendulum-v1", [0], max_steps=3)
    np.testing.assert_allclose(episodes.action, [[1.0]] * 3)


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    episodes = record(right, "CartPole-v1", range(3), [Fault(kind="noise", onset=2)] * 3)
    episodes.save(tmp_path / "deep" / "some.npz")
    again = Episodes.load(tmp_path / "deep" / "some.npz")
    for name, value in vars(episodes).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["some.npz"]


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.savez(tmp_path / "pickle.npz", obs=np.array([{}], dtype=object))
    for name in ("text", "other", "pickle", "missing"):
        with pytest.raises(InputError, match=rf"{name}\.npz cannot be read as recorded episodes"):
            Episodes.load(tmp_path / f"{name}.npz")


def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    arrays = vars(record(right, "CartPole-v1", [0]))
    np.savez(tmp_path / "short.npz", **{**arrays, "reward": arrays["reward"][:-1]})
    with pytest.raises(InputError, match=r"reward has \d+ rows, expected"):
        Episodes.load(tmp_path / "short.npz")


@pytest.mark.parametrize(
    "wrong",
    [
        {"first": np.array("x")},
        {"seed": np.array([0, 1])},
        {"seed": np.array([0.5])},
        {"action": np.array([-1])},
        {"action": np.array([2])},
        {"action": np.array([0.5])},
        {"length": np.array(1)},
        {"length": np.array([0, 1])},
        {"length": np.array([1.0])},
        {"obs": np.zeros(1)},
        {"next_obs": np.zeros((1, 3))},
        {"obs": np.array([["a"] * 4])},
        {"action": np.zeros((1, 1, 1))},
    ],
)
def test_episodes_that_cannot_be_are_refused(tmp_path: Path, wrong: dict) -> None:
    arrays = vars(record(right, "CartPole-v1", [0], max_steps=1))
    np.savez(tmp_path / "some.npz", **{**arrays, **wrong})
    with pytest.raises(InputError, match=r"some\.npz"):
        Episodes.load(tmp_path / "some.npz")


def test_columns_of_transitions_do_not_depend_on_the_actions_that_were_taken() -> None:
    names = [
        record(lambda o, a=a: torch.full((len(o),), a), "Acrobot-v1", [0], max_steps=2).transitions()[1]
        for a in (0, 2)
    ]
    assert names[0] == names[1]
    assert len(names[0]) == 6 + 3 + 6


def test_by_time_leaves_nan_after_an_end() -> None:
    episodes = record(right, "CartPole-v1", range(5))
    table = episodes.by_time(episodes.reward)
    assert table.shape == (5, episodes.length.max())
    np.testing.assert_array_equal((~np.isnan(table)).sum(1), episodes.length)


def test_frames_are_pictures_that_move() -> None:
    frames = render(right, "CartPole-v1", 0, Fault(kind="none"), [0, 5])
    assert frames[0].shape == (400, 600, 3)
    assert (frames[0] != frames[1]).any()


def test_what_cannot_be_drawn_is_told_in_one_line() -> None:
    class Blind(gym.Env):
        def render(self) -> None:
            raise RuntimeError("no\ndevice")

    with pytest.raises(InputError, match="cannot be drawn here: no device"):
        frame(Blind())


def test_a_policy_may_give_arrays() -> None:
    def tensors(obs: torch.Tensor) -> torch.Tensor:
        return (obs[:, 2] > 0).long()

    one, other = (record(act, "CartPole-v1", range(2)) for act in (tensors, lambda obs: tensors(obs).numpy()))
    np.testing.assert_array_equal(one.action, other.action)


def test_an_environment_is_named(tmp_path: Path) -> None:
    script = """
import gymnasium as gym
from envs.recording import record
record(lambda obs: obs, gym.make("CartPole-v1"), range(2))
"""
    said = run(sys.executable, "-c", script, cwd=tmp_path).stderr  # here the type alone would be refused
    assert said.strip().endswith("expected a Gymnasium id or module:Class")
