"""`lab evaluate RUN`: an agent plays episodes, and how well is said with its uncertainty.

A detector is met with labelled rows instead: `lab/labelled.py`.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import tyro

from agents import registry
from agents.evaluation import evaluate, summary
from lab import labelled
from lab.arguments import parse
from training.errors import InputError
from training.folder import read_config
from training.seeds import torch_generator

ABOUT = (
    "Plays episodes with a trained agent. Of a detector: lab evaluate RUN DATA --label-column Y [--by COLUMN]"
    " [--alpha A]."
)


@dataclass(frozen=True)
class Evaluate:
    """What `lab evaluate` is told."""

    run: tyro.conf.Positional[Path]  # the folder of an agent's run
    episodes: int = 100  # how many, each from a seed of its own
    seed: int = 0  # of the episodes
    sample: bool = False  # draw actions from the policy, or (default) take the likeliest
    best: bool = False  # the best model that was evaluated in training, or (default) the last
    record: bool = False  # keep the episodes in RUN/rollouts/


def main(words: list[str]) -> None:
    """Parses and runs `lab evaluate RUN ...`."""
    if (
        words
        and (Path(words[0]) / "config.json").is_file()
        and read_config(Path(words[0]))["kind"] == "detector"
    ):
        labelled.main(words)
        return
    told: Evaluate = parse(Evaluate, words, "lab evaluate", ABOUT)
    if told.episodes < 1:
        raise InputError(f"episodes is {told.episodes}, expected 1 or more")
    if told.seed < 0:
        raise InputError(f"seed is {told.seed}, expected 0 or more")
    torch.set_num_threads(1)
    read_config(told.run)
    agent = registry.load(told.run / ("best" if told.best else "model"))
    act = agent.policy.act
    if told.sample:
        act = partial(act, generator=torch_generator(told.seed, "actions"))
    episodes = evaluate(act, agent.cfg.env, told.episodes, told.seed)
    found = summary(episodes)
    how = "actions drawn from the policy" if told.sample else "greedy actions"
    print(
        f"{agent.kind} on {agent.cfg.env}, {told.episodes} episodes, {how}, {agent.step:,} steps of learning"
    )
    print(f"  mean return {_with_interval(found, 'eval/return')}")
    print(f"  IQM         {_with_interval(found, 'eval/iqm')}")
    lengths = episodes.length
    print(f"  length      {lengths.mean():.1f}  (shortest {lengths.min()}, longest {lengths.max()})")
    if told.record:
        file = told.run / "rollouts" / f"{'sampled' if told.sample else 'greedy'}-{told.seed}.npz"
        episodes.save(file)
        print(f"  recorded    {file}")


def _with_interval(found: dict[str, float], name: str) -> str:
    low, high = found[f"{name}_low"], found[f"{name}_high"]
    return f"{found[name]:.1f}  (95 % bootstrap interval {low:.1f} to {high:.1f})"
