"""What `lab monitor` finds out: the faults it tries, and the facts that its table and its page show."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np

from anomaly.monitor import RolloutMonitor
from anomaly.monitor_trial import Played, Seen
from envs.dynamics import DYNAMICS, Dynamics, Moved
from envs.faults import Fault
from envs.masks import sizes
from envs.recording import Act
from envs.vector import make_one
from training.errors import InputError

NULL = "no fault"
NAMED = 10  # episodes of a cell in which the sensor is named


@dataclass(frozen=True)
class Cell:
    """One fault: what it did, how the monitor saw it, how often it named the right sensor, or none."""

    played: Played
    score: np.ndarray  # (E, T)
    seen: Seen
    named: tuple[int, int]  # right, of so many alarms
    other: Act | None = None  # the policy that took over at the onset, where one did


@dataclass(frozen=True)
class Story:
    """All that `lab monitor` found out."""

    run: Path | None  # of the agent
    act: Act | None
    path: Path
    env: str
    seed: int
    monitor: RolloutMonitor
    clean: np.ndarray  # scores (E, T) of clean episodes that nothing else used
    cost_us: tuple[float, float]  # of a step: median and 99th percentile
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def false_alarms(self) -> str:
        """The promise about false alarms and what became of it."""
        return self.monitor.promise.kept(self.clean)

    @property
    def null(self) -> str:
        """Whether the cell without a fault came out at one half."""
        found = self.cells[NULL].seen.auroc
        where = "inside" if found.low <= 0.5 <= found.high else "OUTSIDE"
        return f"Without a fault the AUROC is {found.value:.3f}: 0.5 lies {where} its 95 % interval."

    @property
    def cost(self) -> str:
        """Time a step takes."""
        median, slow = self.cost_us
        return f"A step takes {median:.0f} µs on one thread; one in a hundred takes {slow:.0f} µs or more."

    def rows(self) -> list[dict[str, float]]:
        """Metrics of each cell, in the table's order; of a log alone, those of its clean episodes."""
        rows = [
            {
                "eval/auroc": cell.seen.auroc.value,
                "eval/found_10": cell.seen.early,
                "eval/found_50": cell.seen.later,
                "eval/lost": cell.played.lost,
            }
            | ({"eval/named": cell.named[0] / cell.named[1]} if cell.named[1] else {})
            for cell in self.cells.values()
        ]
        alarms = float(self.monitor.alarms(self.clean).any(axis=1).mean())
        return [row | {"eval/false_alarms": alarms} for row in rows or [{}]]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows, a row for each cell."""
        header = ["fault", "return lost", "AUROC", "95 % interval", "in 10 steps", "in 50", "delay", "named"]
        return header, [self._row(name, cell) for name, cell in self.cells.items()]

    def _row(self, name: str, cell: Cell) -> list[str]:
        seen, changed = cell.seen, (cell.played.change >= 0).any()
        delay = float(np.median(seen.delay)) if len(seen.delay) else np.inf
        return [
            name if changed or name == NULL else f"{name} (no sensor shows it)",
            f"{cell.played.lost:.1f}",
            f"{seen.auroc.value:.3f}",
            f"{seen.auroc.low:.3f}-{seen.auroc.high:.3f}",
            f"{seen.early:.0%}",
            f"{seen.later:.0%}",
            f"{delay:.0f}" if np.isfinite(delay) else "never",
            f"{cell.named[0]} of {cell.named[1]}" if cell.named[1] and name != NULL else "-",
        ]


def faults_for(env: str, at: int) -> dict[str, Fault]:
    """About eight faults that an environment can have, by name, the control first; one sensor is `at`."""
    made = make_one(env)
    discrete, world = bool(sizes(made.action_space)), next(filter(partial(_has, made), DYNAMICS), None)
    made.close()
    one = (at,)
    found = {
        NULL: Fault(kind="none"),
        "noise, 0.1 sd on all sensors": Fault(kind="noise", size=0.1),
        f"bias, 0.5 sd on sensor {at}": Fault(kind="bias", size=0.5, sensors=one),
        f"drift, 0.01 sd a step on sensor {at}": Fault(kind="drift", size=0.01, sensors=one),
        f"sensor {at} stuck": Fault(kind="stuck", sensors=one),
        f"sensor {at} drops out, 1 step in 10": Fault(kind="dropout", size=0.1, sensors=one),
        "all sensors 3 steps late": Fault(kind="delay", steps=3),
    }
    if discrete:
        found["1 action in 10 random"] = Fault(kind="replace", size=0.1)
    else:
        found["actions × 1.5"] = Fault(kind="gain", size=1.5)
    if world is None:
        found["actions 3 steps late"] = Fault(kind="late", steps=3)
    else:
        found[f"{world} × 1.1"] = Fault(kind=world, size=1.1)
    return found


def _has(env: gym.Env, kind: Moved) -> bool:
    try:
        Dynamics(env, kind)
    except InputError:
        return False
    return True
