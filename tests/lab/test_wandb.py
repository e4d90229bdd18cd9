"""Weights & Biases for real: what an offline run holds, and deaths that must not touch the run."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORDS = ["train", "autoencoder", "--data", "digits", "--steps", "300"]


def surroundings(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    return kept | {"PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(home)}


def start(folder: Path, words: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lab", *words, "--dir", folder.name],
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=surroundings(folder.parent) | environment,
    )


def train(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    process = start(folder, WORDS, environment)
    said, told = process.communicate(timeout=180)
    return subprocess.CompletedProcess(process.args, process.returncode, said, told)


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
    sent = [{k: v for k, v in item.items() if not k.startswith("_")} for item in items]
    pictures = [item for item in sent if "sample/reconstructions._type" in item]
    assert [item for item in sent if item not in pictures] == rows(tmp_path / "run")
    evaluated = [row["global_step"] for row in rows(tmp_path / "run") if "eval/score" in row]
    assert [picture["global_step"] for picture in pictures] == evaluated
    (config,) = (record["run"]["config"]["update"] for record in records if record["type"] == "run")
    assert config["config"]["latent"] == 8
    assert config["versions"]["torch"]
    (artifact,) = (record["artifact"] for record in records if record["type"] == "artifact")
    assert artifact["type"] == "model"
    names = {entry["path"] for entry in artifact["manifest"]["contents"]}
    assert names == {"MANIFEST.json", "model.json", "weights.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == {"run"}, "nothing is staged in the user's home"


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


@pytest.mark.long
def test_a_server_that_hangs_costs_half_a_minute_at_most(without: bytes, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        done = train(
            tmp_path / "run",
            WANDB_MODE="online",
            WANDB_BASE_URL=f"http://127.0.0.1:{port}",
            WANDB_API_KEY="0" * 40,
        )
    assert time.monotonic() - began < 60
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("lab: warning: Weights & Biases stopped") == 1
    assert weights(tmp_path / "run") == without


FULL = """
import os, subprocess, sys
from lab.cli import main
from training.wandb_log import WandbLog

start = WandbLog._start


def on_a_small_disk(log, cfg, mode, folder, *rest):
    place = folder / "wandb"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)], check=True)
    start(log, cfg, mode, folder, *rest)
    room = os.statvfs(place)
    (place / "filler").write_bytes(bytes(max(0, room.f_bavail * room.f_bsize - 200_000)))


WandbLog._start = on_a_small_disk
sys.argv = ["lab", *sys.argv[1:]]
main()
"""


@pytest.mark.long
def test_a_full_disk_under_wandb_is_one_warning(without: bytes, tmp_path: Path) -> None:
    words = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", FULL, *WORDS]
    done = subprocess.run(
        [*words, "--dir", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        env=surroundings(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("lab: warning: Weights & Biases stopped (its disk is full") == 1
    assert weights(tmp_path / "run") == without


def core(process: subprocess.Popen[str]) -> int:
    """The process id of wandb-core, once it runs."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None:
        for pid in children.read_text().split():
            if b"wandb-core" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
        time.sleep(0.01)
    raise AssertionError(process.communicate())


@pytest.mark.long
def test_the_death_of_the_core_process_is_one_warning(tmp_path: Path) -> None:
    words = ["train", "autoencoder", "--steps", "8000"]
    straight = start(tmp_path / "straight", words, {"WANDB_MODE": "disabled"})
    straight.communicate(timeout=180)
    assert straight.returncode == 0
    process = start(tmp_path / "run", words, {})
    victim = core(process)
    while not (tmp_path / "run/metrics.jsonl").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.kill(victim, signal.SIGKILL)
    _, told = process.communicate(timeout=180)
    assert process.returncode == 0, told
    assert told.count("lab: warning: Weights & Biases stopped") == 1
    assert weights(tmp_path / "run") == weights(tmp_path / "straight")
    assert rows(tmp_path / "run")[-1]["global_step"] == 8000
