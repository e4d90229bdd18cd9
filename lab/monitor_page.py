"""The page of `lab monitor`: null check, promise, table, delays, one episode with frames and its alarm."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes

from anomaly.monitor_trial import findings
from envs.drawing import render
from envs.switched import Switched
from lab.figures import FAULTS, INK, NORMAL, QUIET, draw, picture
from lab.monitor_story import NAMED, NULL, Story
from lab.page import Page
from training.errors import InputError

STEPS = 60  # of the delay curves, after the first change


def write(story: Story) -> Path:
    """Writes report.html and returns where it is."""
    page = Page(
        f"A monitor for {story.env}",
        "It learned what clean episodes look like. An alarm says that a sensor, an actuator or the world has"
        " changed, and which sensor it is.",
    )
    if story.cells:
        page.section("Null check", story.null)
        page.section("False alarms", story.false_alarms)
        _faults(page, story)
        _episode(page, story)
    else:
        page.section("False alarms", story.false_alarms)
    page.section("Clean episodes", "Scores of clean episodes that neither fitted nor calibrated the monitor.")
    page.figure(_clean(story), "Median and middle 90 % of clean episodes, and the highest of all.")
    page.footer(story.cost)
    report = story.path / "report.html"
    page.save(report)
    return report


def _faults(page: Page, story: Story) -> None:
    page.section(
        "What it sees",
        "AUROC of steps after the first change against clean steps of other episodes at the same time; share"
        " of episodes with an alarm within 10 and 50 steps; median steps to the alarm; alarms, in the first"
        f" {NAMED} episodes, that named the broken sensor, or none where it is no single sensor.",
    )
    page.table(*story.table())
    page.figure(
        _delays(story), "Share of episodes with an alarm, by steps since the fault first changed something."
    )


def _delays(story: Story) -> str:
    def paint(axes: Axes) -> None:
        steps = np.arange(STEPS)
        dashes = ("-", (0, (4, 2)), (0, (1, 1.5)))
        for i, (name, cell) in enumerate(story.cells.items()):
            found = (cell.seen.delay[:, None] <= steps).mean(axis=0)
            color = QUIET if name == NULL else FAULTS[(i - 1) % len(FAULTS)]
            style = dashes[(i - 1) // len(FAULTS) % len(dashes)]
            axes.step(steps, found, where="post", color=color, lw=1.6, ls=style, label=name)
        axes.set(xlabel="steps since the first change", ylabel="share found", ylim=(-0.02, 1.04))
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))

    return draw(paint, 7.2, 3.2)


def _episode(page: Page, story: Story) -> None:
    """The episode of the fault that costs most, with the frames before, at and after its alarm."""
    name = max(story.cells, key=lambda cell: story.cells[cell].played.lost)
    cell = story.cells[name]
    at = int(np.argmin(np.where(np.isfinite(cell.seen.delay), cell.seen.delay, np.inf)))
    reached = np.flatnonzero(cell.played.since < cell.played.episodes.length)
    at = int(reached[min(at, len(reached) - 1)])
    score = cell.score[at][~np.isnan(cell.score[at])]
    above = np.flatnonzero(score > story.monitor.threshold)
    alarm = int(above[0]) if len(above) else len(score) - 1
    finding = findings(story.monitor, cell.played, [at])[0]
    said = (
        "no alarm"
        if finding is None
        else "alarm: "
        + ("an actuator or the world" if finding.sensor is None else f"sensor {finding.sensor}")
    )
    page.section("One episode", f"{name}: from step {cell.played.faults[at].onset} on.")
    moments = sorted({max(0, alarm - 20), alarm, min(len(score) - 1, alarm + 20)})
    act = story.act
    assert act is not None
    if cell.other is not None:
        act = Switched(act, cell.other, torch.tensor([cell.played.faults[at].onset]))
    try:
        frames = render(
            act,
            story.env,
            int(cell.played.episodes.seed[at]),
            cell.played.faults[at],
            [step + 1 for step in moments],
        )
    except (InputError, ImportError) as error:
        page.section("", f"There are no frames: {error}")
    else:
        shown = [(picture(frame), f"step {step}") for frame, step in zip(frames, moments, strict=True)]
        page.strip(shown, f"Before, at and after the alarm, at step {alarm}.")
    page.figure(
        _score(score, story.monitor.threshold, cell.played.faults[at].onset, alarm, said),
        "Score of each step; the dashed line is the threshold.",
    )


def _score(score: np.ndarray, threshold: float, onset: int, alarm: int, said: str) -> str:
    def paint(axes: Axes) -> None:
        axes.plot(np.minimum(score, 1e3), color=NORMAL, lw=1.3)
        axes.axhline(threshold, color=INK, lw=0.8, ls=(0, (4, 3)))
        axes.axvline(onset, color=QUIET, lw=1, label=f"onset, step {onset}")
        axes.axvline(alarm, color=FAULTS[0], lw=1, label=f"{said}, step {alarm}")
        axes.set(xlabel="step", ylabel="score")
        axes.set_yscale("symlog", linthresh=5)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)

    return draw(paint)


def _clean(story: Story) -> str:
    def paint(axes: Axes) -> None:
        score = story.clean[:, (~np.isnan(story.clean)).any(axis=0)]
        steps = np.arange(score.shape[1])
        low, middle, high, most = np.nanquantile(score, [0.05, 0.5, 0.95, 1.0], axis=0)
        axes.fill_between(steps, low, high, color=NORMAL, alpha=0.18, lw=0)
        axes.plot(steps, middle, color=NORMAL, lw=1.5)
        axes.plot(steps, most, color=QUIET, lw=0.8)
        axes.axhline(story.monitor.threshold, color=INK, lw=0.8, ls=(0, (4, 3)), label="alarm")
        axes.set(xlabel="step", ylabel="score")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1))

    return draw(paint)
