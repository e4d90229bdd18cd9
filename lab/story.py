"""What `lab demo` finds out: the faults it tries, and the facts that its table and its page show."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomaly.calibration import realised_range
from anomaly.rollouts import AUROC, RolloutDetector
from envs.faults import Fault
from envs.recording import Act
from training.errors import InputError

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
