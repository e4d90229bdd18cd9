"""Commands as processes of their own, as a user starts them."""

import subprocess
import sys
from os import environ
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = environ | {"WANDB_MODE": "disabled", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(*words: str, cwd: Path, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process to its end, with what it said."""
    told = ENVIRONMENT | environment
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=timeout, env=told)


def lab(*words: str, cwd: Path, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of the lab to its end, with what it said."""
    return run(sys.executable, "-m", "lab", *words, cwd=cwd, timeout=timeout, **environment)
