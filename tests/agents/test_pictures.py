"""What cameras show: made small, kept once, learned from."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents import ppo, registry
from agents.evaluation import evaluate
from agents.parts.frames import Frames
from agents.parts.pictures import Convolutions, body
from agents.parts.replay import Replay, Windows
from envs import Spaces, Transition, make
from envs.pictures import SIDE, STACK, small
from envs.vector import make_one
from lab.learning import learn
from training.errors import InputError
from training.run import RunConfig


class Camera(gym.Env):
    """Shows a bright half, left or right, in colour; pays for the action that says which. Three steps."""

    observation_space = gym.spaces.Box(0, 255, (60, 48, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)
    length = 3

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        self.steps = 0
        return self._see(), {}

    def step(self, action: Any) -> tuple:
        reward, self.steps = float(action == self.side), self.steps + 1
        return self._see(), reward, self.steps == self.length, False, {}

    def _see(self) -> np.ndarray:
        self.side = int(self.np_random.integers(2))
        picture = self.np_random.integers(0, 40, (60, 48, 3)).astype(np.uint8)
        picture[:, 24 * self.side : 24 * self.side + 24] += 200
        return picture


gym.register("probe/camera-v0", Camera)


def rollout(envs: Any, steps: int) -> Transition:
    """Rows of actions that change from step to step."""
    actions = torch.arange(steps * envs.num_envs).reshape(steps, -1) % 2
    return Transition.stack([envs.step(action) for action in actions])


def test_pictures_are_grey_small_and_stacked() -> None:
    red, grey = np.zeros((168, 168, 3), np.uint8), np.full((210, 160, 1), 7, np.uint8)
    red[:84, :, 0] = 100
    assert small(red)[:42].tolist() == [[30] * SIDE] * 42  # 0.299 · 100
    assert (small(red)[42:] == 0).all()
    assert (small(grey) == 7).all()
    one = make_one("probe/camera-v0")
    first, _ = one.reset(seed=0)
    second, *_ = one.step(0)
    assert first.shape == (STACK, SIDE, SIDE)
    assert (first == first[0]).all()  # an episode's first frame fills the stack
    np.testing.assert_array_equal(second[:-1], first[1:])
    assert (second[-1] != first[-1]).any()


def test_the_convolutions_are_those_of_the_paper() -> None:
    eyes = Convolutions((4, 84, 84))
    assert eyes.features == 64 * 7 * 7
    assert sum(p.numel() for p in eyes.parameters()) == 32 * (4 * 64 + 1) + 64 * (32 * 16 + 1) + 64 * (
        64 * 9 + 1
    )
    pictures = torch.randint(256, (2, 3, 4 * 84 * 84)).float()
    assert eyes(pictures).shape == (2, 3, 3136)
    torch.testing.assert_close(eyes(pictures)[1, 2], eyes.net(pictures[1, 2].reshape(1, 4, 84, 84) / 255)[0])
    with pytest.raises(InputError, match=r"pictures are \(3, 20, 40\), expected 36 pixels"):
        body(Spaces(2400, discrete=2, picture=(3, 20, 40)), (64,), 2, "relu")


def test_a_replay_of_pictures_gives_back_what_was_seen_and_keeps_frames_once() -> None:
    envs = make("probe/camera-v0", 3, seed=0)
    plain = Replay(200, Windows(2, 0.9))
    thrifty = Replay(200, Windows(2, 0.9), picture=envs.spaces.picture)
    for _ in range(3):
        rows = rollout(envs, 7)
        np.testing.assert_array_equal(plain.add(rows), thrifty.add(rows))
    index = torch.arange(len(plain))
    assert len(plain) == 3 * (3 * 7 - 1)
    for ours, theirs in zip(thrifty.take(index), plain.take(index), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert thrifty.frames is not None
    assert thrifty.frames.added == 3 * (21 + 7)  # one a step, one for each beginning
    assert thrifty.frames.store.dtype == torch.uint8


def test_frames_go_on_where_they_were() -> None:
    envs = make("probe/camera-v0", 2, seed=0)
    one, other = (Replay(50, Windows(1, 0.9), picture=envs.spaces.picture) for _ in range(2))
    one.add(rollout(envs, 5))
    other.load_state_dict(one.state_dict())
    rows = rollout(envs, 5)
    one.add(rows)
    other.add(rows)
    for a, b in zip(one.take(torch.arange(20)), other.take(torch.arange(20)), strict=True):
        assert torch.equal(a, b)
    assert other.frames is not None
    assert other.frames.added == one.frames.added  # type: ignore[union-attr]


def test_old_frames_give_way_and_are_missed_when_they_are_still_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agents.parts.replay.SPARE", 20)
    envs = make("probe/camera-v0", 2, seed=0)
    replay = Replay(24, Windows(1, 0.9), picture=envs.spaces.picture)
    plain = Replay(24, Windows(1, 0.9))
    for _ in range(6):
        rows = rollout(envs, 6)
        replay.add(rows)
        plain.add(rows)
    assert torch.equal(replay.take(torch.arange(24)).obs, plain.take(torch.arange(24)).obs)
    assert replay.frames is not None
    assert replay.frames.added > 2 * replay.frames.room  # frames have given way
    replay.frames = Frames(envs.spaces.picture, 20)
    with pytest.raises(InputError, match="its frames do not suffice"):
        replay.add(rollout(envs, 12))


class Colours(Camera):
    """Shows noise in colour, channels first."""

    observation_space = gym.spaces.Box(0, 255, (3, 36, 36), np.uint8)
    length = 20

    def _see(self) -> np.ndarray:
        self.side = 0
        return self.np_random.integers(0, 256, (3, 36, 36), np.uint8)


class ForbiddingColours(Colours):
    """Forbids an action."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        return super().reset(seed=seed)[0], {"action_mask": np.array([1, 0], np.int8)}


