"""The same settings from several seeds, side by side, each in a process and a run folder of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from lab.trust import check_trust
from training.errors import InputError
from training.files import writing
from training.folder import read_config

SETTINGS = "settings.json"
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def learn_seeds(kind: str, cfg: Any, path: Path, seeds: int) -> None:
    """Trains `seeds` runs in `path`/seed_N, from the seed of `cfg` on; as many at once as there are cores.

    What they share is in `path`/settings.json, as `lab train --config` takes it.

    Raises:
        InputError: when there is something at `path` already, and when a run fails; the others go on.
    """
    if path.exists():
        raise InputError(f"{path} exists already, expected a new folder: choose another --dir")
    path.mkdir(parents=True)
    numbers = list(range(cfg.run.seed, cfg.run.seed + seeds))
    with writing(path / SETTINGS) as file:
        told = {"kind": kind, "seeds": numbers, "config": asdict(cfg)}
        file.write(json.dumps(told, indent=1).encode())
    _learn(kind, path, numbers, trust=True)  # the user has named all that is in the settings


def is_set(path: Path) -> bool:
    """Whether `path` holds the runs of several seeds."""
    return (path / SETTINGS).is_file() and not (path / "config.json").exists()


def members(path: Path) -> list[Path]:
    """The runs of several seeds that `path` holds, or `path` where it is no such set."""
    return (is_set(path) and runs_in(path)) or [path]


def runs_in(path: Path) -> list[Path]:
    """The folders of runs in a folder, by name and number."""
    return sorted((file.parent for file in path.glob("*/config.json")), key=_by_number)


def _by_number(path: Path) -> tuple[str, int]:
    """Sorts seed_10 behind seed_9."""
    name, _, number = path.name.rpartition("_")
    return (name, int(number)) if number.isdecimal() else (path.name, 0)


def go_on_with_seeds(path: Path, trust: bool = False) -> None:
    """Goes on with the runs of `learn_seeds` that were stopped, and begins those that never were.

    With `trust` the class that they may name as their environment is imported.

    Raises:
        InputError: when a run fails, and for settings that name no seeds.
    """
    found = read_config(path / SETTINGS)
    seeds = found.get("seeds")
    if not (isinstance(seeds, list) and all(type(seed) is int for seed in seeds)):
        raise InputError(f"{path / SETTINGS} names no seeds, expected what `lab train --seeds` wrote")
    check_trust(found["config"].get("env"), trust, path / SETTINGS)
    _learn(found["kind"], path, seeds, trust)


def _learn(kind: str, path: Path, seeds: Sequence[int], trust: bool) -> None:
    told = ["--trust"] if trust else []

    def words(run: Path, seed: int) -> list[str]:
        if (run / "config.json").exists():
            return ["resume", str(run), *told]
        new = ["--config", str(path / SETTINGS), "--seed", str(seed), "--dir", str(run)]
        return ["train", kind, *new, *told]

    codes, number = _together([words(path / f"seed_{seed}", seed) for seed in seeds])
    if number is not None:
        print(f"{path}: interrupted (`lab resume {path}` goes on)")
        raise SystemExit(128 + number)
    if any(codes):
        failed = [f"seed_{seed} ended with {code}" for seed, code in zip(seeds, codes, strict=True) if code]
        raise InputError(f"{path}: {', '.join(failed)}, expected 0; `lab resume {path}` goes on with them")


def _together(calls: Sequence[list[str]]) -> tuple[list[int], int | None]:
    """The exit codes of calls of `lab`, as many at once as there are cores for this process; and the signal
    that ended them early, if one did: it is passed on to those that run, and no other begins."""
    running: set[subprocess.Popen[bytes]] = set()
    told: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        told.append(number)
        for process in tuple(running):
            process.send_signal(number)

    def call(words: list[str]) -> int:
        if told:
            return 128 + told[0]
        # In a group of its own, so that what a terminal sends to all reaches it once, by `pass_on`.
        process = subprocess.Popen([sys.executable, "-m", "lab", *words], process_group=0)
        running.add(process)
        if told:  # while it started
            process.send_signal(told[0])
        code = process.wait()
        running.discard(process)
        return code

    before = {number: signal.signal(number, pass_on) for number in ENDS}
    try:
        with ThreadPoolExecutor(_cores()) as pool:
            codes = list(pool.map(call, calls))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return codes, told[0] if told else None


def _cores() -> int | None:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
