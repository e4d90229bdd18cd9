"""Ways to run an update that must not change what is learned; compiling takes a process of its own."""

from pathlib import Path

import pytest
import torch

from tests.processes import lab
from training.checkpoint import load_model


@pytest.mark.long
def test_compiled_updates_learn_what_eager_ones_do(tmp_path: Path) -> None:
    found = {}
    for mode in ("eager", "compile"):
        words = ["vae", "--steps", "30", "--mode", mode, "--device", "cpu", "--dir", mode]
        done = lab("train", *words, cwd=tmp_path, timeout=300)
        assert done.returncode == 0, done.stderr
        found[mode] = load_model(tmp_path / mode / "model")[0]
    for name, value in found["eager"].items():
        torch.testing.assert_close(found["compile"][name], value, rtol=1e-2, atol=1e-3)
