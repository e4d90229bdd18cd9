"""Episodes that can be watched."""

import base64
import io
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image

import tests.probes  # noqa: F401  (registers them)
from agents import ppo
from envs.drawing import film, render
from envs.faults import Fault
from envs.recording import record
from lab.commands import report
from lab.learning import learn
from lab.pictures import BETWEEN_MS, WIDTH, gif
from training.errors import InputError
from training.run import RunConfig


def pushing(obs: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(obs), dtype=torch.int64)


def test_a_film_has_every_second_step_of_one_episode() -> None:
    frames, total = film(pushing, "CartPole-v1", seed=0)
    again, _ = film(pushing, "CartPole-v1", seed=0, every=1)
    assert total == len(again) - 1  # CartPole pays 1 a step
    assert len(frames) == 1 + (int(total) + 1) // 2
    np.testing.assert_array_equal(frames[1], again[2])
    assert (frames[0] != frames[-1]).any()
    short, paid = film(pushing, "CartPole-v1", seed=0, most=3)
    assert (len(short), paid) == (3, 4.0)


class Small(gym.Env):
    """Takes numbers of 64 bits within bounds that 32 bits round outwards, and draws itself."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  (as Gymnasium has it)
    observation_space = gym.spaces.Box(-1.0, 1.0, (1,))
    action_space = gym.spaces.Box(-0.1, 0.1, (1,), np.float64)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple:
        assert self.action_space.contains(action)
        return np.zeros(1, np.float32), 1.0, False, False, {}

    def render(self) -> np.ndarray:  # type: ignore[override]
        return np.zeros((8, 8, 3), np.uint8)


gym.register("probe/small-v0", Small)


def test_what_is_drawn_gets_the_actions_that_are_recorded() -> None:
    def far(obs: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(obs), 1)

    assert record(far, "probe/small-v0", [0], max_steps=4).returns.tolist() == [4.0]
    assert film(far, "probe/small-v0", seed=0, most=3)[1] == 4.0
    assert len(render(far, "probe/small-v0", 0, Fault(kind="none"), [0, 4])) == 2


def test_a_gif_holds_all_frames_small() -> None:
    frames = [np.full((400, 600, 3), 40 * i, np.uint8) for i in range(5)]
    picture = Image.open(io.BytesIO(gif(frames)))
    assert (picture.n_frames, picture.size, picture.info["duration"]) == (5, (WIDTH, 200), BETWEEN_MS)  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:.*render_mode")  # Gymnasium says it too
def test_environments_that_draw_nothing_are_refused() -> None:
    with pytest.raises(InputError, match=r"probe/counter-v0.*(cannot be made|draws no pictures)"):
        film(pushing, "probe/counter-v0", seed=0)


def test_a_report_shows_an_episode(tmp_path: Path) -> None:
    run = RunConfig(steps=64, device="cpu", wandb="disabled", evaluate_every=0, log_every=32)
    learn("ppo", ppo.Config(num_envs=4, rollout=8, minibatch=32, run=run), tmp_path / "run")
    report.main([str(tmp_path / "run"), "--video"])
    video = (tmp_path / "run" / "episode.gif").read_bytes()
    assert video.startswith(b"GIF8")
    assert base64.b64encode(video).decode() in (tmp_path / "run" / "report.html").read_text()
