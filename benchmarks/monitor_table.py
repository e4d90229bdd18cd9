"""The table of the monitor's benchmark, from the results of its cells."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.monitor_cells import NULL, POLICY, family, names_of, severe

OURS, ORACLE = "monitor", "oracle"
PASSES = 0.95  # AUROC of the oracle, or of any detector beside it, from which on a cell counts
SENSORS = {"Pendulum-v1": 3, "Acrobot-v1": 6, "LunarLander-v3": 8}  # CartPole has 4
SENSORS |= {"HalfCheetah-v5": 17, "Hopper-v5": 11, "Reacher-v5": 10, "Pusher-v5": 23}


def show(folder: Path, envs: Sequence[str]) -> None:
    """Prints for each environment its cells, its families and its bars."""
    console = Console(width=170)
    for env in envs:
        if not (folder / env / "clean.json").exists():
            continue
        clean = json.loads((folder / env / "clean.json").read_text())
        cells = names_of(env, SENSORS.get(env, 4))
        found = {
            cell: json.loads(file.read_text())
            for cell in cells
            if (file := folder / env / f"{cell}.json").exists()
        }
        names = list(clean["detectors"])
        console.print(_cells(env, clean, found, names))
        found = {cell: result for cell, result in found.items() if cell == NULL or _matters(result)}
        console.print(_families(env, found, names))
        for name, row in clean["detectors"].items():
            if took := row.get("step_us"):
                console.print(f"  {name}: {took[0]:.0f} us a step, {took[1]:.0f} in the 99th percentile")
        for line in _bars(found, {cell: severe(cell, cells) for cell in found}):
            console.print(line)


def _cells(env: str, clean: dict[str, Any], found: dict[str, Any], names: list[str]) -> Table:
    tests = clean["tests"]
    alarms = ", ".join(
        f"{name} {row['false_5']}/{row['false_1']}" for name, row in clean["detectors"].items()
    )
    where = f"alarms in {tests} clean episodes at 5 %/1 %: {alarms}"
    title = f"{env}: mean return {clean['return']:.1f}; {where}"
    table = Table(title=title, title_justify="left")
    for head in (
        "cell",
        "changed",
        "lost",
        *names,
        "interval",
        "10 @ 5 %",
        "10 @ 1 %",
        "delay",
        "fell",
        "lead",
        "warned",
        "named",
    ):
        table.add_column(head, justify="left" if head == "cell" else "right")
    for cell, result in found.items():
        rows = result["detectors"]
        ours = rows[OURS]
        table.add_row(
            cell if cell == NULL or _matters(result) else f"{cell} (no sensor shows it)",
            f"{result['changed']:.0%}",
            f"{result['lost']:.1f}",
            *(f"{rows[name]['value']:.3f}" for name in names),
            f"{ours['low']:.3f}-{ours['high']:.3f}",
            f"{ours['found_10']:.0%}",
            f"{ours['found_10_at_1']:.0%}",
            f"{ours['delay']:.0f}",
            f"{result['fell']:.0%}",
            f"{ours['lead']:.0f}" if "lead" in ours else "-",
            f"{ours['warned']:.0%}" if "warned" in ours else "-",
            f"{ours['named']:.0%}" if np.isfinite(ours["named"]) else "-",
        )
    return table


def _matters(result: dict[str, Any]) -> bool:
    """Whether a fault changed anything in any episode, by its clean twins."""
    return bool(result["changed"] > 0)


def _families(env: str, found: dict[str, Any], names: list[str]) -> Table:
    """Means over the cells of a family, with intervals: cells are taken as independent."""
    table = Table(title=f"{env}: mean AUROC of families, ± 95 %", title_justify="left")
    for head in ("family", *names):
        table.add_column(head, justify="left" if head == "family" else "right")
    for name in dict.fromkeys(family(cell) for cell in found if cell != NULL):
        rows = [result["detectors"] for cell, result in found.items() if family(cell) == name]
        table.add_row(name, *(_mean([row[detector] for row in rows]) for detector in names))
    world = [result["detectors"] for cell, result in found.items() if cell not in (NULL, *POLICY)]
    if world:
        table.add_row(f"all {len(world)} cells", *(_mean([row[name] for row in world]) for name in names))
    return table


def _mean(rows: list[dict[str, float]]) -> str:
    half = np.array([(row["high"] - row["low"]) / 2 for row in rows])
    return f"{np.mean([row['value'] for row in rows]):.3f} ±{np.sqrt((half**2).sum()) / len(rows):.3f}"


def _bars(found: dict[str, Any], is_severe: dict[str, bool]) -> list[str]:
    """What the bars ask, over the cells that something sees."""
    seen = {
        cell: result["detectors"][OURS]
        for cell, result in found.items()
        if cell not in (NULL, *POLICY) and _visible(result["detectors"])
    }
    top = {cell: row for cell, row in seen.items() if is_severe[cell]}
    small = [row["value"] for cell, row in seen.items() if cell.endswith("x1.01")]
    named = [row["named"] for cell, row in seen.items() if family(cell) in ("bias", "stuck", "dropout")]
    passed = [_passes(row) for row in top.values()]
    lines = [f"{len(seen)} cells that a detector sees (AUROC {PASSES} or more; all where there is no oracle)"]
    if top:
        lines.append(
            f"  severe: {sum(passed)} of {len(top)} have AUROC >= .95 and >= 95 % found within 10 steps"
        )
        if all(ORACLE in found[cell]["detectors"] for cell in top):
            oracle = [_passes(found[cell]["detectors"][ORACLE]) for cell in top]
            both = sum(ours and its for ours, its in zip(passed, oracle, strict=True))
            lines.append(f"    the oracle itself: {sum(oracle)} of {len(top)}; ours {both} of these")
    if small:
        lines.append(f"  1 % faults: AUROC {', '.join(f'{value:.3f}' for value in small)} (bar .75)")
    if named:
        lines.append(f"  sensor named for bias, stuck, dropout: {np.nanmean(named):.0%} (bar 80 %)")
    return lines


def _visible(rows: dict[str, dict[str, float]]) -> bool:
    """Whether the oracle or any detector tells a cell apart: an oracle that is worse excuses nobody."""
    return ORACLE not in rows or max(row["value"] for row in rows.values()) >= PASSES


def _passes(row: dict[str, float]) -> bool:
    """The bar for severe faults."""
    return row["value"] >= 0.95 and row["found_10"] >= 0.95
