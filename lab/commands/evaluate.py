"""`lab evaluate RUN`: an agent plays episodes; a generative model is held against test rows."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import tyro

import generative.registry
from agents import registry
from agents.evaluation import evaluate, summary
from lab.arguments import parse
from lab.quality import evaluate_model
from training.errors import InputError
from training.folder import read_config
from training.seeds import torch_generator


@dataclass(frozen=True)
class Evaluate:
    """What `lab evaluate` is told."""

    run: tyro.conf.Positional[Path]  # the folder of an agent's or a model's run
    episodes: int = 100  # of an agent: how many, each from a seed of its own
    samples: int = 100  # of a VAE: importance samples of its bound, a row
    seed: int = 0  # of the episodes, or of what is drawn
    sample: bool = False  # draw actions from the policy, or (default) take the likeliest
    best: bool = False  # the best model that was evaluated in training, or (default) the last
    record: bool = False  # keep the episodes in RUN/rollouts/


def main(words: list[str]) -> None:
    """Parses and runs `lab evaluate RUN ...`."""
    told: Evaluate = parse(Evaluate, words, "lab evaluate", "Plays episodes, or measures samples.")
    if told.episodes < 1:
        raise InputError(f"episodes is {told.episodes}, expected 1 or more")
    if told.samples < 1:
        raise InputError(f"samples is {told.samples}, expected 1 or more")
    if told.seed < 0:
        raise InputError(f"seed is {told.seed}, expected 0 or more")
    torch.set_num_threads(1)
    if (kind := read_config(told.run)["kind"]) in generative.registry.MODULES:
        if told.sample or told.record:
            raise InputError(f"{told.run} is a run of {kind!r}, expected no --sample and no --record")
        print("\n".join(evaluate_model(told.run, told.best, told.seed, told.samples)))
        return
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
