import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.processes import run
from training.checkpoint import (
    load_checkpoint,
    load_model,
    read_tensors,
    save_checkpoint,
    save_model,
    write_tensors,
)
from training.errors import InputError
from training.files import MANIFEST, replacing

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2], dtype=torch.int64)}


def test_a_model_folder_gives_back_what_was_saved(tmp_path: Path) -> None:
    save_model(tmp_path / "model", WEIGHTS, {"kind": "some"})
    weights, description = load_model(tmp_path / "model")
    assert description == {"kind": "some"}
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_saving_again_replaces_the_whole_folder(tmp_path: Path) -> None:
    save_model(tmp_path / "model", WEIGHTS, {"kind": "old"})
    save_model(tmp_path / "model", {"c": torch.zeros(1)}, {"kind": "new"})
    weights, description = load_model(tmp_path / "model")
    assert (list(weights), description) == (["c"], {"kind": "new"})


def test_a_failed_save_leaves_the_old_model_and_nothing_else(tmp_path: Path) -> None:
    save_model(tmp_path / "model", WEIGHTS, {"kind": "old"})
    with pytest.raises(OSError, match="no space"), replacing(tmp_path / "model") as new:
        _write_half(new)
    assert load_model(tmp_path / "model")[1] == {"kind": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_death_between_the_two_renames_is_survived(tmp_path: Path) -> None:
    save_model(tmp_path / "model", WEIGHTS, {"kind": "old"})
    (tmp_path / "model").rename(tmp_path / ".model.old")
    assert load_model(tmp_path / "model")[1] == {"kind": "old"}


def test_every_truncation_and_any_flipped_bit_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # before another try
    save_model(tmp_path / "model", WEIGHTS, {"kind": "some"})
    rng = random.Random(0)
    for file in sorted((tmp_path / "model").iterdir()):
        whole = file.read_bytes()
        cuts = [whole[:length] for length in range(0, len(whole), 7)]
        flips = []
        for _ in range(100):
            damaged = bytearray(whole)
            damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
            flips.append(bytes(damaged))
        for content in cuts + flips:
            if file.name == MANIFEST and _same(content, whole):
                continue  # a changed blank changes nothing
            file.write_bytes(content)
            with pytest.raises(InputError):
                load_model(tmp_path / "model")
        file.write_bytes(whole)
    load_model(tmp_path / "model")


def _same(content: bytes, whole: bytes) -> bool:
    try:
        return json.loads(content) == json.loads(whole)
    except ValueError:
        return False


def test_folders_that_are_no_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no MANIFEST\.json"):
        load_model(tmp_path)
    with replacing(tmp_path / "other") as new:
        (new / "file").write_text("x")
    with pytest.raises(InputError, match=r"has no weights.safetensors"):
        load_model(tmp_path / "other")


def test_a_manifest_cannot_reach_outside_its_folder(tmp_path: Path) -> None:
    save_model(tmp_path / "model", WEIGHTS, {})
    (tmp_path / "secret").write_text("s")
    (tmp_path / "model" / MANIFEST).write_text(json.dumps({"../secret": "0"}))
    with pytest.raises(InputError, match="has no"):
        load_model(tmp_path / "model")


def _write_half(folder: Path) -> None:
    (folder / "half").write_text("h")
    raise OSError("no space left")


TREES = [{"step": n, "weights": torch.full((3,), float(n)), "more": [1.5, None, "text"]} for n in range(4)]


def same(found: object, expected: dict) -> bool:
    return (
        isinstance(found, dict)
        and found["step"] == expected["step"]
        and found["more"] == expected["more"]
        and torch.equal(found["weights"], expected["weights"])
    )


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    for step in (9, 10, 100):
        save_checkpoint(tmp_path, step, TREES[1])
    assert sorted(path.name for path in (tmp_path / "resume").iterdir()) == ["step_10", "step_100"]


def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_again(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, TREES[1])
        (tmp_path / f"resume/step_{step}/state.json").write_text("{")
    with pytest.raises(InputError, match=r"no checkpoint of .* is whole"):
        load_checkpoint(tmp_path)
    assert len(list((tmp_path / "resume").iterdir())) == 2


def test_a_damaged_checkpoint_is_told_of_and_the_one_before_is_used(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, TREES[1])
    save_checkpoint(tmp_path, 2, TREES[2])
    rng = random.Random(0)
    for file in sorted((tmp_path / "resume" / "step_2").iterdir()):
        whole = file.read_bytes()
        damages = [whole[:length] for length in range(len(whole))]
        for _ in range(350):
            flipped = bytearray(whole)
            flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
            damages.append(bytes(flipped))
        for content in damages:
            file.write_bytes(content)
            if file.name == MANIFEST and _same(content, whole):
                assert same(load_checkpoint(tmp_path), TREES[2])
            else:
                with pytest.warns(UserWarning, match="the checkpoint before it is used"):
                    found = load_checkpoint(tmp_path)
                assert same(found, TREES[1])
        file.write_bytes(whole)
    assert same(load_checkpoint(tmp_path), TREES[2])


DIES = """
import os, sys
from pathlib import Path
import torch
from training.checkpoint import load_checkpoint, save_checkpoint

run, n = Path(sys.argv[1]), 0
save_checkpoint(run, 1, {"step": 1})
while True:
    n += 1
    if (child := os.fork()) == 0:
        seen = 0
        def hook(event, arguments):
            global seen
            if event == "open" or event.startswith(("os.", "shutil.")):
                seen += 1
                if seen == n:
                    os._exit(9)
        sys.addaudithook(hook)
        save_checkpoint(run, 2, {"step": 2, "rows": torch.zeros(10)})
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(status, load_checkpoint(run)["step"])
    if status == 0:
        break
"""


def test_a_death_at_any_call_of_a_save_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """The process dies at its first, second, ... call to the system, as Python's audit events tell."""
    done = run(sys.executable, "-c", DIES, str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(lines) > 15
    assert lines[-1] == (0, 2)
    assert {step for _, step in lines} == {1, 2}


def test_tensors_of_every_kind_come_back(tmp_path: Path) -> None:
    tensors = {
        str(dtype): torch.tensor([0, 1, 1], dtype=dtype)
        for dtype in (torch.float32, torch.bool, torch.uint32)
    }
    tensors |= {
        "empty": torch.zeros(0, 4),
        "one": torch.tensor(3.0),
        "turned": torch.arange(6).reshape(2, 3).T,
    }
    write_tensors(tmp_path / "some.safetensors", tensors)
    ours, theirs = read_tensors(tmp_path / "some.safetensors"), load_file(tmp_path / "some.safetensors")
    for name, tensor in tensors.items():
        for found in (ours[name], theirs[name]):
            assert found.dtype == tensor.dtype
            assert torch.equal(found, tensor)


def test_a_large_state_is_saved_without_a_second_copy(tmp_path: Path) -> None:
    code = """
import resource, sys, torch
from pathlib import Path
from training.checkpoint import load_checkpoint, save_checkpoint
rows = torch.ones(100_000_000, dtype=torch.uint8)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
before = peak()
save_checkpoint(Path(sys.argv[1]), 1, {"rows": rows})
print(peak() - before)
"""
    done = run(sys.executable, "-c", code, str(tmp_path), cwd=tmp_path)
    assert float(done.stdout) < 20, done.stderr  # MB more than before, for a state of 100 MB


def test_an_empty_array_can_be_saved(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t", {"none": torch.from_numpy(np.ascontiguousarray(np.array([])))})
    assert read_tensors(tmp_path / "t")["none"].shape == (0,)
