"""Files and folders that come into place whole, and are found damaged when they are.

A file is written aside, synced to disk and renamed into place, so that a reader finds the old one or the new
one and never half of either. A folder too, with a `MANIFEST.json` of SHA-256 sums that readers compare.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from training.errors import InputError

MANIFEST = "MANIFEST.json"
BLOCK = 1 << 20  # bytes hashed at once
MAX_JSON = 64 << 20  # bytes of a JSON file; what we write is far smaller


@contextmanager
def writing(file: Path) -> Iterator[IO[bytes]]:
    """A file to write to that takes the place of `file` when the block ends without an error.

    Raises:
        InputError: when no file can be there.
    """
    if file.is_dir():
        raise InputError(f"{file} is a folder, expected the name of a file")
    aside = file.with_name(f".{file.name}.new")
    try:
        out = aside.open("wb")
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}") from None
    try:
        with out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        aside.rename(file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder` when the block ends without an error."""
    new, old = (folder.with_name(f".{folder.name}.{what}") for what in ("new", "old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    sums = {file.name: sha256(file) for file in sorted(new.iterdir())}
    (new / MANIFEST).write_text(json.dumps(sums, indent=1))
    for entry in (*new.iterdir(), new):
        _sync(entry)
    if folder.exists():  # else `old` is the only whole one: a process died between the two renames
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    new.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def checked(folder: Path, *names: str) -> Path:
    """A folder that `replacing` wrote and that has the files `names`, after comparing all sums.

    Raises:
        InputError: when the folder or a file is missing, is a link, or differs from its sum.
    """
    old = folder.with_name(f".{folder.name}.old")
    if not folder.exists() and old.exists():  # the process died between the two renames
        folder = old
    manifest = folder / MANIFEST
    if not _plain(manifest):
        what = "has no MANIFEST.json" if folder.is_dir() else "does not exist"
        raise InputError(f"{folder} {what}, expected a folder that a run wrote")
    sums = read_json(manifest)
    if not isinstance(sums, dict):
        raise InputError(f"{manifest} is not a table of sums")
    for name in (*names, *sums):
        file = folder / Path(name).name
        if name not in sums or not _plain(file):
            raise InputError(f"{folder} has no {name}, expected {', '.join(names)}")
        if sha256(file) != sums[name]:
            raise InputError(f"{file} differs from its SHA-256 sum: the file is damaged")
    return folder


def read_json(file: Path) -> Any:
    """What a JSON file holds; raises InputError when it is none, or far too large."""
    if file.stat().st_size > MAX_JSON:
        raise InputError(f"{file} has {file.stat().st_size} bytes, expected at most {MAX_JSON}")
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not JSON: {error}") from None


def _plain(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()


def sha256(file: Path) -> str:
    """The SHA-256 sum of a file, in hexadecimal digits."""
    found = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
