"""`lab demo`: an agent learns CartPole, a VAE learns its clean episodes, and faults are found in others."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table as Grid

from agents import registry
from agents.evaluation import evaluate, summary
from anomaly.rollouts import (
    AUROC,
    RolloutDetector,
    after,
    delays,
    from_onset,
    time_matched_auroc,
    time_matched_p,
)
from envs.faults import Fault
from envs.recording import Act, Episodes, record, render
from lab.arguments import parse
from lab.commands.train import train_agent
from lab.figures import FAULTS, learning_curve, picture, roc, scores_over_time
from lab.page import Page
from training.errors import InputError
from training.folder import new_path, read_rows
from training.seeds import numpy_generator, stream

ENV = "CartPole-v1"
GOAL = 475.0  # mean return over 100 episodes at which CartPole-v1 counts as solved
ALPHA = 0.05  # share of clean episodes that may raise an alarm
CELLS = {
    "no fault": Fault(kind="none"),
    "noise, 0.1 sd on every sensor": Fault(kind="noise", size=0.1),
    "bias, 1 sd on the pole's angle": Fault(kind="bias", size=1.0, sensors=(2,)),
    "stuck pole velocity": Fault(kind="stuck", sensors=(3,)),
    "force × 1.5": Fault(kind="force", size=1.5),
}
SHOWN = "force × 1.5"  # the cell that the page draws over time and frame by frame


@dataclass(frozen=True)
class Demo:
    """What `lab demo` is told."""

    dir: Path | None = None  # where it goes, new; default: the next free runs/demo-NNN
    seed: int = 0  # of everything
    episodes: int = 50  # clean episodes to fit, and to test; twice as many calibrate
    faulty: int = 25  # episodes of each fault


@dataclass(frozen=True)
class Cell:
    """What one fault did, and how the detector saw it."""

    returns: float
    auroc: AUROC
    found: float  # share of episodes with an alarm within 10 steps of the onset
    delay: float  # median steps from onset to alarm
    score: np.ndarray  # (E, T)
    onset: np.ndarray  # (E,)


def main(words: list[str]) -> None:
    """Parses and runs `lab demo`."""
    told: Demo = parse(Demo, words, "lab demo", "The whole story on CartPole.")
    if min(told.episodes, told.faulty) < 10 or told.seed < 0:
        raise InputError(
            f"episodes, faulty, seed are {told.episodes}, {told.faulty}, {told.seed}; expected 10 or more of each"
            " kind of episode and a seed of 0 or more"
        )
    start = time.perf_counter()
    path = told.dir or new_path("demo")
    torch.set_num_threads(1)
    cfg = registry.PRESETS["ppo"][ENV]
    cfg = replace(cfg, run=replace(cfg.run, seed=told.seed))
    print(f"1. PPO learns {ENV}")
    train_agent("ppo", cfg, path / "agent")
    policy = registry.load(path / "agent" / "model").policy
    judged = summary(evaluate(policy.act, ENV, 100, told.seed))
    print(f"   mean return {judged['eval/return']:.1f} over 100 episodes, after {cfg.run.steps:,} steps")

    print("2. Clean episodes are recorded; a VAE learns some, others calibrate the alarm")
    clean = record_clean(policy.act, told, path)
    detector = RolloutDetector.fit(clean["fit"], seed=told.seed)
    detector.calibrate(clean["calibrate"], ALPHA)
    reference = detector.score(clean["test"])
    false_alarms = float(detector.alarms(reference).any(axis=1).mean())

    print("3. Faulty episodes are scored against clean ones at the same time since their start")
    cells = {name: judge(name, policy.act, clean["fit"], detector, reference, told) for name in CELLS}
    show(cells, false_alarms, told)
    page(path, told, judged, cells, reference, false_alarms, detector, policy.act, clean["fit"])
    print(f"{path / 'report.html'}  ({time.perf_counter() - start:.0f} s)")
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


def faults(name: str, clean: Episodes, told: Demo) -> list[Fault]:
    """The fault of a cell for each episode, its onset drawn from steps 50 to 149."""
    scale = tuple(float(deviation) for deviation in clean.obs.std(axis=0))
    onsets = numpy_generator(told.seed, f"onset {name}").integers(50, 150, told.faulty)
    return [replace(CELLS[name], onset=int(onset), scale=scale) for onset in onsets]


def judge(
    name: str, act: Act, clean: Episodes, detector: RolloutDetector, reference: np.ndarray, told: Demo
) -> Cell:
    """Plays the episodes of one cell and scores them."""
    broken = faults(name, clean, told)
    onset = np.array([fault.onset for fault in broken])
    first = stream(told.seed, name) % 2**31
    episodes = record(act, ENV, range(first, first + told.faulty), broken)
    score = detector.score(episodes)
    delay = delays(detector.alarms(score), onset)
    return Cell(
        returns=float(episodes.returns.mean()),
        auroc=time_matched_auroc(after(score, onset), reference, told.seed),
        found=float((delay <= 10).mean()),
        delay=float(np.median(delay)),
        score=score,
        onset=onset,
    )


def table(cells: Mapping[str, Cell]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of faults."""
    header = ["fault", "return", "AUROC", "95 % interval", "found within 10 steps", "median delay"]
    rows = [
        [
            name,
            f"{cell.returns:.0f}",
            f"{cell.auroc.value:.3f}",
            f"{cell.auroc.low:.3f} to {cell.auroc.high:.3f}",
            f"{cell.found:.0%}",
            f"{cell.delay:.0f} steps" if np.isfinite(cell.delay) else "never",
        ]
        for name, cell in cells.items()
    ]
    return header, rows


