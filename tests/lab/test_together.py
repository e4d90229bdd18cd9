"""Several processes under torchrun learn as one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from agents import ppo
from envs import Spaces
from lab.commands import train
from tests.processes import ENVIRONMENT
from training import distributed
from training.errors import InputError
from training.run import RunConfig

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")

UPDATE = """
import sys
import torch
from agents import ppo
from envs import Spaces
from tests.lab.test_together import CONFIG, SPACES, rows
from training import distributed

with distributed.joined():
    learner = ppo.Learner(CONFIG, SPACES)
    for _ in range(3):
        learner.update(*map(distributed.mine, rows()))
    torch.save(learner.optimizer.flat, f"{sys.argv[1]}/rank_{distributed.rank()}.pt")
"""

CONFIG = ppo.Config(num_envs=4, entropy_coef=0.1, run=RunConfig(device="cpu"))
SPACES = Spaces(obs=3, discrete=2)


def rows() -> tuple[torch.Tensor, ...]:
    """A minibatch of PPO."""
    generator = torch.Generator().manual_seed(0)
    obs, numbers = torch.randn(64, 3, generator=generator), torch.randn(3, 64, generator=generator)
    action = torch.randint(2, (64,), generator=generator)
    return obs, action, -numbers[0].abs(), numbers[1], numbers[2]


def start(*words: str, cwd: Path, processes: int = 2) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*TORCHRUN, str(processes), *words],
        cwd=cwd,
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def run(*words: str, cwd: Path, processes: int = 2) -> tuple[int, str]:
    process = start(*words, cwd=cwd, processes=processes)
    said, _ = process.communicate(timeout=240)
    return process.returncode, said


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model/weights.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_two_halves_of_a_batch_take_the_step_of_the_whole(tmp_path: Path) -> None:
    (tmp_path / "update.py").write_text(UPDATE)
    code, said = run("update.py", str(tmp_path), cwd=tmp_path)
    assert code == 0, said
    first, second = (torch.load(tmp_path / f"rank_{r}.pt", weights_only=True) for r in range(2))
    assert torch.equal(first, second)
    whole = ppo.Learner(CONFIG, SPACES)
    before = whole.optimizer.flat.clone()
    for _ in range(3):
        whole.update(*rows())
    torch.testing.assert_close(first, whole.optimizer.flat)
    assert not torch.allclose(before, whole.optimizer.flat)


def test_a_model_learns_in_two_processes_what_it_learns_in_one(tmp_path: Path) -> None:
    words = ("vae", "--data", "digits", "--steps", "60", "--wandb", "disabled", "--dir")
    train.main([*words, str(tmp_path / "one")])
    code, said = run("-m", "lab", "train", *words, "two", cwd=tmp_path)
    assert code == 0, said
    assert said.count("done after 60 steps") == 1
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)
    assert same(two, weights(tmp_path / "two/rank_1"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("told", "steps"), [("autoencoder", 20), ("denoiser", 20), ("gan --no-conditional", 20), ("gan", 5)]
)
def test_other_models_too(told: str, steps: int, tmp_path: Path) -> None:
    words = (*told.split(), "--data", "digits", "--steps", str(steps), "--wandb", "disabled", "--dir")
    train.main([*words, str(tmp_path / "one")])
    code, said = run("-m", "lab", "train", *words, "two", cwd=tmp_path)
    assert code == 0, said
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        # A bias below batch normalisation has a gradient of rounding alone, of which Adam makes steps as long
        # as its learning rate, in either direction; the mean that is kept above it follows.
        rounding = f"{_next_layer(name)}.running_mean" in one or name.endswith("running_mean")
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=2 * 20 * 1e-3 if rounding else 1e-3)
    assert same(two, weights(tmp_path / "two/rank_1"))


def _next_layer(bias: str) -> str:
    """`body.1` of `body.0.bias`; of other names what no layer is called."""
    layer, _, what = bias.rpartition(".")
    parent, _, number = layer.rpartition(".")
    return f"{parent}.{int(number) + 1}" if what == "bias" and number.isdigit() else ""


def test_an_agent_learns_from_the_environments_of_both_processes(tmp_path: Path) -> None:
    words = ("-m", "lab", "train", "ppo", "--env", "CartPole-v1", "--num-envs", "8", "--steps", "4096")
    code, said = run(*words, "--dir", "run", cwd=tmp_path)
    assert code == 0, said
    assert same(weights(tmp_path / "run"), weights(tmp_path / "run/rank_1"))
    played = []
    for folder in ("run", "run/rank_1"):
        rows = [json.loads(line) for line in (tmp_path / folder / "metrics.jsonl").read_text().splitlines()]
        played.append([row["episode/return"] for row in rows if row.get("episode/return")])
        assert rows[-1]["global_step"] == 4096
    assert played[0] != played[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("dqn", "dqn learns in one process, expected one of ppo"),
        ("ppo --num-envs 9", "num_envs is 9, expected a multiple of the 2 processes"),
        ("vae --batch 9", "batch is 9, expected a multiple of the 2 processes"),
        ("vae --norm batch", "norm is batch, expected another: each process would"),
    ],
)
def test_what_cannot_be_shared_is_refused(words: str, message: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(distributed, "world", lambda: 2)
    with pytest.raises(InputError, match=message):
        train.main([*words.split(), "--dir", str(tmp_path / "new")])
    assert not (tmp_path / "new").exists()


def test_a_run_that_torchrun_may_restart_needs_a_name(monkeypatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    with pytest.raises(InputError, match="dir is not given, expected a folder to go on in"):
        train.main(["vae"])


def second_process(torchrun: subprocess.Popen[str], folder: Path) -> int:
    """The process id of rank 1, once it has a checkpoint."""
    while not list((folder / "rank_1/resume").glob("step_*")):
        assert torchrun.poll() is None, torchrun.communicate()[0]
        time.sleep(0.02)
    for pid in Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split():
        if b"RANK=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return int(pid)
    raise AssertionError("rank 1 is not a child of torchrun")


@pytest.mark.long
def test_a_killed_worker_costs_nothing_when_torchrun_may_restart(tmp_path: Path) -> None:
    words = ("-m", "lab", "train", "ppo", "--steps", "200000", "--save-every-s", "0.5", "--dir")
    assert run(*words, "straight", cwd=tmp_path)[0] == 0
    torchrun = start("--max-restarts", "1", *words, "killed", cwd=tmp_path)
    os.kill(second_process(torchrun, tmp_path / "killed"), signal.SIGKILL)
    said, _ = torchrun.communicate(timeout=240)
    assert torchrun.returncode == 0, said
    assert "killed goes on after" in said
    for rank in ("", "rank_1"):
        assert same(weights(tmp_path / "killed" / rank), weights(tmp_path / "straight" / rank))


@pytest.mark.long
def test_a_stopped_run_of_two_goes_on_in_two_and_in_no_other_number(tmp_path: Path) -> None:
    words = ("-m", "lab", "train", "vae", "--steps", "3000", "--save-every-s", "0.5", "--dir")
    assert run(*words, "straight", cwd=tmp_path)[0] == 0
    torchrun = start(*words, "stopped", cwd=tmp_path)
    second_process(torchrun, tmp_path / "stopped")
    torchrun.send_signal(signal.SIGTERM)
    said, _ = torchrun.communicate(timeout=60)
    assert "stopped: interrupted" in said
    code, said = run("-m", "lab", "resume", "stopped", cwd=tmp_path, processes=1)
    assert (code != 0, "was left by 2 processes, expected 1 as now" in said) == (True, True), said
    code, said = run("-m", "lab", "resume", "stopped", cwd=tmp_path)
    assert code == 0, said
    assert same(weights(tmp_path / "stopped"), weights(tmp_path / "straight"))
