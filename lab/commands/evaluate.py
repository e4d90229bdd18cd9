"""`lab evaluate RUN`: an agent plays episodes; a generative model is held against test rows. Of several seeds
each is judged, then all as one.

A detector is met with labelled rows instead: `lab/labelled.py`.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tyro

import generative.registry
from agents import registry, sb3_zip
from agents.comparison import standing
from agents.evaluation import evaluate, summary
from envs.recording import UNLIMITED
from lab import labelled
from lab.arguments import parse
from lab.many import members
from lab.quality import evaluate_model
from lab.trust import load
from training.errors import InputError
from training.folder import RunFolder, new_path, read_config
from training.seeds import torch_generator

ABOUT = (
    "Plays episodes with a trained agent. Of a detector: lab evaluate RUN DATA --label-column Y [--by COLUMN]"
    " [--alpha A]."
)


@dataclass(frozen=True)
class Evaluate:
    """What `lab evaluate` is told."""

    run: tyro.conf.Positional[Path]  # the folder of a run or of a set of seeds, or a .zip
    episodes: int = 100  # of an agent: how many, each from a seed of its own
    samples: int = 100  # of a VAE: importance samples of its bound, a row
    seed: int = 0  # of the episodes, or of what is drawn
    sample: bool = False  # draw actions from the policy, or (default) take the likeliest
    best: bool = False  # the best model that was evaluated in training, or (default) the last
    record: bool = False  # keep the episodes in RUN/rollouts/
    env: str | None = None  # what a .zip was trained on
    vec_normalize: Path | None = None  # what VecNormalize saved beside a .zip, if there is such a file
    trust: bool = False  # read a .zip, or import the class a run names as its environment: their code runs
    dir: Path | None = None  # the new run folder for the agent of a .zip; default: the next under runs/


def main(words: list[str]) -> None:
    """Parses and runs `lab evaluate RUN ...`."""
    named = bool(words) and not words[0].startswith("-") and not words[0].endswith(".zip")
    if named and read_config(members(Path(words[0]))[0])["kind"] == "detector":
        labelled.main(words)
        return
    told: Evaluate = parse(Evaluate, words, "lab evaluate", ABOUT)
    if told.episodes < 1:
        raise InputError(f"episodes is {told.episodes}, expected 1 or more")
    if told.samples < 1:
        raise InputError(f"samples is {told.samples}, expected 1 or more")
    if told.seed < 0:
        raise InputError(f"seed is {told.seed}, expected 0 or more")
    torch.set_num_threads(1)
    if told.run.suffix != ".zip" and (told.env, told.vec_normalize, told.dir) != (None, None, None):
        raise InputError(f"{told.run} is no .zip, expected no --env, --vec-normalize or --dir")
    run = _imported(told) if told.run.suffix == ".zip" else told.run
    means = []
    for one in (runs := members(run)):
        if len(runs) > 1:
            print(f"{one}:")
        means.append(_evaluate(one, told))
    if len(runs) > 1 and None not in means:
        found = standing(np.array(means))
        print(f"{run}, {found.runs} runs:")
        for name, (mean, low, high) in (("mean return", found.mean), ("IQM        ", found.iqm)):
            print(f"  {name} {mean:.1f}  (95 % bootstrap interval over runs {low:.1f} to {high:.1f})")


def _evaluate(run: Path, told: Evaluate) -> float | None:
    """Prints how good a run is; returns an agent's mean return."""
    kind = read_config(run)["kind"]
    if kind in generative.registry.MODULES:
        if told.sample or told.record:
            raise InputError(f"{run} is a run of {kind!r}, expected no --sample and no --record")
        print("\n".join(evaluate_model(run, told.best, told.seed, told.samples)))
        return None
    agent = load(run, told.trust, "best" if told.best else "model")
    act = agent.policy.act
    if told.sample:
        act = partial(act, generator=torch_generator(told.seed, "actions"))
    episodes = evaluate(act, agent.cfg.env, told.episodes, told.seed)
    found = summary(episodes)
    how = "actions drawn from the policy" if told.sample else "greedy actions"
    print(
        f"{agent.kind} on {agent.cfg.env}, {told.episodes} episodes, {how}, {agent.step:,} steps of learning"
    )
    print(f"  mean return {_with_interval(found, 'eval/return', told.episodes)}")
    print(f"  IQM         {_with_interval(found, 'eval/iqm', told.episodes)}")
    lengths = episodes.length
    print(f"  length      {lengths.mean():.1f}  (shortest {lengths.min()}, longest {lengths.max()})")
    if cut := int((lengths == UNLIMITED).sum()):
        print(f"  cut         {cut} after {UNLIMITED:,} steps, as where there is no time limit")
    if told.record:
        name = f"{'best-' if told.best else ''}{'sampled' if told.sample else 'greedy'}-{told.seed}"
        file = run / "rollouts" / f"{name}.npz"
        episodes.save(file)
        print(f"  recorded    {file}")
    return found["eval/return"]


def _imported(told: Evaluate) -> Path:
    """The run folder made of a .zip of Stable-Baselines3."""
    if not told.run.is_file():
        raise InputError(f"{told.run} does not exist, expected a model that Stable-Baselines3 saved")
    if told.env is None:
        raise InputError(f"{told.run} does not say what it plays, expected --env ID")
    if not told.trust:
        raise InputError(f"{told.run} may hold code, which reading it runs: expected --trust if you trust it")
    if told.best:
        raise InputError(f"{told.run} holds one model, expected no --best")
    agent = sb3_zip.read(told.run, told.env, told.vec_normalize)
    path = told.dir or new_path(f"sb3-{told.env}")
    folder = RunFolder(path, agent.kind, asdict(agent.cfg))
    registry.save(path / "model", agent.kind, agent)
    folder.close()
    print(f"{path}: {agent.cfg.algo} read from {told.run}, from now on a run like others")
    return path


def _with_interval(found: dict[str, float], name: str, episodes: int) -> str:
    low, high = found[f"{name}_low"], found[f"{name}_high"]
    if episodes < 2:
        return f"{found[name]:.1f}  (one episode has no interval)"
    return f"{found[name]:.1f}  (95 % bootstrap interval {low:.1f} to {high:.1f})"
