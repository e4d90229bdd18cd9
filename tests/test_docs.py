"""The script of docs/your-own-script.md, as written: it learns, goes on, and runs in two processes."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import ENVIRONMENT, ROOT, run
from training.folder import read_rows

PAGE = (ROOT / "docs/your-own-script.md").read_text()
SCRIPT = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def call(*words: str, cwd: Path) -> str:
    done = run(*words, cwd=cwd, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def weights(folder: Path) -> bytes:
    return (folder / "runs/classifier/model/weights.safetensors").read_bytes()


def test_the_script_learns_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for folder in (straight, killed):
        folder.mkdir()
        (folder / "classify.py").write_text(SCRIPT)
    call(sys.executable, "classify.py", cwd=straight)
    found = [r["eval/accuracy"] for r in read_rows(straight / "runs/classifier") if "eval/accuracy" in r]
    assert max(found) > 0.9
    process = subprocess.Popen([sys.executable, "classify.py"], cwd=killed, env=ENVIRONMENT)
    while not (killed / "runs/classifier/metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    call(sys.executable, "classify.py", cwd=killed)
    assert weights(killed) == weights(straight)
    assert "is finished" in call(sys.executable, "classify.py", cwd=killed)


@pytest.mark.long
def test_the_script_runs_in_two_processes(tmp_path: Path) -> None:
    (tmp_path / "classify.py").write_text(SCRIPT)
    said = call(*TORCHRUN, "--max-restarts", "3", "classify.py", cwd=tmp_path)
    assert said.count("runs/classifier: done after") == 1
    second = tmp_path / "runs/classifier/rank_1/model/weights.safetensors"
    assert second.read_bytes() == weights(tmp_path)
