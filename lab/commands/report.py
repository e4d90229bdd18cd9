"""`lab report RUN...`: one self-contained page of what runs were told and how they went."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from lab.arguments import parse
from lab.detector_page import detector_page
from lab.figures import curves, embedded, layers, range_test
from lab.many import members
from lab.page import Page
from lab.pictures import gif
from lab.snapshots import taken
from training.errors import InputError
from training.files import writing
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
    "gradient": "Gradient norms, layer by layer",
    "update": "Steps over weights, layer by layer",
    "dead": "Share of units that stand still, layer by layer",
    "optim": "Optimizer",
    "time": "Time",
}
SEED = 0  # of the episode in a video
SNAPSHOTS = 3  # of each kind
SHOWN = {
    "episode": "an episode that the agent played",
    "reconstructions": "data, each with its reconstruction at its right",
    "samples": "samples",
    "traversal": "a row of data with its latent dimensions, one a line, from low to high",
}
LAYERS = ("gradient", "update", "dead")  # groups whose metrics are layers: a figure holds all of a run's


@dataclass(frozen=True)
class Report:
    """What `lab report` is told."""

    runs: tyro.conf.Positional[tuple[Path, ...]]  # folders of runs or of sets of seeds, for one page
    out: Path | None = None  # the page to write; default: report.html in the folder of the first run
    video: bool = False  # an episode of each agent, as episode.gif in its folder and on the page
    trust: bool = False  # for a video, import the class that a run names as its environment: its code runs


def main(words: list[str]) -> None:
    """Parses and runs `lab report RUN...`."""
    told: Report = parse(Report, words, "lab report", "Draws how runs went, on one page.")
    if not told.runs:
        raise InputError("lab report needs the folder of a run, expected one or more")
    runs = [run for path in told.runs for run in members(path)]
    kind, out = read_config(runs[0])["kind"], told.out or told.runs[0] / "report.html"
    if kind == "monitor" and told.out is None and out.exists():  # `lab monitor` wrote a page that tells more
        if len(runs) > 1:
            raise InputError(f"{out} is the monitor's own page, expected --out and another file")
        print(out)
        return
    if len(runs) == 1 and kind == "detector":
        detector_page(runs[0], out)
        print(out)
        return
    names = [path.resolve().name for path in runs]
    if len(set(names)) < len(names):
        names = [str(path) for path in runs]
    configs = {name: read_config(path) for name, path in zip(names, runs, strict=True)}
    rows = {name: read_rows(path) for name, path in zip(names, runs, strict=True)}
    if not any(rows.values()):
        raise InputError(f"{runs[0]} has no rows in metrics.jsonl, expected a run that has learned")
    kinds = ", ".join(sorted({config["kind"] for config in configs.values()}))
    page = Page(" and ".join(configs), f"{kinds}, as the rows of metrics.jsonl tell it.")
    for name, config in configs.items():
        if config["config"].get("optim", {}).get("schedule") == "range":
            _range_test(page, name, rows[name])
    if told.video:
        page.section("An episode", "Greedy, from the last model; every second of at most 600 steps.")
        for name, run in zip(configs, runs, strict=True):
            page.figure(*_video(run, name, told.trust), narrow=True)
    for name, path in zip(names, runs, strict=True):
        _snapshots(page, name, path)
    for group, metrics in _by_group(rows).items():
        page.section(TITLES.get(group, group))
        if group in LAYERS:
            page.grid([layers(lines, run) for run, lines in _by_run(metrics).items()])
        else:
            page.grid([curves(lines, name) for name, lines in metrics.items()])
    page.section("What was asked for")
    page.table(["setting", *configs], _settings(configs))
    page.save(out)
    print(out)


def _video(run: Path, name: str, trust: bool) -> tuple[str, str]:
    """An episode of an agent as an image of a page, and what it shows; written beside the model too."""
    from envs.drawing import film  # a second of imports that pages without a video do without
    from lab.trust import load

    agent = load(run, trust)
    frames, total = film(agent.policy.act, agent.cfg.env, SEED)
    video = gif(frames)
    with writing(run / "episode.gif") as file:
        file.write(video)
    return embedded(video, "gif"), f"{name}: return {total:g} in {len(frames)} frames, seed {SEED}"


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


def _by_run(metrics: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    """Run, layer -> rows of (step, value), from metric, run -> rows."""
    found: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for metric, lines in metrics.items():
        for run, line in lines.items():
            found[run][metric.partition("/")[2]] = line
    return found


def _range_test(page: Page, name: str, rows: list[dict[str, float]]) -> None:
    """What a run whose learning rate rose from little to much says about which to take."""
    loss = next((key for row in rows for key in row if key.startswith("loss/")), "")
    found = np.array([(row["optim/lr"], row[loss]) for row in rows if row.get(loss) and "optim/lr" in row])
    if len(found) < 3:
        return
    best = found[np.nanargmin(found[:, 1]), 0] / 10  # Smith: an order below where the loss is least
    page.section(f"Learning-rate range test of {name}")
    caption = f"{loss} while the learning rate rose; a tenth of the rate with the least loss is a safe start."
    page.figure(range_test(found[:, 0], found[:, 1], best), caption)


def _snapshots(page: Page, name: str, run: Path) -> None:
    """The first pictures of each kind that the run drew, some from between, and the last."""
    found = taken(run)
    if found:
        page.section(f"Pictures of {name}", "; ".join(SHOWN[kind] for kind in found if kind in SHOWN))
    for kind, files in found.items():
        chosen = sorted({round(i) for i in np.linspace(0, len(files) - 1, SNAPSHOTS)})
        pictures = [
            (embedded(files[i][1].read_bytes(), files[i][1].suffix[1:]), f"step {files[i][0]:,}")
            for i in chosen
        ]
        page.strip(pictures, kind)


def _settings(configs: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Every setting and version as a row, one column a run."""
    flat = []
    for config in configs.values():
        settings = config["config"]
        own = {name: value for name, value in settings.items() if not isinstance(value, dict)}
        groups = (*settings.values(), config.get("versions"))
        more = {k: v for group in groups if isinstance(group, dict) for k, v in group.items()}
        flat.append({"kind": config["kind"], **own, **more})
    names = list(dict.fromkeys(name for one in flat for name in one))
    return [[name, *(_shown(one.get(name)) for one in flat)] for name in names]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
