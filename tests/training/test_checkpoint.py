import json
import random
from pathlib import Path

import pytest
import torch

from training.checkpoint import MANIFEST, load_model, replacing, save_model
from training.errors import InputError

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


def test_every_truncation_and_any_flipped_bit_is_noticed(tmp_path: Path) -> None:
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
    with pytest.raises(InputError, match="cannot be read"):
        load_model(tmp_path / "model")


def _write_half(folder: Path) -> None:
    (folder / "half").write_text("h")
    raise OSError("no space left")
