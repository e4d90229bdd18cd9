"""Models as folders: `weights.safetensors`, `model.json`, and a `MANIFEST.json` of SHA-256 sums.

A folder is written aside, synced to disk and renamed into place, so that a reader finds the old one or the
new one and never half of either. Nothing in it can run code.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from training.errors import InputError

MANIFEST = "MANIFEST.json"


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
    sums = {file.name: _sha256(file.read_bytes()) for file in sorted(new.iterdir())}
    (new / MANIFEST).write_text(json.dumps(sums, indent=1))
    for entry in (*new.iterdir(), new):
        _sync(entry)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def read_checked(folder: Path) -> dict[str, bytes]:
    """The files of a folder that `replacing` wrote, after comparing their sums.

    Raises:
        InputError: when the folder is missing, a file is missing, or a sum differs.
    """
    old = folder.with_name(f".{folder.name}.old")
    if not folder.exists() and old.exists():  # the process died between the two renames
        folder = old
    manifest = folder / MANIFEST
    if not manifest.is_file():
        what = "has no MANIFEST.json" if folder.is_dir() else "does not exist"
        raise InputError(f"{folder} {what}, expected a folder that a run wrote")
    try:
        sums = json.loads(manifest.read_text())
        files = {name: (folder / Path(name).name).read_bytes() for name in sums}
    except (ValueError, TypeError, OSError) as error:
        raise InputError(f"{folder} cannot be read: {error}") from None
    for name, content in files.items():
        if _sha256(content) != sums[name]:
            raise InputError(f"{folder / name} differs from its SHA-256 sum: the file is damaged")
    return files


def save_model(folder: Path, weights: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Writes a model folder; `description` says what the weights belong to and must fit into JSON."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with replacing(folder) as new:
        (new / "weights.safetensors").write_bytes(save_tensors(tensors))
        (new / "model.json").write_text(json.dumps(description, indent=1))


def load_model(folder: Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights, on `device`, and the description of a model folder.

    Raises:
        InputError: when the folder is missing, incomplete or damaged.
    """
    files = read_checked(folder)
    for name in ("weights.safetensors", "model.json"):
        if name not in files:
            raise InputError(f"{folder} has no {name}, expected a model folder")
    weights = load_tensors(files["weights.safetensors"])
    return {name: tensor.to(device) for name, tensor in weights.items()}, json.loads(files["model.json"])


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
