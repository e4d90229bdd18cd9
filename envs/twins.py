"""A faulty episode beside its clean twin: same seed, same policy, no fault."""

import numpy as np
from jaxtyping import Int

from envs.recording import Episodes
from training.errors import InputError


def first_change(faulty: Episodes, clean: Episodes) -> Int[np.ndarray, " E"]:
    """The first step of each faulty episode that came out differently than its twin's; -1 where none did.

    A fault may be there long before: a stuck sensor that does not move, a delayed action that is the same.

    Raises:
        InputError: when the episodes are not of the same seeds.
    """
    if not np.array_equal(faulty.seed, clean.seed):
        raise InputError("the faulty and the clean episodes have different seeds, expected twins")
    found = np.full(len(faulty), -1)
    for i, (a, b) in enumerate(zip(faulty.starts, clean.starts, strict=True)):
        length = min(faulty.length[i], clean.length[i])
        ours, theirs = faulty.next_obs[a : a + length], clean.next_obs[b : b + length]
        starts = faulty.obs[a] != clean.obs[b]
        differs = (ours != theirs).any(axis=1)
        if starts.any():
            found[i] = 0
        elif differs.any():
            found[i] = differs.argmax()
        elif faulty.length[i] != clean.length[i]:
            found[i] = length
    return found
