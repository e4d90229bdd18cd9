"""Rows of pixels as one PNG; frames as a GIF, which every browser plays without anything from outside."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

SMALLEST = 32  # pixels that a picture's smaller side is at least blown up to
GAP = 2  # pixels between pictures
WIDTH, COLOURS, BETWEEN_MS = 300, 64, 40  # of a GIF: pixels at most, colours, from frame to frame


def grid(x: np.ndarray, shape: tuple[int, ...], columns: int = 8) -> np.ndarray:
    """Pictures (N, C·H·W) of one shape (C, H, W) in rows of `columns`, as bytes (height, width, 3)."""
    channels, height, width = shape
    low, high = float(x.min()), float(x.max())
    pixels = (x.astype(np.float64) - low) / (high - low if high > low else 1.0)
    pictures = pixels.reshape(-1, *shape)[:, : 3 if channels >= 3 else 1].transpose(0, 2, 3, 1)
    pictures = np.broadcast_to(pictures, (*pictures.shape[:3], 3))
    factor = max(1, -(-SMALLEST // min(height, width)))
    pictures = pictures.repeat(factor, 1).repeat(factor, 2)
    tall, wide = pictures.shape[1] + GAP, pictures.shape[2] + GAP
    rows = -(-len(pictures) // columns)
    sheet = np.ones((rows * tall + GAP, columns * wide + GAP, 3))
    for place, picture in enumerate(pictures):
        top, left = GAP + place // columns * tall, GAP + place % columns * wide
        sheet[top : top + tall - GAP, left : left + wide - GAP] = picture
    return np.round(sheet * 255).astype(np.uint8)


def beside(*x: np.ndarray) -> np.ndarray:
    """The first row of each array, then the second of each, ...: for grids that show pairs."""
    return np.stack(x, axis=1).reshape(-1, x[0].shape[1])


def png(pixels: np.ndarray) -> bytes:
    """The PNG of bytes (height, width, 3), or of numbers (height, width) from dark to bright."""
    if pixels.ndim == 2:
        low, high = float(pixels.min()), float(pixels.max())
        bytes_ = np.round((pixels - low) / (high - low if high > low else 1.0) * 255).astype(np.uint8)
        pixels = bytes_.repeat(SMALLEST, 0).repeat(SMALLEST, 1)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


def gif(frames: Sequence[np.ndarray]) -> bytes:
    """Frames (H, W, 3) of bytes as a GIF that repeats, no wider than WIDTH."""
    drawn = []
    for frame in frames:
        picture = Image.fromarray(frame)
        picture.thumbnail((WIDTH, WIDTH))
        drawn.append(picture.quantize(COLOURS))
    out = io.BytesIO()
    drawn[0].save(
        out, "GIF", save_all=True, append_images=drawn[1:], duration=BETWEEN_MS, loop=0, optimize=True
    )
    return out.getvalue()
