"""What is learned, in pictures, at every evaluation: what models make of pictures, how agents play."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Num
from torch import Tensor

from envs.drawing import film
from envs.recording import Act
from generative.parts.bounds import kl_per_dimension
from lab.pictures import beside, gif, grid, png
from training.files import writing
from training.networks import evaluating

FOLDER = "pictures"
SAMPLES, PAIRS = 64, 16
DIRECTIONS, STEPS, REACH = 8, 8, 2.5  # latent dimensions of a traversal, values of each, how far they go


@torch.no_grad()
def snapshots(
    model: Any,
    x: Num[Tensor, "B D"],
    y: Int[Tensor, " B"] | None,
    shape: tuple[int, ...],
    run: Path,
    step: int,
) -> Mapping[str, Path]:
    """The files of samples, reconstructions of unseen rows x and a traversal, where the model has them."""
    y = y if getattr(model, "classes", 0) else None
    sheets = {}
    with evaluating(model):
        if hasattr(model, "sample"):
            sheets["samples"] = grid(_numpy(model.sample(SAMPLES, 0)), shape)
        if hasattr(model, "encode") and hasattr(model, "decode"):
            told = () if y is None else (y[:PAIRS],)
            x_hat = model.decode(model.encode(x[:PAIRS], *told), *told)
            sheets["reconstructions"] = grid(beside(_numpy(x[:PAIRS]), _numpy(x_hat)), shape)
        if hasattr(model, "posterior"):
            sheets["traversal"] = grid(_traversal(model, x, y), shape, STEPS)
    return {f"sample/{name}": _write(run, f"{name}_{step}.png", png(sheet)) for name, sheet in sheets.items()}


def episode(act: Act, env: str, seed: int, device: torch.device, run: Path, step: int) -> Mapping[str, Path]:
    """The file of an episode that an agent plays."""
    frames, _ = film(act, env, seed, device)
    return {"sample/episode": _write(run, f"episode_{step}.gif", gif(frames))}


def taken(run: Path) -> dict[str, list[tuple[int, Path]]]:
    """The files that a run's snapshots left, by kind, with their steps."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for file in (file for ending in ("png", "gif") for file in (run / FOLDER).glob(f"*_*.{ending}")):
        name, _, step = file.stem.rpartition("_")
        if step.isdigit() and not file.is_symlink():
            found.setdefault(name, []).append((int(step), file))
    return {name: sorted(files) for name, files in sorted(found.items())}


def _write(run: Path, name: str, content: bytes) -> Path:
    (run / FOLDER).mkdir(exist_ok=True)
    with writing(run / FOLDER / name) as out:
        out.write(content)
    return run / FOLDER / name


def _traversal(model: Any, x: Tensor, y: Tensor | None) -> np.ndarray:
    """Each row of pictures is one row of data, one of its latent dimensions going from low to high.

    The numbers are those that carry most, so that an unused one takes no room.
    """
    mean, log_var = model.posterior(model.scaled(x), y)
    order = kl_per_dimension(mean, log_var).mean(0).argsort(descending=True)[:DIRECTIONS]
    z = mean[:1].repeat(len(order) * STEPS, 1)
    values = torch.linspace(-REACH, REACH, STEPS, device=z.device)
    z[torch.arange(len(z)), order.repeat_interleave(STEPS)] = values.repeat(len(order))
    return _numpy(model.decode(z, None if y is None else y[:1].repeat(len(z))))


def _numpy(x: Tensor) -> np.ndarray:
    return x.double().cpu().numpy()
