"""The scripts and commands of the README, run as they are written."""

import re
import sys
from pathlib import Path

import numpy as np

from lab.cli import COMMANDS
from tests import processes

README = (processes.ROOT / "README.md").read_text()
SCRIPTS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(script: str, folder: Path) -> str:
    done = processes.run(sys.executable, "-c", script, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_training_script_trains(tmp_path: Path) -> None:
    said = run(SCRIPTS[0].replace("steps=100_000", "steps=4_000"), tmp_path).splitlines()
    assert said[0].startswith("1024 {'loss/policy'")
    assert -500 <= float(said[-1]) < 0


def test_the_detector_script_scores(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, rows in (("measurements", 600), ("new", 5)):
        table = rng.normal(size=(rows, 3))
        np.savetxt(tmp_path / f"{name}.csv", table, delimiter=",", header="a,b,c", comments="")
    assert len(SCRIPTS) == 3
    assert run(SCRIPTS[2], tmp_path).count("]") == 3


def test_the_monitor_script_watches(tmp_path: Path) -> None:
    assert run(SCRIPTS[1], tmp_path).splitlines()[-1].startswith("Verdict(score=")


def test_every_command_is_in_the_readme_and_the_other_way_round() -> None:
    named = set(re.findall(r"^lab (\w+)", README, re.MULTILINE)) | {"demo"}
    assert named == set(COMMANDS)
