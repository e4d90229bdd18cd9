"""How good agents become: every preset, several seeds, 100 greedy episodes each.

    python -m benchmarks.returns [--only ppo] [--env Acrobot-v1] [--backend envpool] [--seeds 5]
    python -m benchmarks.returns --general InvertedPendulum-v5 [...]     with settings for any environment

The return of a seed is the mean over its episodes; the interval is a bootstrap over seeds. Each seed is
kept in a file of its own under `--dir`: what was stopped goes on, several processes may share seeds out by
`--first`, and a seed is measured again when the settings of its preset have changed.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents import registry
from agents.evaluation import evaluate, interval
from agents.general import GENERAL
from envs.vector import BACKENDS
from lab.learning import learn
from training.files import writing
from training.run import RunConfig

EPISODES = 100
GENERAL_STEPS = 200_000


def measure(kind: str, cfg: Any, env: str) -> dict[str, float]:
    """The mean return of one run's last model in Gymnasium, and the CPU seconds its training took."""
    with tempfile.TemporaryDirectory() as folder:
        path, start = Path(folder) / "run", time.process_time()
        learn(kind, cfg, path)
        seconds = time.process_time() - start
        policy = registry.load(path / "model").policy
    found = evaluate(policy.act, env, EPISODES, cfg.run.seed + 1_000).returns.mean()
    return {"return": float(found), "seconds": seconds}


def kept(folder: Path, kind: str, cfg: Any, backend: str, seed: int) -> dict[str, float]:
    """What was measured of a seed with these settings before, or else now."""
    env = cfg.env
    cfg = cfg if backend == "gymnasium" else replace(cfg, env=f"{backend}/{env}")
    cfg = replace(cfg, run=replace(cfg.run, seed=seed, wandb="disabled", evaluate_every=0))
    file = folder / f"{kind}-{backend}-{env.replace('/', '-')}-{seed}.json"
    settings = json.loads(json.dumps(asdict(cfg)))
    if file.exists():
        before = json.loads(file.read_text())
        if before["config"] == settings:
            return dict(before["found"])
    found = measure(kind, cfg, env)
    folder.mkdir(parents=True, exist_ok=True)
    with writing(file) as out:
        out.write(json.dumps({"config": settings, "found": found}, indent=1).encode())
    print(f"{kind} {env} seed {seed}: {found['return']:.1f}", file=sys.stderr, flush=True)
    return found


def without_presets(envs: list[str]) -> dict[str, dict[str, Any]]:
    """What learns on environments that have no preset, by algorithm and environment."""
    run = RunConfig(steps=GENERAL_STEPS)
    return {kind: {env: replace(cfg, env=env, run=run) for env in envs} for kind, cfg in GENERAL.items()}


def main() -> None:
    """Prints a row for every preset."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=registry.PRESETS, help="one algorithm")
    parser.add_argument("--env", help="one environment")
    parser.add_argument("--backend", choices=BACKENDS, default="gymnasium", help="what steps the training")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument(
        "--dir", type=Path, default=Path("runs/benchmark-returns"), help="where they are kept"
    )
    parser.add_argument("--general", nargs="+", help="environments whose presets, if any, are not used")
    told = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| algorithm | environment | steps | return, {told.seeds} seeds | 95 % interval | worst | CPU s |")
    print("|---|---|---|---|---|---|---|")
    seeds = range(told.first, told.first + told.seeds)
    for kind, presets in (without_presets(told.general) if told.general else registry.PRESETS).items():
        for env, cfg in presets.items():
            if told.only not in (None, kind) or told.env not in (None, env):
                continue
            found = [kept(told.dir, kind, cfg, told.backend, seed) for seed in seeds]
            returns = np.array([one["return"] for one in found])
            seconds = np.median([one["seconds"] for one in found])
            low, high = interval(returns)
            print(
                f"| {kind} | {env} | {cfg.run.steps:,} | {returns.mean():.1f} | {low:.1f} to {high:.1f}"
                f" | {returns.min():.1f} | {seconds:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