def null_verdict(cell: Cell) -> str:
    """Whether the check without a fault came out at one half."""
    inside = cell.auroc.low <= 0.5 <= cell.auroc.high
    return f"Without a fault the AUROC is {cell.auroc.value:.3f}: 0.5 lies {'inside' if inside else 'OUTSIDE'} its interval."


def show(cells: Mapping[str, Cell], false_alarms: float, told: Demo) -> None:
    """Prints the table."""
    header, rows = table(cells)
    grid = Grid(*header)
    for row in rows:
        grid.add_row(*row)
    Console().print(grid)
    print(f"False alarms: {false_alarms:.2f} per clean episode, {ALPHA:g} promised; {told.episodes} episodes")
    print(null_verdict(cells["no fault"]))


def page(
    path: Path,
    told: Demo,
    judged: Mapping[str, float],
    cells: Mapping[str, Cell],
    reference: np.ndarray,
    false_alarms: float,
    detector: RolloutDetector,
    act: Act,
    clean: Episodes,
) -> None:
    """Writes report.html."""
    out = Page(
        "A model that watches an agent",
        f"PPO learned {ENV}; a variational autoencoder learned what its clean episodes look like; then sensors"
        " and forces were broken, and the model said when.",
    )
    rows = read_rows(path / "agent")
    curves = [
        np.array([(row["global_step"], row[name]) for row in rows if name in row])
        for name in ("episode/return", "eval/return")
    ]
    out.section(
        "The agent",
        f"Mean return over 100 greedy episodes: {judged['eval/return']:.1f} (95 % interval"
        f" {judged['eval/return_low']:.1f} to {judged['eval/return_high']:.1f}).",
    )
    out.figure(learning_curve(*curves, goal=GOAL), "Return while learning, and of 20 greedy episodes at intervals.")

    out.section("What the model saw", null_verdict(cells["no fault"]))
    out.table(*table(cells))
    out.section(
        "When it raises an alarm",
        f"The threshold is calibrated on the highest score of {2 * told.episodes} clean episodes that nothing else"
        f" used, so that at most {ALPHA:.0%} of clean episodes raise any alarm, in the mean over calibration sets."
        f" Of {told.episodes} further clean episodes {false_alarms:.0%} did.",
    )
    shown = cells[SHOWN]
    window = 200
    out.figure(
        scores_over_time(
            from_onset(cells["no fault"].score, cells["no fault"].onset, window),
            from_onset(shown.score, shown.onset, window),
            detector.threshold,
            SHOWN,
        ),
        "Score of each step: medians and the middle 90 % of episodes.",
    )
    p = {name: time_matched_p(after(cell.score, cell.onset), reference) for name, cell in cells.items()}
    out.figure(
        roc(p, ("#7b8794", *FAULTS)),
        "Steps after the onset against clean steps of other episodes at the same time since their start.",
        narrow=True,
    )

    fault = replace(faults(SHOWN, clean, told)[0], onset=100)
    steps = (99, 110, 150)
    frames = render(act, ENV, stream(told.seed, "frames") % 2**31, fault, steps)
    titles = [f"step {step}, {'before' if step < fault.onset else 'after'} the onset" for step in steps]
    out.section("What it looks like")
    out.strip(
        [(picture(frame), title) for frame, title in zip(frames, titles, strict=True)],
        f"One episode, {SHOWN} from step {fault.onset} on: nothing to see, and yet found.",
    )
    out.footer(f"lab demo --seed {told.seed} · {told.faulty} episodes a fault, onsets at steps 50 to 149")
    out.save(path / "report.html")
