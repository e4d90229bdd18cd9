"""What the ground floor costs: driver, rows and checkpoints; W&B; a large checkpoint.

    python -m benchmarks.training [--steps 1000000] [--pairs 3]

Runs with and without take turns; ratios are of CPU seconds, medians over pairs, with their spread.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

import torch

from agents import ppo
from agents.presets import PPO
from agents.registry import save
from envs import make
from training.checkpoint import save_checkpoint
from training.driver import Driver
from training.folder import RunFolder
from training.state import capture
from training.wandb_log import WandbLog


def bare(cfg: ppo.Config) -> None:
    """The algorithm's generator alone."""
    envs = make(cfg.env, cfg.num_envs, 0)
    for _ in ppo.train(cfg, ppo.Learner(cfg, envs.spaces), envs):
        pass


def driven(cfg: ppo.Config) -> None:
    """The same with rows, saved models, checkpoints, and W&B as the configuration says."""
    envs = make(cfg.env, cfg.num_envs, 0)
    learner = ppo.Learner(cfg, envs.spaces)
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path) / "run", "ppo", asdict(cfg))
        log = WandbLog(cfg.run, folder.path, folder.config, "benchmark")
        Driver(
            cfg.run,
            folder,
            save=lambda to: save(to, "ppo", learner),
            state=lambda: {"learner": capture(learner, learner.STATE), "envs": envs.state_dict()},
            log=log,
        ).run(ppo.train(cfg, learner, envs))
        log.close()
        folder.close()


def seconds(work: Callable[[], None], clock: Callable[[], float] = time.process_time) -> float:
    """How long `work` takes by the clock."""
    start = clock()
    work()
    return clock() - start


def compare(name: str, first: Callable[[], None], second: Callable[[], None], pairs: int) -> None:
    """Prints how much more the first costs than the second."""
    found = [(seconds(first), seconds(second)) for _ in range(pairs)]
    more = sorted(100 * (a / b - 1) for a, b in found)
    a, b = (median(column) for column in zip(*found, strict=True))
    print(
        f"{name}: {a:.2f} s against {b:.2f} s, {median(more):+.1f} % ({more[0]:+.1f} to {more[-1]:+.1f})",
        flush=True,
    )


def large_checkpoint() -> None:
    """A checkpoint of 100 MB against writing and syncing the same bytes."""
    rows = torch.ones(100_000_000, dtype=torch.uint8)
    with tempfile.TemporaryDirectory(dir=".") as path:

        def raw() -> None:
            with (Path(path) / "raw").open("wb") as file:
                file.write(rows.numpy().data)
                os.fsync(file.fileno())

        written = median(seconds(raw, time.perf_counter) for _ in range(5))
        kept = median(
            seconds(lambda n=n: save_checkpoint(Path(path), n, {"rows": rows}), time.perf_counter)  # type: ignore[misc]
            for n in range(5)
        )
    print(f"checkpoint of 100 MB: {kept:.2f} s, raw write {written:.2f} s, {kept - written:.2f} s more")


def main() -> None:
    """Prints one line for each comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=3)
    told = parser.parse_args()
    torch.set_num_threads(1)
    quiet = replace(PPO["CartPole-v1"].run, steps=told.steps, wandb="disabled", save_every_s=5.0)
    cfg = replace(PPO["CartPole-v1"], run=quiet)
    logged = replace(cfg, run=replace(quiet, wandb="offline"))
    driven(replace(logged, run=replace(logged.run, steps=20_000)))  # imports, once
    compare(
        f"driver, rows, checkpoints, {told.steps:,} steps", lambda: driven(cfg), lambda: bare(cfg), told.pairs
    )
    compare(f"W&B offline, {told.steps:,} steps", lambda: driven(logged), lambda: driven(cfg), told.pairs)
    large_checkpoint()


if __name__ == "__main__":
    main()
