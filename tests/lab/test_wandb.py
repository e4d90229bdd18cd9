"""Weights & Biases for real: what an offline run holds, and deaths that must not touch the run."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORDS = ["train", "autoencoder", "--data", "digits", "--steps", "300"]


def train(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[2])
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    return subprocess.run(
        [sys.executable, "-m", "lab", *WORDS, "--dir", folder.name],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        timeout=180,
        env=kept | {"PYTHONPATH": root, "HOME": str(folder.parent)} | environment,
    )


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> bytes:
    return (folder / "model" / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("without") / "run"
    assert train(folder, WANDB_MODE="disabled").returncode == 0
    return weights(folder)


def test_an_offline_run_holds_every_row_and_changes_nothing(without: bytes, tmp_path: Path) -> None:
    done = train(tmp_path / "run")
    assert (done.returncode, done.stderr) == (0, "")
    assert weights(tmp_path / "run") == without
    (log,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    inspect = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", str(log)]
    said = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout
    records = [json.loads(line) for line in said.splitlines()]
    items = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert [{k: v for k, v in i.items() if not k.startswith("_")} for i in items] == rows(tmp_path / "run")
    (config,) = (record["run"]["config"]["update"] for record in records if record["type"] == "run")
    assert config["config"]["latent"] == 8
    assert config["versions"]["torch"]


def test_no_account_is_one_warning(without: bytes, tmp_path: Path) -> None:
    done = train(tmp_path / "run", WANDB_MODE="online")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("lab: warning: Weights & Biases stopped") == 1
    assert weights(tmp_path / "run") == without


@pytest.mark.long
def test_a_server_that_refuses_costs_half_a_minute_at_most(without: bytes, tmp_path: Path) -> None:
    start = time.monotonic()
    done = train(
        tmp_path / "run", WANDB_MODE="online", WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY="0" * 40
    )
    assert time.monotonic() - start < 60
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("lab: warning: Weights & Biases stopped") == 1
    assert weights(tmp_path / "run") == without
