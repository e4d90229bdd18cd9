"""The same settings from several seeds, side by side, each in a process and a run folder of its own."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.errors import InputError
from training.files import writing

SETTINGS = "settings.json"


def learn_seeds(kind: str, cfg: Any, path: Path, seeds: int) -> None:
    """Trains `seeds` runs in `path`/seed_N, from the seed of `cfg` on; as many at once as there are cores.

    What they share is in `path`/settings.json, as `lab train --config` takes it.

    Raises:
        InputError: when there is something at `path` already, and when a run fails; the others go on.
    """
    if path.exists():
        raise InputError(f"{path} exists already, expected a new folder: choose another --dir")
    path.mkdir(parents=True)
    with writing(path / SETTINGS) as file:
        file.write(json.dumps({"kind": kind, "config": asdict(cfg)}, indent=1).encode())

    def learn(seed: int) -> int:
        words = ["--config", str(path / SETTINGS), "--seed", str(seed), "--dir", str(path / f"seed_{seed}")]
        return subprocess.run([sys.executable, "-m", "lab", "train", kind, *words]).returncode

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        codes = list(pool.map(learn, range(cfg.run.seed, cfg.run.seed + seeds)))
    if any(codes):
        failed = [f"seed_{cfg.run.seed + n} ended with {code}" for n, code in enumerate(codes) if code]
        raise InputError(f"{path}: {', '.join(failed)}, expected 0; `lab resume` goes on with a run")
