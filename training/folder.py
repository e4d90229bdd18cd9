"""The folder of a run: what was asked for, what happened, what was learned.

config.json     the kind of run, the whole configuration, versions, git commit
metrics.jsonl   one JSON object a row, each with `global_step`; the truth about the run
model/          the last model; best/ beside it holds the best that was evaluated
"""

import fcntl
import json
import math
import os
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from training.errors import InputError
from training.files import read_json, writing

LOCK = ".lock"
STARTED = {LOCK, ".config.json.new"}  # all that a process leaves which was killed before its run began
PACKAGES = ("torch", "numpy", "gymnasium", "scikit-learn", "safetensors", "rl-generative-lab")


class RunFolder:
    """An open run: `config.json` is written, rows can be added, and no other process has it open."""

    def __init__(self, path: Path, kind: str, config: Mapping[str, Any]) -> None:
        """Makes the folder of a new run of the given kind, such as `ppo` or `vae`.

        Raises:
            InputError: when there is something at `path` already, or another process begins a run there.
        """
        if path.exists() and not (path.is_dir() and {entry.name for entry in path.iterdir()} <= STARTED):
            raise InputError(f"{path} exists already, expected a new folder: choose another --dir")
        self._made = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path} cannot be made: {error.strerror}") from None
        self._open(path)
        self.config: dict[str, Any] = {
            "kind": kind,
            "config": config,
            "versions": versions(),
            "git": git_commit(),
        }
        with writing(path / "config.json") as file:
            file.write(json.dumps(self.config, indent=1).encode() + b"\n")

    @staticmethod
    def reopen(path: Path) -> "RunFolder":
        """The folder of an earlier run, to go on with.

        Raises:
            InputError: when there is no run at `path`, or another process has it open.
        """
        folder = RunFolder.__new__(RunFolder)
        folder.config = read_config(path)
        folder._open(path)
        return folder

    def _open(self, path: Path) -> None:
        self.path = path
        self._lock = (path / LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise InputError(
                f"{path} is in use by another process, expected a run that stands still"
            ) from None

    def close(self) -> None:
        """Lets other processes open the run."""
        self._lock.close()

    def write(self, step: int, row: Mapping[str, float]) -> None:
        """Adds a row and flushes it; numbers that JSON lacks (NaN, infinity) become null."""
        finite = {name: value if math.isfinite(value) else None for name, value in row.items()}
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"global_step": step, **finite}) + "\n")

    def size(self) -> int:
        """Bytes of rows so far."""
        file = self.path / "metrics.jsonl"
        return file.stat().st_size if file.exists() else 0

    def cut(self, size: int) -> None:
        """Takes away all rows after the first `size` bytes."""
        if self.size() > size:
            os.truncate(self.path / "metrics.jsonl", size)

    def discard(self) -> None:
        """Takes away what was made, when the run failed before it had anything to keep."""
        self.close()
        if self.size() or (self.path / "best").exists() or (self.path / "resume").exists():
            return
        for entry in [self.path] if self._made else list(self.path.iterdir()):
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()


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
    found = read_json(file)
    if not (isinstance(found, dict) and isinstance(found.get("kind"), str)) or (
        not isinstance(found.get("config"), dict)
    ):
        raise InputError(f"{file} lacks `kind` and `config`, expected the config.json of a run")
    return found


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a run's `metrics.jsonl`; a last line that a kill cut short is left out."""
    file = path / "metrics.jsonl"
    if not file.is_file():
        return []
    rows = []
    for number, line in enumerate(file.read_text().splitlines(keepends=True), 1):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):
            if line.endswith("\n"):
                raise InputError(f"{file}, line {number} is not JSON, expected a row") from None
    return rows


def score_text(score: float) -> str:
    """A score for people: four digits, or all those before the point."""
    return f"{score:,.0f}" if 1e4 <= abs(score) < 1e15 else f"{score:.4g}"


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
