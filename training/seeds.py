"""Independent random streams from one seed."""

import random

import numpy as np
import torch

from training.distributed import own


def stream(seed: int, name: str) -> int:
    """A 63-bit seed for the stream called `name`; streams of different names or seeds are independent.

    Adding a stream leaves the others as they were, so that, say, a new evaluation does not change what is
    learned.
    """
    sequence = np.random.SeedSequence([seed, *name.encode()])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def torch_generator(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on `device` for the stream called `name`."""
    return torch.Generator(device).manual_seed(stream(seed, name))


def numpy_generator(seed: int, name: str) -> np.random.Generator:
    """A NumPy generator for the stream called `name`."""
    return np.random.default_rng(stream(seed, name))


def seed_global(seed: int) -> None:
    """Seeds the generators that are nobody's own: Python's, NumPy's and torch's, of every device.

    Dropout draws from torch's, and environments of others from any of them.
    """
    random.seed(stream(seed, own("python")))
    np.random.seed(stream(seed, own("numpy")) % 2**32)
    torch.manual_seed(stream(seed, own("torch")))
