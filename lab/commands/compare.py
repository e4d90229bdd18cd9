"""`lab compare RUNS RUNS...`: sets of runs side by side; the seeds of a set are judged as one."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from agents.comparison import Standing, efficiency, improvement, standing
from lab import figures
from lab.arguments import parse
from lab.many import runs_in
from lab.page import Page
from training.errors import InputError
from training.folder import read_config, read_rows

HEADER = ("set", "runs", "mean", "median", "interquartile mean")


@dataclass(frozen=True)
class Compare:
    """What `lab compare` is told."""

    sets: tyro.conf.Positional[tuple[Path, ...]]  # runs, or folders of runs as `--seeds` leaves them
    out: Path | None = None  # a page to write, with curves


@dataclass(frozen=True)
class Runs:
    """The runs of one set, with what they have in common."""

    about: dict[str, Any]  # kind and settings, but for the seed
    curves: list[np.ndarray]  # of each run, rows of (step, evaluated return)

    @property
    def scores(self) -> np.ndarray:
        """The last evaluation of each run."""
        return np.array([curve[-1, 1] for curve in self.curves])


def main(words: list[str]) -> None:
    """Parses and runs `lab compare RUNS RUNS...`."""
    told: Compare = parse(Compare, words, "lab compare", "Compares sets of runs, by their last evaluations.")
    if not told.sets:
        raise InputError("lab compare needs folders of runs, expected one or more")
    names = [str(path) for path in told.sets]
    if len(set(names)) < len(names):
        raise InputError(f"{max(names, key=names.count)} is given twice, expected different sets")
    sets = {name: _runs(path) for name, path in zip(names, told.sets, strict=True)}
    subjects = {found.about["config"].get("env") for found in sets.values()}
    if len(subjects) > 1:
        raise InputError(f"the runs are of {', '.join(sorted(map(str, subjects)))}, expected one environment")
    rows = [_row(name, standing(found.scores)) for name, found in sets.items()]
    _print(f"returns on {subjects.pop()}, last evaluations; 95 % intervals over runs", HEADER, rows)
    pairs = [(f"{a} > {b}", _more(sets[a].scores, sets[b].scores)) for a, b in permutations(sets, 2)]
    if pairs:
        _print("probability that a run of one scores higher", ("", "probability"), pairs)
    if told.out is not None:
        _page(sets, rows, pairs).save(told.out)
        print(told.out)


def _runs(path: Path) -> Runs:
    """The run at `path`, or the runs in it."""
    folders = [path] if (path / "config.json").exists() else runs_in(path)
    if not folders:
        raise InputError(f"{path} holds no run, expected a run or a folder of runs")
    abouts, curves = [], []
    for folder in folders:
        config = read_config(folder)
        run = {k: v for k, v in config["config"].get("run", {}).items() if k != "seed"}
        abouts.append({"kind": config["kind"], "config": {**config["config"], "run": run}})
        curve = [
            (r["global_step"], r["eval/return"])
            for r in read_rows(folder)
            if r.get("eval/return") is not None
        ]
        if not curve:
            raise InputError(f"{folder} has no evaluated return, expected the run of an agent")
        curves.append(np.array(curve, float))
        _tell_of_unfinished(folder, curve[-1], run)
    for folder, about in zip(folders, abouts, strict=True):
        if about != abouts[0]:
            raise InputError(
                f"{folder} has other settings than {folders[0]}, expected runs that differ by seed"
            )
    return Runs(abouts[0], curves)


def _tell_of_unfinished(folder: Path, last: tuple[float, float], run: dict[str, Any]) -> None:
    """Warns of a run whose last evaluation is not that of its end."""
    (step, score), steps, goal = last, run.get("steps", 0), run.get("stop_at")
    if step < steps and not run.get("patience") and (goal is None or score < goal):
        warnings.warn(f"{folder} was last evaluated after {step:,} of {steps:,} steps", stacklevel=2)


def _row(name: str, found: Standing) -> tuple[str, ...]:
    shown = (_shown(value, found.runs) for value in (found.mean, found.median, found.iqm))
    return name, str(found.runs), *shown


def _more(a: np.ndarray, b: np.ndarray) -> str:
    return _shown(improvement(a, b), min(len(a), len(b)))


def _shown(found: tuple[float, float, float], runs: int) -> str:
    """The value and its interval; of single runs there is none."""
    value, low, high = found
    return f"{value:.4g} ({low:.4g} to {high:.4g})" if runs > 1 else f"{value:.4g} (one run)"


def _print(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    grid = Table(*header, title=title, title_justify="left")
    for row in rows:
        grid.add_row(*row)
    console = Console()
    Console(width=None if console.is_terminal else 140).print(grid)


def _page(sets: dict[str, Runs], rows: Sequence[tuple[str, ...]], pairs: Sequence[tuple[str, ...]]) -> Page:
    page = Page(" and ".join(sets), "The unit is the training run; intervals are 95 % bootstraps over runs.")
    page.section("Last evaluations")
    page.table(HEADER, rows)
    if pairs:
        page.section("Probability that a run of one set scores higher than a run of the other")
        page.table(("", "probability"), pairs)
    page.section("Sample efficiency")
    bands = {name: efficiency(found.curves) for name, found in sets.items()}
    page.figure(
        figures.efficiency(bands),
        "Interquartile mean of evaluations over runs, with its interval, over steps.",
    )
    return page