gym.register("probe/colours-v0", Colours)
gym.register("probe/forbidding-colours-v0", ForbiddingColours)


def test_channels_that_are_no_stack_of_frames_are_kept_whole() -> None:
    envs = make("probe/colours-v0", 2, seed=0)
    replay, plain = (
        Replay(2_000, Windows(1, 0.9), picture=envs.spaces.picture),
        Replay(2_000, Windows(1, 0.9)),
    )
    for _ in range(3):
        rows = rollout(envs, 500)
        replay.add(rows)
        plain.add(rows)
    index = torch.arange(2_000)
    for ours, theirs in zip(replay.take(index), plain.take(index), strict=True):
        assert torch.equal(ours, theirs)
    assert replay.frames is not None
    assert replay.frames.store.shape[1] == 3 * 36 * 36


def test_pictures_with_a_mask_are_refused() -> None:
    with pytest.raises(InputError, match="shows pictures and gives an action_mask, expected one of them"):
        make("probe/forbidding-colours-v0", 2, seed=0)


@pytest.mark.parametrize("kind", ["ppo", "pqn", "dqn", "rainbow"])
def test_agents_learn_from_pictures(kind: str, tmp_path: Path) -> None:
    run = RunConfig(steps=600, device="cpu", wandb="disabled", evaluate_every=0)
    if kind in ("ppo", "pqn"):
        options: dict[str, Any] = {"num_envs": 8, "rollout": 15, "minibatch": 60}
    else:
        options = {"num_envs": 4, "collect": 10, "updates": 4, "batch": 32, "warm_up": 40, "replay": 400}
    if kind in ("pqn", "dqn"):
        options |= {"explore_steps": 200}
    cfg = registry.MODULES[kind].Config(env="probe/camera-v0", gamma=0.0, run=run, **options)
    learn(kind, cfg, tmp_path / "run")
    agent = registry.load(tmp_path / "run" / "model")
    assert agent.spaces.picture == (STACK, SIDE, SIDE)
    assert evaluate(agent.policy.act, "probe/camera-v0", 10, seed=0).returns.mean() > 2.7


def test_algorithms_without_eyes_are_refused_by_name(tmp_path: Path) -> None:
    from agents import sac

    with pytest.raises(InputError, match="probe/camera-v0 shows pictures, expected one of a2c, dqn, ppo"):
        learn("sac", sac.Config(env="probe/camera-v0"), tmp_path / "run")
    with pytest.raises(InputError, match="pictures need one shared network"):
        ppo.Learner(ppo.Config(shared=False), Spaces(4 * 84 * 84, discrete=2, picture=(4, 84, 84)))


def test_atari_is_seen_and_played() -> None:
    pytest.importorskip("ale_py")
    envs = make("ALE/Pong-v5", 2, seed=0)
    assert envs.spaces == Spaces(4 * 84 * 84, discrete=6, picture=(4, 84, 84))
    rows = rollout(envs, 3)
    assert rows.obs.shape == (3, 2, 4 * 84 * 84)
    assert not torch.equal(rows.obs[0], rows.obs[2])
    envs.close()
