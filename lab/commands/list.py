"""`lab list`: what was run, and how it went."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab.arguments import parse
from training.errors import InputError
from training.folder import read_config, read_rows, score_text


@dataclass(frozen=True)
class List:
    """What `lab list` is told."""

    folder: tyro.conf.Positional[Path] = Path("runs")  # where the runs are; searched two levels deep


def main(words: list[str]) -> None:
    """Parses and runs `lab list`."""
    told: List = parse(List, words, "lab list", "Lists runs, the newest last.")
    if not told.folder.is_dir():
        raise InputError(f"{told.folder} is no folder, expected one with runs in it")
    found = [*told.folder.glob("*/config.json"), *told.folder.glob("*/*/config.json")]
    if not found:
        print(f"no runs in {told.folder}")
        return
    grid = Table("run", "kind", "of", "seed", "steps", "score")
    for file in sorted(found, key=lambda file: file.stat().st_mtime):
        name = str(file.parent.relative_to(told.folder))
        try:
            cells = _row(file.parent)
        except InputError as error:
            cells = ["unreadable", str(error)]
        grid.add_row(*map(escape, (name, *cells)))
    console = Console()
    Console(width=None if console.is_terminal else 120).print(grid)


def _row(run: Path) -> list[str]:
    config = read_config(run)
    settings: dict[str, Any] = config["config"]
    rows = read_rows(run)
    scores = [row.get("eval/return", row.get("eval/score")) for row in rows]
    last = next((score for score in reversed(scores) if score is not None), None)
    subject = str(settings.get("env") or settings.get("data") or "")
    run_settings = settings.get("run")
    seed = (run_settings if isinstance(run_settings, dict) else settings).get("seed")
    step = max((int(row["global_step"]) for row in rows), default=None)
    return [
        config["kind"],
        Path(subject).name,
        "" if seed is None else str(seed),
        "" if step is None else f"{step:,}",
        "" if last is None else score_text(last),
    ]
