"""What a camera shows, made small: grey, 84 by 84 pixels, the last four frames (Mnih et al., 2015,
doi:10.1038/nature14236, methods).

Differs from the paper: frames are shrunk by averaging areas; Atari's `ALE/...-v5` skips frames by itself and
repeats actions at random (Machado et al., 2018, arXiv:1709.06009), and no maximum over two frames is taken.
"""

from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from envs.spaces import of_pixels

SIDE = 84  # pixels
STACK = 4  # frames
LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue are (ITU-R BT.601)


def colours(space: gym.Space) -> bool:
    """Whether a space is of pictures (H, W, 1 or 3) of bytes."""
    return of_pixels(space) and space.shape is not None and space.shape[-1] in (1, 3)


def small(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 1 or 3) of bytes as a grey one (SIDE, SIDE)."""
    pixels: Tensor = torch.from_numpy(picture).float()
    grey = pixels @ torch.tensor(LUMA) if picture.shape[-1] == 3 else pixels[..., 0]
    return F.adaptive_avg_pool2d(grey[None], SIDE)[0].round().byte().numpy()


class Pictures(gym.Wrapper):
    """Shows the last STACK frames (STACK, SIDE, SIDE), the oldest first; an episode's first fills all."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.observation_space = gym.spaces.Box(0, 255, (STACK, SIDE, SIDE), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        self._frames = deque([small(obs)] * STACK, STACK)
        return np.stack(self._frames), info

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """Acts."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._frames.append(small(obs))
        return np.stack(self._frames), reward, terminated, truncated, info
