"""`lab report RUN...`: one self-contained page of what runs were told and how they went."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from lab.arguments import parse
from lab.detector_page import detector_page
from lab.figures import curves
from lab.page import Page
from training.errors import InputError
from training.folder import read_config, read_rows

TITLES = {
    "eval": "Evaluations",
    "episode": "Episodes while learning",
    "loss": "Losses",
    "policy": "Policy",
    "q": "Action values",
    "latent": "Latent codes",
    "explore": "Exploration",
    "grad": "Gradients",
    "time": "Time",
}


@dataclass(frozen=True)
class Report:
    """What `lab report` is told."""

    runs: tyro.conf.Positional[tuple[Path, ...]]  # folders of runs; several are drawn into one page
    out: Path | None = None  # the page to write; default: report.html in the folder of the first run


def main(words: list[str]) -> None:
    """Parses and runs `lab report RUN...`."""
    told: Report = parse(Report, words, "lab report", "Draws how runs went, on one page.")
    if not told.runs:
        raise InputError("lab report needs the folder of a run, expected one or more")
    if len(told.runs) == 1 and read_config(told.runs[0])["kind"] == "detector":
        out = told.out or told.runs[0] / "report.html"
        detector_page(told.runs[0], out)
        print(out)
        return
    names = [path.resolve().name for path in told.runs]
    if len(set(names)) < len(names):
        names = [str(path) for path in told.runs]
    configs = {name: read_config(path) for name, path in zip(names, told.runs, strict=True)}
    rows = {name: read_rows(path) for name, path in zip(names, told.runs, strict=True)}
    if not any(rows.values()):
        raise InputError(f"{told.runs[0]} has no rows in metrics.jsonl, expected a run that has learned")
    kinds = ", ".join(sorted({config["kind"] for config in configs.values()}))
    page = Page(" and ".join(configs), f"{kinds}, as the rows of metrics.jsonl tell it.")
    for group, metrics in _by_group(rows).items():
        page.section(TITLES.get(group, group))
        page.grid([curves(lines, name) for name, lines in metrics.items()])
    page.section("What was asked for")
    page.table(["setting", *configs], _settings(configs))
    out = told.out or told.runs[0] / "report.html"
    page.save(out)
    print(out)


def _by_group(rows: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Group, metric, run -> rows of (step, value); evaluations first, as TITLES has them."""
    points: dict[str, dict[str, list]] = defaultdict(lambda: defaultdict(list))
    for run, found in rows.items():
        for row in found:
            for name, value in row.items():
                if name != "global_step" and value is not None:
                    points[name][run].append((row["global_step"], value))
    order = [*TITLES, *sorted({name.split("/")[0] for name in points} - set(TITLES))]
    return {
        group: {
            name: {run: np.array(line) for run, line in points[name].items()}
            for name in sorted(points)
            if name.split("/")[0] == group
        }
        for group in order
        if any(name.split("/")[0] == group for name in points)
    }


def _settings(configs: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Every setting and version as a row, one column a run."""
    flat = []
    for config in configs.values():
        settings = config["config"]
        own = {name: value for name, value in settings.items() if not isinstance(value, dict)}
        groups = (settings.get("run"), config.get("versions"))
        more = {k: v for group in groups if isinstance(group, dict) for k, v in group.items()}
        flat.append({"kind": config["kind"], **own, **more})
    names = list(dict.fromkeys(name for one in flat for name in one))
    return [[name, *(_shown(one.get(name)) for one in flat)] for name in names]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
