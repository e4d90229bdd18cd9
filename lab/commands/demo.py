"""`lab demo`: an agent learns CartPole, a VAE learns its clean episodes, and faults are found in others."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table as Grid

from agents import registry
from agents.evaluation import evaluate, summary
from anomaly.calibration import realised_range
from anomaly.rollouts import AUROC, RolloutDetector, after, delays, time_matched_auroc
from envs.faults import Fault
from envs.recording import Act, Episodes, record
from lab.arguments import parse
from lab.commands.train import learn
from training.errors import InputError
from training.folder import RunFolder, new_path
from training.seeds import numpy_generator, stream

ENV = "CartPole-v1"
GOAL = 475.0  # mean return over 100 episodes at which CartPole-v1 counts as solved
ALPHA = 0.05  # share of clean episodes that may raise an alarm
NULL = "no fault"
CELLS = {
    NULL: Fault(kind="none"),
    "noise, 0.1 sd on every sensor": Fault(kind="noise", size=0.1),
    "bias, 1 sd on the pole's angle": Fault(kind="bias", size=1.0, sensors=(2,)),
    "stuck pole velocity": Fault(kind="stuck", sensors=(3,)),
    "force × 1.5": Fault(kind="force", size=1.5),
}


@dataclass(frozen=True)
class Demo:
    """What `lab demo` is told."""

    dir: Path | None = None  # where it goes, new; default: the next free runs/demo-NNN
    seed: int = 0  # of everything
    episodes: int = 50  # clean episodes to fit, and to test; twice as many calibrate
    faulty: int = 25  # episodes of each fault

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("episodes", 10), ("faulty", 2)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}, expected {least} or more")


@dataclass(frozen=True)
class Cell:
    """What one fault did, and how the detector saw it."""

    faults: list[Fault]  # one an episode
    returns: float  # mean over episodes
    score: np.ndarray  # (E, T)
    auroc: AUROC
    found: float  # share of episodes with an alarm within 10 steps of the onset
    delay: float  # median steps from onset to alarm

    @property
    def onset(self) -> np.ndarray:
        """The first faulty step of each episode (E,)."""
        return np.array([fault.onset for fault in self.faults])


@dataclass(frozen=True)
class Story:
    """All that the demo found out."""

    told: Demo
    path: Path
    act: Act
    judged: dict[str, float]  # of the agent, on 100 episodes
    detector: RolloutDetector
    clean: np.ndarray  # scores (E, T) of clean episodes that nothing else used
    cells: dict[str, Cell]

    @property
    def false_alarms(self) -> float:
        """The share of clean episodes with an alarm."""
        return float(self.detector.alarms(self.clean).any(axis=1).mean())

    @property
    def null(self) -> str:
        """Whether the cell without a fault came out at one half, in a sentence."""
        found = self.cells[NULL].auroc
        where = "inside" if found.low <= 0.5 <= found.high else "OUTSIDE"
        return f"Without a fault the AUROC is {found.value:.3f}: 0.5 lies {where} its 95 % interval."

    @property
    def alarms(self) -> str:
        """The promise about false alarms and what became of it, in a sentence."""
        tests, n = len(self.clean), 2 * self.told.episodes
        low, high = realised_range(n, ALPHA, tests)
        return (
            f"{round(self.false_alarms * tests)} of {tests} clean episodes raised a false alarm."
            f" At most {ALPHA:.0%} are promised, in the mean over sets of {n} calibration episodes;"
            f" {low} to {high} of {tests} fit that."
        )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows, a row for each cell."""
        header = ["fault", "return", "AUROC", "95 % interval", "found in 10 steps", "median delay"]
        rows = [
            [
                name,
                f"{cell.returns:.0f}",
                f"{cell.auroc.value:.3f}",
                f"{cell.auroc.low:.3f}-{cell.auroc.high:.3f}",
                f"{cell.found:.0%}",
                f"{cell.delay:.0f} steps" if np.isfinite(cell.delay) else "never",
            ]
            for name, cell in self.cells.items()
        ]
        return header, rows


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

    from lab.commands.demo_page import write  # matplotlib takes half a second to import

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
