"""`lab watch RUN`: an agent plays an episode in the terminal, its monitor beside it."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from anomaly.monitor import RolloutMonitor
from anomaly.monitor_env import MonitorWrapper
from anomaly.monitor_live import Verdict
from envs.drawing import draw_unseen, frame
from envs.dynamics import DYNAMICS
from envs.faults import CHOICES, SENSING, Fault, FaultyEnv
from envs.recording import act_once
from envs.replayable import Replayable
from envs.spaces import Spaces
from envs.vector import make_one
from lab.arguments import parse
from lab.monitor_policy import checked
from lab.trust import load
from training.device import set_process
from training.errors import InputError
from training.folder import read_config

KINDS = tuple(kind for kind in CHOICES["kind"] if kind != "attack")
SIZES = {
    "noise": 0.5,
    "autoregressive": 0.5,
    "correlated": 0.5,
    "drift": 0.05,
    "dropout": 0.1,
    "replace": 0.1,
}
SIZES |= {"scale": 1.5, "gain": 1.5, "offset": 0.5, "jitter": 0.5, "start": 3.0}
SIZES |= dict.fromkeys(DYNAMICS, 1.5)
BAR = 40  # characters of the score's bar


@dataclass(frozen=True)
class Watch:
    """What `lab watch` is told."""

    run: tyro.conf.Positional[Path]  # the folder of an agent's run for which `lab monitor` was run
    fault: str = "none"  # what breaks, such as stuck, bias, force: kinds are those of envs/faults.py
    size: float | None = None  # how much; default: something severe
    sensor: int | None = None  # which sensor breaks; default: the middle one of those that move
    onset: int = 50  # the step from which on it is broken
    steps: int = 200  # how many to watch at most
    seed: int = 0  # of the episode
    virtual: bool = False  # a sensor that the monitor names is replaced by what it should read
    every: int = 5  # steps between lines, beside those on which something happens
    frames: Path | None = None  # a new folder for a picture of each line's step
    pause_s: float = 0.0  # seconds between steps
    trust: bool = False  # import the class that the run names as its environment: its code runs

    def __post_init__(self) -> None:
        if self.fault not in KINDS:
            raise InputError(f"fault is {self.fault!r}, expected one of {', '.join(KINDS)}")
        for name, least in (("onset", 0), ("steps", 1), ("seed", 0), ("every", 1), ("pause_s", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}, expected {least} or more")
        if self.frames is not None and self.frames.exists():
            raise InputError(f"{self.frames} exists already, expected a new folder")


def main(words: list[str]) -> None:
    """Parses and runs `lab watch RUN ...`."""
    told: Watch = parse(Watch, words, "lab watch", "An agent plays an episode, its monitor beside it.")
    set_process()
    read_config(told.run)
    agent = load(told.run, told.trust)
    folder = told.run / "monitor" / "model"
    if not folder.exists():
        raise InputError(f"{told.run} has no monitor, expected one: `lab monitor {told.run}` makes it")
    looks = read_config(folder.parent)["config"].get("policy_check", False)
    monitor = RolloutMonitor.load(folder, checked(agent) if looks else None)
    env = agent.cfg.env
    if told.frames is not None:
        draw_unseen()
    inner = make_one(env, render_mode="rgb_array") if told.frames is not None else make_one(env)
    world = FaultyEnv(Replayable(inner), _fault(told, monitor))
    spaces = Spaces.of(inner.observation_space, inner.action_space, env)
    _play(MonitorWrapper(world, monitor, "virtual" if told.virtual else "note"), agent, spaces, told, monitor)
    world.close()


def _fault(told: Watch, monitor: RolloutMonitor) -> Fault:
    scales = monitor.scales
    sensor = scales.example if told.sensor is None else told.sensor
    kind: Any = told.fault
    size = SIZES.get(kind, 1.0) if told.size is None else told.size
    sensors = (sensor,) if kind in SENSING else ()
    scale = tuple(float(deviation) for deviation in scales.deviation)
    return Fault(kind=kind, size=size, sensors=sensors, onset=told.onset, scale=scale, steps=3)


def _play(env: MonitorWrapper, agent: Any, spaces: Spaces, told: Watch, monitor: RolloutMonitor) -> None:
    from_step = 0 if told.fault == "start" else told.onset  # a start comes with the reset
    fault = f"{told.fault}, from step {from_step} on (x)" if told.fault != "none" else "none"
    print(f"{agent.kind} on {agent.cfg.env}, seed {told.seed}; fault: {fault}")
    act = agent.policy.act  # taken once: what remembers an episode is made anew each time
    getattr(act, "begin", lambda: None)()
    obs, _ = env.reset(seed=told.seed)
    total, early, late = 0.0, False, False  # alarms before the fault, and with it
    for step in range(told.steps):
        obs, reward, terminated, truncated, info = env.step(act_once(act, obs, spaces))
        total += float(reward)
        verdict: Verdict = info["monitor"]
        ended = terminated or truncated
        if step % told.every == 0 or step == told.onset or verdict.raised or ended:
            print(_line(step, verdict, monitor.threshold, told.fault != "none" and bool(info["fault"])))
            if told.frames is not None:
                _picture(told.frames / f"step-{step:05d}.png", frame(env))
            sys.stdout.flush()
        broken = told.fault != "none" and step >= from_step
        early, late = early or (verdict.raised and not broken), late or (verdict.raised and broken)
        time.sleep(told.pause_s)
        if ended:
            break
    how = "raised a false alarm" if early else "raised an alarm" if late else "raised no alarm"
    never = told.fault != "none" and step < from_step
    print(
        f"return {total:g} in {step + 1} steps; the monitor {how}{'; the fault never came' if never else ''}"
    )


def _line(step: int, verdict: Verdict, threshold: float, broken: bool) -> str:
    """Step, a bar of the score in which `|` is the threshold, and the verdict."""
    share = np.clip(verdict.score / (2 * threshold), 0, 1)
    full = round(BAR * float(share))
    bar = "".join("|" if i == BAR // 2 else "█" if i < full else "·" for i in range(BAR))
    said = ""
    if verdict.alarm:
        found = verdict.finding
        how = "too early to tell how" if found.kind == "unknown" else found.kind
        what = "an actuator or the world" if found.sensor is None else f"sensor {found.sensor} ({how})"
        said = f"{'ALARM' if verdict.raised else 'alarm'}: {what}"
    return f"{step:5d} {'x' if broken else ' '} {bar} {verdict.score:8.2f}  {said}".rstrip()


def _picture(file: Path, pixels: Any) -> None:
    from matplotlib.image import imsave  # half a second to import

    file.parent.mkdir(parents=True, exist_ok=True)
    imsave(file, np.asarray(pixels))
