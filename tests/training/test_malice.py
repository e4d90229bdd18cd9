"""Files made to do harm are refused at once, in little memory, and nothing is written."""

import json
import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.processes import run
from training.checkpoint import save_model
from training.files import MANIFEST, sha256

READ = """
import resource, sys, time
from pathlib import Path
from envs.recording import Episodes
from generative.data import load
from training.checkpoint import load_model
from training.errors import InputError

what, path = sys.argv[1], Path(sys.argv[2])
written = []
def hook(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and any(c in arguments[1] for c in "wax+"):
        written.append(arguments[0])
    if event in ("os.system", "subprocess.Popen", "os.exec", "pickle.find_class", "os.mkdir", "os.rename"):
        written.append(event)
readers = {"model": load_model, "episodes": Episodes.load, "data": lambda p: load(str(p))}
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
sys.addaudithook(hook)
try:
    readers[what](path)
    print("read")
except InputError as error:
    print("refused", error)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert not written, written
assert seconds < 1, seconds
assert peak - before < 100_000, (peak, before)  # kB
"""


class Bomb:
    def __reduce__(self) -> tuple:
        return os.system, ("touch /tmp/harm-was-done",)


def signed(folder: Path, **files: bytes) -> Path:
    """A model folder whose sums are right, whatever is in it: the attacker can add, too."""
    save_model(folder, {"w": torch.zeros(2)}, {"kind": "ppo"})
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    sums = {f.name: sha256(f) for f in folder.iterdir() if f.name != MANIFEST}
    (folder / MANIFEST).write_text(json.dumps(sums))
    return folder


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def zeros_npz(file: Path, **shapes: int) -> Path:
    """Arrays of zeros, written in blocks and compressed a thousand times."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, size in shapes.items():
            with out.open(f"{name}.npy", "w", force_zip64=True) as array:
                np.lib.format.write_array_header_1_0(
                    array, {"descr": "|u1", "fortran_order": False, "shape": (size, 1)}
                )
                for _ in range(size >> 20):
                    array.write(bytes(1 << 20))
    return file


def link(tmp_path: Path) -> Path:
    folder = signed(tmp_path / "model")
    secret = tmp_path / "secret"
    secret.write_bytes((folder / "model.json").read_bytes())
    (folder / "model.json").unlink()
    (folder / "model.json").symlink_to(secret)
    return folder


def npy(tmp_path: Path, name: str, content: object) -> Path:
    file = tmp_path / name
    with file.open("wb") as out:
        out.write(content if isinstance(content, bytes) else pickle.dumps(content))
    return file


HARM = {
    "a header of a gigabyte": (
        "model",
        lambda p: signed(p / "m", weights_safetensors=header(b"{}", 1 << 30)),
    ),
    "a header that never ends": (
        "model",
        lambda p: signed(p / "m", weights_safetensors=header(b"{}", 2**63)),
    ),
    "a tensor larger than its file": (
        "model",
        lambda p: signed(
            p / "m",
            weights_safetensors=header(
                b'{"w":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
            ),
        ),
    ),
    "a pickle for weights": ("model", lambda p: signed(p / "m", weights_safetensors=pickle.dumps(Bomb()))),
    "JSON without a bottom": ("model", lambda p: signed(p / "m", model_json=b"[" * 1_000_000)),
    "a link out of the folder": ("model", link),
    "a pickle for data": ("data", lambda p: npy(p, "x.npy", Bomb())),
    "a pickle in an array": (
        "data",
        lambda p: np.save(p / "x.npy", np.array([Bomb()], object), allow_pickle=True) or p / "x.npy",
    ),
    "a bomb for data": ("data", lambda p: zeros_npz(p / "x.npz", x=1 << 29)),
    "a bomb for episodes": ("episodes", lambda p: zeros_npz(p / "x.npz", obs=1 << 29, length=1 << 20)),
    "an array larger than its file": (
        "data",
        lambda p: npy(
            p,
            "x.npy",
            b"\x93NUMPY\x01\x00v\x00"
            + b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000, 100), }".ljust(117)
            + b"\n",
        ),
    ),
}


@pytest.mark.parametrize("name", HARM)
def test_harm_is_refused(name: str, tmp_path: Path) -> None:
    what, make = HARM[name]
    done = run(sys.executable, "-c", READ, what, str(make(tmp_path)), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused"), done.stdout
    assert not Path("/tmp/harm-was-done").exists()


def test_the_reader_of_these_tests_reads_what_is_good(tmp_path: Path) -> None:
    folder = signed(tmp_path / "m")
    done = run(sys.executable, "-c", READ, "model", str(folder), cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("read\n", 0), done.stderr
