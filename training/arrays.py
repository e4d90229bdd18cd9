"""NumPy's files, read with care: no pickles, and no small file that grows without bound."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from training.errors import InputError

SLACK = 64 << 20  # bytes that any archive may grow to
RATIO = 200  # and beyond them, bytes for each byte on disk; pictures reach 20, zeros 1,000

_ERRORS = (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error)


@contextmanager
def npz(file: Path, what: str) -> Iterator[np.lib.npyio.NpzFile]:
    """The arrays of an `.npz` file, read when they are asked for; `what` it should be is for messages.

    Raises:
        InputError: when it is no such file, holds objects, or would grow more than data does.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            grown = sum(entry.file_size for entry in archive.infolist())
        if grown > SLACK + RATIO * file.stat().st_size:
            raise InputError(f"{file} would grow to {grown:,} bytes, expected arrays that hold something")
        with np.load(file, allow_pickle=False) as arrays:
            yield arrays
    except InputError:
        raise
    except _ERRORS as error:
        raise InputError(f"{file} cannot be read as {what}: {error}") from None


def npy(file: Path) -> np.ndarray:
    """The array of an `.npy` file; raises InputError when it is none, or holds objects."""
    try:
        return np.load(file, allow_pickle=False)
    except _ERRORS as error:
        raise InputError(f"{file} cannot be read as a NumPy array: {error}") from None
