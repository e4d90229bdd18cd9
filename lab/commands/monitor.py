"""`lab monitor RUN`: learns what an agent's clean episodes look like, and tries what it sees of faults."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Grid

from agents import registry
from anomaly.monitor import RolloutMonitor
from anomaly.monitor_nets import Config
from anomaly.monitor_promise import check_episodes, check_run_length, check_stretches
from anomaly.monitor_state import Scales
from anomaly.monitor_statistics import Channels
from anomaly.monitor_trial import Played, cost, findings, judge, named_right, play
from envs.recording import Act, Episodes, record
from envs.switched import Switched
from lab.arguments import parse
from lab.monitor_policy import POLICY_TRIALS, Trial, checked, policy_trials
from lab.monitor_story import NAMED, Cell, Story, faults_for
from lab.trust import load
from training.device import set_process
from training.errors import InputError
from training.folder import RunFolder, new_path, read_config
from training.run import RunConfig
from training.seeds import numpy_generator, stream
from training.wandb_log import WandbLog

PILOT = 2  # episodes that tell how long a step takes
PASSES = 6  # through half of the episodes that calibrate
ROW_S, CHANNEL_S = 5e-6, 4e-8  # time to score a step of an episode, and for each channel of it
UPDATE_S = 1.2e-3  # time of an update of the networks


@dataclass(frozen=True)
class Monitor:
    """What `lab monitor` is told."""

    run: tyro.conf.Positional[Path | None] = None  # the folder of an agent's run
    log: Annotated[Path | None, tyro.conf.arg(name="log")] = None  # or recorded episodes, of anybody's agent
    dir: Path | None = None  # where it goes, new; default: RUN/monitor, or the next free runs/monitor-...
    alpha: float = 0.05  # share of clean episodes that may raise an alarm
    run_length: int | None = None  # instead, for runs without an end: steps between false alarms, in the mean
    seed: int = 0  # of everything
    fit: int = 50  # clean episodes to fit
    calibrate: int = 200  # and to calibrate
    test: int = 100  # and to test the promise
    faulty: int = 50  # episodes of each fault
    updates: int = 12_000  # of the networks that foretell a step
    policy_check: bool = False  # also what the policy makes of it; a step takes twice as long
    max_steps: int | None = None  # of an episode; default: as many as --minutes leave time for
    minutes: float = 8.0  # that all of it may take, about
    trust: bool = False  # import the class that the run names as its environment: its code runs
    wandb: Literal["offline", "online", "disabled"] = "offline"  # Weights & Biases; WANDB_MODE overrides it
    project: str = "lab"  # the W&B project
    entity: str | None = None  # the W&B team or user
    tags: tuple[str, ...] = ()  # W&B tags

    def __post_init__(self) -> None:
        for name, least in (
            ("seed", 0),
            ("fit", 5),
            ("calibrate", 1),
            ("test", 1),
            ("faulty", 2),
            ("updates", 1),
            ("max_steps", 2),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} is {getattr(self, name)}, expected {least} or more")
        if not self.minutes > 0:
            raise InputError(f"minutes is {self.minutes}, expected more than 0")
        if (self.run is None) == (self.log is None):
            raise InputError("expected a run's folder or --log EPISODES, one of them")
        if self.run_length is not None:
            check_run_length(self.run_length)
        elif self.run is not None:
            check_episodes(self.alpha, self.calibrate)
        if self.policy_check and self.run is None:
            raise InputError("--policy-check with --log, expected a run's folder: a log has no policy")


def main(words: list[str]) -> None:
    """Parses and runs `lab monitor ...`."""
    told: Monitor = parse(Monitor, words, "lab monitor", "A monitor for an agent, or for recorded episodes.")
    set_process()
    start = time.perf_counter()
    agent = None
    if told.run is not None:
        read_config(told.run)
        agent = load(told.run, told.trust)
        if told.policy_check:
            checked(agent)  # refuses before anything is played
        if agent.spaces.picture:
            raise InputError(f"{told.run} sees pictures, a monitor expects rows of numbers")
        path = told.dir or told.run / "monitor"
    else:
        assert told.log is not None
        log = Episodes.load(told.log)
        if log.fault.any():
            raise InputError(
                f"{told.log} has {int(log.fault.sum())} steps with a fault, expected clean episodes"
            )
        path = told.dir or new_path(f"monitor-{told.log.stem}")
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(told).items()}
    folder = RunFolder(path, "monitor", settings)
    try:
        story = of_log(log, told, path) if agent is None else of_agent(agent, told, path)
    except BaseException:
        folder.discard()
        raise
    show(story)
    beside = RunConfig(wandb=told.wandb, project=told.project, entity=told.entity, tags=told.tags)
    mirror = WandbLog(beside, path, folder.config, f"monitor/{story.env}")
    for i, row in enumerate(story.rows()):
        folder.write(i, row)
        mirror.write(i, row)
    mirror.keep(path / "model")
    mirror.close()
    folder.close()

    from lab.monitor_page import write  # matplotlib takes half a second to import

    print(f"{write(story)}  ({time.perf_counter() - start:.0f} s)")


def of_agent(agent: registry.Agent, told: Monitor, path: Path) -> Story:
    """Plays clean episodes, fits and calibrates on some, and tries faults on others."""
    act, env = agent.policy.act, agent.cfg.env
    print(f"1. Clean episodes of {env} are played")
    most = told.max_steps or _affordable(act, env, told)
    parts = {
        name: _clean(act, env, getattr(told, name), told.seed, name, most)
        for name in ("fit", "calibrate", "test")
    }
    twins = _clean(act, env, told.faulty, told.seed, "faulty", most)
    if told.run_length is not None:
        length = parts["calibrate"].length
        check_stretches(length[len(length) // 2 :], told.run_length)  # the others make the bands
    print("2. The monitor learns and is calibrated")
    story = _fitted(parts, told, path, agent)
    print("3. Faults are tried")
    scale = tuple(float(deviation) for deviation in parts["fit"].obs.std(axis=0))
    usual = int(np.median(parts["fit"].length))
    faults = faults_for(env, story.monitor.scales.example)
    trials = {name: Trial(fault) for name, fault in faults.items()}
    if told.policy_check:
        trials |= policy_trials(agent, scale, told.seed)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for name, trial in progress.track(trials.items(), description="  "):
            draw = numpy_generator(told.seed, f"onset {name}")
            onset = draw.integers(usual // 10, max(usual // 2, 2), told.faulty)
            acting = act if trial.other is None else Switched(act, trial.other, torch.from_numpy(onset))
            played = play(acting, trial.fault, onset, twins, scale, most)
            story.cells[name] = _tried(story, played, trial)
    return story


def _tried(story: Story, played: Played, trial: Trial) -> Cell:
    score = story.monitor.score(played.episodes)
    seen = judge(score, story.monitor.threshold, played.since, story.clean, story.seed)
    found = findings(story.monitor, played, range(min(NAMED, len(played.episodes))))
    return Cell(played, score, seen, named_right(found, trial.fault), trial.other)


def of_log(log: Episodes, told: Monitor, path: Path) -> Story:
    """Fits, calibrates and tests on disjoint parts of recorded episodes: a quarter, a half, a quarter."""
    order = numpy_generator(told.seed, "log").permutation(len(log))
    cuts = np.split(order, [len(log) // 4, len(log) - len(log) // 4])
    parts = {
        name: log.part(np.sort(cut)) for name, cut in zip(("fit", "calibrate", "test"), cuts, strict=True)
    }
    counts = ", ".join(f"{len(part)} to {name}" for name, part in parts.items())
    print(f"{len(log)} episodes of {log.env}: {counts}; all of them are taken to be clean")
    return _fitted(parts, told, path, None)


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


def _affordable(act: Act, env: str, told: Monitor) -> int | None:
    """Steps after which episodes are cut so that there is time for all of them; None: they need not be.

    A few are played against the clock; the others are taken to be as long.
    """
    start = time.perf_counter()
    pilot = _clean(act, env, PILOT, told.seed, "pilot", None)
    rows = int(pilot.length.sum())
    played_s = (time.perf_counter() - start) / rows
    actuators = pilot.actions or pilot.action.shape[1]
    view = Scales.of(pilot).view
    channels = Channels(len(view), actuators, view.shape[1]).count
    cells = len(faults_for(env, 0)) + POLICY_TRIALS * told.policy_check
    episodes = told.fit + told.calibrate + told.test + (1 + cells) * told.faulty
    scored = told.fit + PASSES * told.calibrate / 2 + told.test + cells * told.faulty
    cost_s = episodes * played_s + scored * (ROW_S + channels * CHANNEL_S)  # of a step of each
    left_s = told.minutes * 60 - UPDATE_S * told.updates
    if cost_s * rows / PILOT <= left_s:
        return None
    most = max(2, int(left_s / cost_s))
    print(
        f"   Episodes are cut after {most} steps to take about {told.minutes:g} minutes; `--max-steps {most}`"
        " does the same again, --minutes allows more. Of what comes later nothing is promised"
    )
    return most


def _clean(act: Act, env: str, count: int, seed: int, name: str, most: int | None) -> Episodes:
    first = stream(seed, name) % 2**31
    return record(act, env, range(first, first + count), max_steps=most)


def _settings(told: Monitor) -> Config:
    return Config(seed=told.seed, steps=told.updates, place_steps=max(1, told.updates // 3))


def _fitted(parts: dict[str, Episodes], told: Monitor, path: Path, agent: registry.Agent | None) -> Story:
    policy = checked(agent) if agent is not None and told.policy_check else None
    monitor = RolloutMonitor.fit(parts["fit"], _settings(told), policy=policy)
    if told.run_length is None:
        monitor.calibrate(parts["calibrate"], told.alpha)
    else:
        monitor.calibrate_endless(parts["calibrate"], told.run_length)
    monitor.save(path / "model")
    env, clean = parts["fit"].env, monitor.score(parts["test"])
    act = None if agent is None else agent.policy.act
    return Story(told.run, act, path, env, told.seed, monitor, clean, cost(monitor, parts["test"]))
