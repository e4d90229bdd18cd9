"""Episodes as pictures: frames of one that is played, drawn in memory, so that no screen is needed."""

import os
import sys
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch

from envs.faults import Fault, FaultyEnv
from envs.recording import Act, act_once
from envs.replayable import Replayable
from envs.spaces import Spaces
from envs.vector import make_one
from training.errors import InputError


def draw_unseen() -> None:
    """Tells what draws environments to do it in memory: no screen is needed."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")


def frame(env: gym.Env) -> np.ndarray:
    """A picture (H, W, 3) of an environment as it is now; raises InputError where it cannot be drawn."""
    try:
        return np.asarray(env.render())
    except Exception as error:  # whatever graphics libraries raise where they find no device
        name = env.spec and env.spec.id
        raise InputError(f"{name} cannot be drawn here: {' '.join(str(error).split())}") from error


def render(act: Act, env: str, seed: int, fault: Fault, steps: Sequence[int]) -> list[np.ndarray]:
    """Frames (H, W, 3) of one episode before the given steps; of its last one where it ended earlier.

    Raises:
        InputError: where it cannot be drawn.
    """
    draw_unseen()
    one = FaultyEnv(Replayable(make_one(env, render_mode="rgb_array")), fault)
    spaces = Spaces.of(one.observation_space, one.action_space, env)
    obs, _ = one.reset(seed=seed)
    frames, ended = [], False
    getattr(act, "begin", lambda: None)()
    for step in range(max(steps) + 1):
        if step in steps:
            frames.append(frame(one))
        if not ended:
            obs, _, terminated, truncated, _ = one.step(act_once(act, obs, spaces))
            ended = terminated or truncated
    one.close()
    return frames


def drawing(env: str) -> gym.Env:
    """One environment called `env` that draws its frames.

    Raises:
        InputError: for an environment that draws no pictures, or none here.
    """
    draw_unseen()
    one = Replayable(make_one(env, render_mode="rgb_array"))
    if "rgb_array" not in one.metadata.get("render_modes", ()):
        one.close()
        raise InputError(f"{env} draws no pictures, expected rgb_array among its render_modes")
    return one


def film(
    act: Act, env: str, seed: int, device: torch.device | str = "cpu", *, every: int = 2, most: int = 300
) -> tuple[list[np.ndarray], float]:
    """Frames (H, W, 3) of one episode, one in `every` steps and at most so many; and its return up to there.

    The errors are those of `drawing`.
    """
    one = drawing(env)
    spaces = Spaces.of(one.observation_space, one.action_space, env)
    obs, _ = one.reset(seed=seed)
    frames, total, ended = [frame(one)], 0.0, False
    getattr(act, "begin", lambda: None)()
    while not ended and len(frames) < most:
        for _ in range(every):
            obs, reward, terminated, truncated, _ = one.step(act_once(act, obs, spaces, device))
            total, ended = total + float(reward), terminated or truncated
            if ended:
                break
        frames.append(frame(one))
    one.close()
    return frames, total
