"""The folder of a run: what was asked for, what happened, what was learned.

config.json     the command, the whole configuration, versions, git commit
metrics.jsonl   one JSON object a row, each with `global_step`; the truth about the run
model/          the last model; best/ beside it holds the best that was evaluated
"""

import json
import math
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from training.errors import InputError

PACKAGES = ("torch", "numpy", "gymnasium", "stable-baselines3", "rl-generative-lab")


class RunFolder:
    """An open run: `config.json` is written, rows can be added."""

    def __init__(self, path: Path, kind: str, config: Mapping[str, Any]) -> None:
        """Makes the folder of a new run of the given kind, such as `ppo` or `vae`.

        Raises:
            InputError: when there is something at `path` already.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path} exists already, expected a new folder: choose another --dir")
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.config = {"kind": kind, "config": config, "versions": versions(), "git": git_commit()}
        (path / "config.json").write_text(json.dumps(self.config, indent=1) + "\n")

    def write(self, step: int, row: Mapping[str, float]) -> None:
        """Adds a row; numbers that JSON lacks (NaN, infinity) become null."""
        finite = {name: value if math.isfinite(value) else None for name, value in row.items()}
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"global_step": step, **finite}) + "\n")

    def discard(self) -> None:
        """Takes the folder away again: the run failed before it had anything to keep."""
        shutil.rmtree(self.path)


def new_path(name: str) -> Path:
    """The first of runs/NAME-001, runs/NAME-002, ... that is free."""
    safe = name.replace("/", "-").replace(":", "-")
    return next(path for n in range(1, 10**6) if not (path := Path("runs") / f"{safe}-{n:03d}").exists())


def read_config(path: Path) -> dict[str, Any]:
    """The `config.json` of a run folder, or the file itself.

    Raises:
        InputError: when there is no run at `path` or its `config.json` cannot be read.
    """
    file = path / "config.json" if path.is_dir() else path
    if not file.is_file():
        what = "is not a run folder (no config.json)" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {what}, expected a folder that `lab train` or `lab fit` wrote")
    try:
        found = json.loads(file.read_text())
    except ValueError as error:
        raise InputError(f"{file} is not JSON ({error})") from None
    if not (isinstance(found, dict) and isinstance(found.get("kind"), str) and "config" in found):
        raise InputError(f"{file} lacks `kind` and `config`, expected the config.json of a run")
    return found


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a run's `metrics.jsonl`; a last line that a kill cut short is left out."""
    file = path / "metrics.jsonl"
    if not file.is_file():
        return []
    lines = file.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def versions() -> dict[str, str]:
    """The versions of what a result depends on."""
    return {name: version(name) for name in PACKAGES}


def git_commit() -> str | None:
    """The commit of this checkout, with `+` when files differ from it; None outside of git."""
    here = Path(__file__).parent
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() or None if said.returncode == 0 else None
