"""`lab monitor RUN`: learns what an agent's clean episodes look like, and tries what it sees of faults."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table as Grid

from agents import registry
from anomaly.monitor import RolloutMonitor
from anomaly.monitor_nets import Config
from anomaly.monitor_trial import findings, judge, named_right, play
from envs.recording import Act, Episodes, record
from lab.arguments import parse
from lab.monitor_story import Cell, Story, faults_for
from training.errors import InputError
from training.folder import RunFolder, new_path, read_config
from training.seeds import numpy_generator, stream

NAMED = 10  # episodes of a cell in which the sensor is named


@dataclass(frozen=True)
class Monitor:
    """What `lab monitor` is told."""

    run: tyro.conf.Positional[Path | None] = None  # the folder of an agent's run
    log: Annotated[Path | None, tyro.conf.arg(name="log")] = None  # or recorded episodes, of anybody's agent
    dir: Path | None = None  # where it goes, new; default: RUN/monitor, or the next free runs/monitor-...
    alpha: float = 0.05  # share of clean episodes that may raise an alarm
    seed: int = 0  # of everything
    fit: int = 50  # clean episodes to fit
    calibrate: int = 200  # and to calibrate
    test: int = 100  # and to test the promise
    faulty: int = 50  # episodes of each fault
    updates: int = 6_000  # of the networks that foretell a step

    def __post_init__(self) -> None:
        for name, least in (
            ("seed", 0),
            ("fit", 5),
            ("calibrate", 1),
            ("test", 1),
            ("faulty", 2),
            ("updates", 1),
        ):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}, expected {least} or more")
        if (self.run is None) == (self.log is None):
            raise InputError("expected a run's folder or --log EPISODES, one of them")


def main(words: list[str]) -> None:
    """Parses and runs `lab monitor ...`."""
    told: Monitor = parse(Monitor, words, "lab monitor", "A monitor for an agent, or for recorded episodes.")
    torch.set_num_threads(1)
    start = time.perf_counter()
    agent = None
    if told.run is not None:
        read_config(told.run)
        agent = registry.load(told.run / "model")
        if agent.spaces.picture:
            raise InputError(f"{told.run} sees pictures, a monitor expects rows of numbers")
        path = told.dir or told.run / "monitor"
    else:
        assert told.log is not None
        log = Episodes.load(told.log)
        path = told.dir or new_path(f"monitor-{told.log.stem}")
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(told).items()}
    folder = RunFolder(path, "monitor", settings)
    try:
        if agent is None:
            story = of_log(log, told, path)
        else:
            story = of_agent(agent.policy.act, agent.cfg.env, told, path)
    except BaseException:
        folder.discard()
        raise
    show(story)
    for i, cell in enumerate(story.cells.values()):
        folder.write(i, {"eval/auroc": cell.seen.auroc.value, "eval/found_10": cell.seen.early})
    folder.close()

    from lab.monitor_page import write  # matplotlib takes half a second to import

    print(f"{write(story)}  ({time.perf_counter() - start:.0f} s)")


def of_agent(act: Act, env: str, told: Monitor, path: Path) -> Story:
    """Plays clean episodes, fits and calibrates on some, and tries faults on others."""
    print(f"1. Clean episodes of {env} are played")
    parts = {
        name: _clean(act, env, getattr(told, name), told.seed, name) for name in ("fit", "calibrate", "test")
    }
    twins = _clean(act, env, told.faulty, told.seed, "faulty")
    print("2. The monitor learns and is calibrated")
    story = _fitted(parts, told, path, told.run, act)
    print("3. Faults are tried")
    scale = tuple(float(deviation) for deviation in parts["fit"].obs.std(axis=0))
    usual = int(np.median(parts["fit"].length))
    for name, fault in faults_for(env, len(scale), parts["fit"].actions).items():
        onset = numpy_generator(told.seed, f"onset {name}").integers(
            usual // 10, max(usual // 2, 2), told.faulty
        )
        played = play(act, fault, onset, twins, scale)
        score = story.monitor.score(played.episodes)
        seen = judge(score, story.monitor.threshold, played.since, story.clean, told.seed)
        found = findings(story.monitor, played.episodes, range(min(NAMED, told.faulty)))
        story.cells[name] = Cell(played, score, seen, named_right(found, fault))
    return story


def of_log(log: Episodes, told: Monitor, path: Path) -> Story:
    """Fits, calibrates and tests on disjoint parts of recorded episodes: a quarter, a half, a quarter."""
    order = numpy_generator(told.seed, "log").permutation(len(log))
    cuts = np.split(order, [len(log) // 4, len(log) - len(log) // 4])
    parts = {
        name: log.part(np.sort(cut)) for name, cut in zip(("fit", "calibrate", "test"), cuts, strict=True)
    }
    counts = ", ".join(f"{len(part)} to {name}" for name, part in parts.items())
    print(f"{len(log)} episodes of {log.env}: {counts}; all of them are taken to be clean")
    return _fitted(parts, told, path, None, None)


def show(story: Story) -> None:
    """Prints the checks and the table."""
    if story.cells:
        print(story.null)
        header, rows = story.table()
        grid = Grid(*header)
        for row in rows:
            grid.add_row(*row)
        Console(width=None if Console().is_terminal else 130).print(grid)
    print(story.false_alarms)
    print(story.cost)


def _clean(act: Act, env: str, count: int, seed: int, name: str) -> Episodes:
    first = stream(seed, name) % 2**31
    return record(act, env, range(first, first + count))


def _settings(told: Monitor) -> Config:
    return Config(seed=told.seed, steps=told.updates, place_steps=max(1, told.updates // 3))


def _fitted(
    parts: dict[str, Episodes], told: Monitor, path: Path, run: Path | None, act: Act | None
) -> Story:
    monitor = RolloutMonitor.fit(parts["fit"], _settings(told))
    monitor.calibrate(parts["calibrate"], told.alpha)
    monitor.save(path / "model")
    env, clean = parts["fit"].env, monitor.score(parts["test"])
    return Story(run, act, path, env, told.seed, monitor, clean, _cost(monitor, parts["test"]))


def _cost(monitor: RolloutMonitor, played: Episodes) -> tuple[float, float]:
    """Median and 99th percentile of the time of an update, over up to 2,000 clean steps without an alarm."""
    took = []
    monitor.update(played.obs[0])
    for obs, action in zip(played.next_obs[:2_000], played.action[:2_000], strict=True):
        start = time.perf_counter()
        verdict = monitor.update(obs, action)
        if verdict.raised:  # naming the sensor takes longer, once an alarm
            monitor.rearm()
        else:
            took.append(time.perf_counter() - start)
    return float(np.median(took) * 1e6), float(np.quantile(took, 0.99) * 1e6)
