"""Moving pictures for pages: GIFs, which every browser plays and which need nothing from outside."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

WIDTH = 300  # pixels
COLOURS = 64
BETWEEN_MS = 40  # from frame to frame


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
