"""`lab demo`: an agent learns CartPole, a VAE learns its clean episodes, and faults are found in others."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table as Grid

from agents import registry
from agents.evaluation import evaluate, summary
from anomaly.rollouts import RolloutDetector, after, delays, time_matched_auroc
from envs.recording import Act, Episodes, record
from lab.arguments import parse
from lab.learning import learn
from lab.story import ALPHA, CELLS, ENV, GOAL, Cell, Demo, Story
from training.folder import RunFolder, new_path
from training.seeds import numpy_generator, stream


def main(words: list[str]) -> None:
    """Parses and runs `lab demo`."""
    told: Demo = parse(Demo, words, "lab demo", "The whole story on CartPole.")
    start = time.perf_counter()
    path = told.dir or new_path("demo")
    settings = {"seed": told.seed, "episodes": told.episodes, "faulty": told.faulty}
    RunFolder(path, "demo", settings).close()
    torch.set_num_threads(1)

    print(f"1. PPO learns {ENV}")
    cfg = registry.PRESETS["ppo"][ENV]
    cfg = replace(cfg, run=replace(cfg.run, seed=told.seed))
    learn("ppo", cfg, path / "agent")
    act = registry.load(path / "agent" / "model").policy.act
    judged = summary(evaluate(act, ENV, 100, told.seed))
    print(f"   mean return {judged['eval/return']:.1f} over 100 episodes, after {cfg.run.steps:,} steps")

    print("2. Clean episodes are recorded; a VAE learns some, others calibrate the alarm")
    clean = record_clean(act, told, path)
    detector = RolloutDetector.fit(clean["fit"], seed=told.seed)
    detector.calibrate(clean["calibrate"], ALPHA)
    reference = detector.score(clean["test"])

    print("3. Faulty episodes are scored against clean ones at the same time since their start")
    scale = tuple(float(deviation) for deviation in clean["fit"].obs.std(axis=0))
    cells = {name: play_cell(name, act, scale, detector, reference, told) for name in CELLS}
    story = Story(told, path, act, judged, detector, reference, cells)
    show(story)

    from lab.story_page import write  # matplotlib takes half a second to import

    report = write(story)
    print(f"{report}  ({time.perf_counter() - start:.0f} s)")
    if judged["eval/return"] < GOAL:
        print(f"The agent did not reach a mean return of {GOAL:g}.")
        raise SystemExit(1)


def record_clean(act: Act, told: Demo, path: Path) -> dict[str, Episodes]:
    """Clean episodes from disjoint seeds to fit, calibrate and test, kept under `rollouts/`."""
    counts = {"fit": told.episodes, "calibrate": 2 * told.episodes, "test": told.episodes}
    clean = {}
    for name, count in counts.items():
        first = stream(told.seed, name) % 2**31
        clean[name] = record(act, ENV, range(first, first + count))
        clean[name].save(path / "rollouts" / f"clean-{name}.npz")
    return clean


def play_cell(
    name: str,
    act: Act,
    scale: tuple[float, ...],
    detector: RolloutDetector,
    reference: np.ndarray,
    told: Demo,
) -> Cell:
    """Plays the episodes of one cell, their onsets drawn from steps 50 to 149, and scores them."""
    onset = numpy_generator(told.seed, f"onset {name}").integers(50, 150, told.faulty)
    faults = [replace(CELLS[name], onset=int(step), scale=scale) for step in onset]
    first = stream(told.seed, name) % 2**31
    episodes = record(act, ENV, range(first, first + told.faulty), faults)
    score = detector.score(episodes)
    delay = delays(detector.alarms(score), onset)
    return Cell(
        faults=faults,
        returns=float(episodes.returns.mean()),
        score=score,
        auroc=time_matched_auroc(after(score, onset), reference, told.seed),
        found=float((delay <= 10).mean()),
        delay=float(np.median(delay)),
    )


def show(story: Story) -> None:
    """Prints the table and the two checks."""
    header, rows = story.table()
    grid = Grid(*header)
    for row in rows:
        grid.add_row(*row)
    Console(width=None if Console().is_terminal else 110).print(grid)
    print(story.alarms)
    print(story.null)
