"""How good agents become: every preset, several seeds, 100 greedy episodes each.

    python -m benchmarks.returns [--only ppo] [--env Acrobot-v1] [--backend envpool] [--seeds 5]

The return of a seed is the mean over its episodes; the interval is a bootstrap over seeds.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from agents import registry
from agents.evaluation import evaluate, interval
from envs.vector import BACKENDS
from lab.learning import learn

EPISODES = 100


def measure(kind: str, env: str, seed: int, backend: str) -> tuple[float, float]:
    """The mean return of one seed's last model in Gymnasium, and the CPU seconds its training took."""
    cfg = registry.PRESETS[kind][env]
    cfg = cfg if backend == "gymnasium" else replace(cfg, env=f"{backend}/{env}")
    cfg = replace(cfg, run=replace(cfg.run, seed=seed, wandb="disabled", evaluate_every=0))
    with tempfile.TemporaryDirectory() as folder:
        path, start = Path(folder) / "run", time.process_time()
        learn(kind, cfg, path)
        seconds = time.process_time() - start
        policy = registry.load(path / "model").policy
    return float(evaluate(policy.act, env, EPISODES, seed + 1_000).returns.mean()), seconds


def main() -> None:
    """Prints a row for every preset."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=registry.PRESETS, help="one algorithm")
    parser.add_argument("--env", help="one environment")
    parser.add_argument("--backend", choices=BACKENDS, default="gymnasium", help="what steps the training")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0")
    told = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| algorithm | environment | steps | return, {told.seeds} seeds | 95 % interval | worst | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for kind, presets in registry.PRESETS.items():
        for env, cfg in presets.items():
            if told.only not in (None, kind) or told.env not in (None, env):
                continue
            found = np.array([measure(kind, env, seed, told.backend) for seed in range(told.seeds)])
            returns, seconds = found.T
            low, high = interval(returns)
            print(
                f"| {kind} | {env} | {cfg.run.steps:,} | {returns.mean():.1f} | {low:.1f} to {high:.1f}"
                f" | {returns.min():.1f} | {np.median(seconds):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
