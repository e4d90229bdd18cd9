"""What is kept on disk: folders of safetensors and JSON, which come into place whole (`training.files`).

    model/           weights.safetensors, model.json: what others load
    resume/step_N/   state.safetensors, state.json: what a run needs to go on; the last two are kept

Nothing in them can run code. Tensors are written and read one by one, so that a large replay is never in
memory twice.
"""

import json
import math
import shutil
import struct
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from training.errors import InputError
from training.files import checked, read_json, replacing
from training.state import Tree, pack, unpack

KEPT = 2  # checkpoints of a run; the older one is there in case the disk damages the newer
ATTEMPTS = 4  # to read a model

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def save_model(folder: Path, weights: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Writes a model folder; `description` says what the weights belong to and must fit into JSON."""
    with replacing(folder) as new:
        write_tensors(new / "weights.safetensors", weights)
        (new / "model.json").write_text(json.dumps(description, indent=1))


def load_model(folder: Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights, on `device`, and the description of a model folder.

    Raises:
        InputError: when the folder is missing, incomplete or damaged.
    """
    for attempts_left in reversed(range(ATTEMPTS)):
        try:
            found = checked(folder, "weights.safetensors", "model.json")
            weights, told = (
                read_tensors(found / "weights.safetensors", device),
                read_json(found / "model.json"),
            )
            if not isinstance(told, dict):
                raise InputError(f"{found}/model.json holds no group of fields, expected what a model is")
            return weights, told
        except (InputError, OSError):  # a run may be putting a newer model in its place just now
            if not attempts_left:
                raise
            time.sleep(0.02)
    raise AssertionError("unreachable")


def copy_model(folder: Path, to: Path) -> None:
    """Puts a copy of a model folder in the place of `to`."""
    found = checked(folder, "weights.safetensors", "model.json")
    with replacing(to) as new:
        for name in ("weights.safetensors", "model.json"):
            shutil.copyfile(found / name, new / name)


def save_checkpoint(run: Path, step: int, tree: Tree) -> None:
    """Writes `resume/step_N` of a run, then removes all but the last two."""
    tensors, rest = pack(tree)
    with replacing(run / "resume" / f"step_{step}") as new:
        write_tensors(new / "state.safetensors", tensors)
        (new / "state.json").write_text(json.dumps(rest))
    for old in _checkpoints(run)[:-KEPT]:
        shutil.rmtree(old)


def load_checkpoint(run: Path, at_most: float = math.inf) -> Tree:
    """The tree of the last whole checkpoint of a run, up to the step `at_most`; None when it has none.

    Damaged ones after it are told of by a warning.

    Raises:
        InputError: when there are checkpoints and all are damaged; nothing is changed.
    """
    damaged: list[str] = []
    for folder in reversed(_checkpoints(run)):
        if int(folder.name[5:]) > at_most:
            continue
        try:
            found = checked(folder, "state.safetensors", "state.json")
            tree = unpack(read_tensors(found / "state.safetensors"), read_json(found / "state.json"))
        except InputError as error:
            damaged.append(str(error))
            continue
        for what in damaged:
            warnings.warn(f"{what}; the checkpoint before it is used", stacklevel=2)
        return tree
    if damaged:
        raise InputError(
            f"{damaged[0]}; no checkpoint of {run} is whole: without {run / 'resume'} the run starts again"
        )
    return None


def forget_after(run: Path, step: int) -> None:
    """Removes checkpoints later than `step`, which are damaged, and what a killed save left half done."""
    for folder in _checkpoints(run):
        if int(folder.name[5:]) > step:
            shutil.rmtree(folder)
    for leftover in (run / "resume").glob(".step_*"):
        shutil.rmtree(leftover)


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes a safetensors file tensor by tensor: https://github.com/huggingface/safetensors, "Format"."""
    header, end = {}, 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        kind, shape = _DTYPES[tensor.dtype], list(tensor.shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            if tensor.numel():  # one without numbers may have strides that no view accepts
                flat = tensor.detach().cpu().contiguous().reshape(-1)
                out.write(flat.view(torch.uint8).numpy().data)


def read_tensors(file: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Reads a safetensors file; raises InputError when it is none."""
    try:
        with safe_open(file, "pt", device=str(device)) as found:
            return {name: found.get_tensor(name) for name in found.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} cannot be read as safetensors: {error}") from None


def _checkpoints(run: Path) -> list[Path]:
    found = (run / "resume").glob("step_*")
    return sorted((p for p in found if p.name[5:].isdigit()), key=lambda p: int(p.name[5:]))
