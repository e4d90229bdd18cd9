"""The page of `lab demo`: learning curve, table, scores over time, ROC, frames."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from anomaly.rollouts import after, around, time_matched_p
from envs.drawing import render
from lab.figures import FAULTS, QUIET, learning_curve, picture, roc, scores_over_time
from lab.page import Page
from lab.story import ENV, GOAL, NULL, Story
from training.folder import read_rows
from training.seeds import stream

SHOWN = "force × 1.5"  # the cell that is drawn over time and frame by frame


def write(story: Story) -> Path:
    """Writes report.html and returns where it is."""
    page = Page(
        "A model that watches an agent",
        f"PPO learned {ENV}; a variational autoencoder learned what its clean episodes look like; then"
        " sensors and forces were broken, and the model said when.",
    )
    _agent(page, story)
    page.section("What the model saw", story.null)
    page.table(*story.table())
    _alarm(page, story)
    _frames(page, story)
    page.footer(
        f"lab demo --seed {story.told.seed} · {story.told.faulty} episodes a fault, onsets at steps 50 to 149"
    )
    report = story.path / "report.html"
    page.save(report)
    return report


def _agent(page: Page, story: Story) -> None:
    judged = story.judged
    page.section(
        "The agent",
        f"Mean return over 100 greedy episodes: {judged['eval/return']:.1f} (95 % interval"
        f" {judged['eval/return_low']:.1f} to {judged['eval/return_high']:.1f}).",
    )
    rows = read_rows(story.path / "agent")
    training, evaluated = (
        np.array([(row["global_step"], row[name]) for row in rows if name in row])
        for name in ("episode/return", "eval/return")
    )
    page.figure(
        learning_curve(training, evaluated, GOAL),
        "Return while learning, and of 20 greedy episodes at intervals.",
    )


def _alarm(page: Page, story: Story) -> None:
    count = story.told.episodes
    page.section(
        "When it raises an alarm",
        f"The threshold is calibrated on the highest score of each of {2 * count} clean episodes that nothing"
        f" else used. {story.alarms}",
    )
    steps = np.arange(-50, 150)
    curves = {name: around(story.cells[name].score, story.cells[name].onset, steps) for name in (NULL, SHOWN)}
    page.figure(
        scores_over_time(steps, curves, story.detector.threshold),
        "Score of each step: medians and the middle 90 % of episodes.",
    )
    p = {
        name: time_matched_p(after(cell.score, cell.onset), story.clean) for name, cell in story.cells.items()
    }
    page.figure(
        roc(p, (QUIET, *FAULTS)),
        "Steps after the onset against clean steps of other episodes at the same time since their start.",
        narrow=True,
    )


def _frames(page: Page, story: Story) -> None:
    fault = replace(story.cells[SHOWN].faults[0], onset=100)
    moments = (99, 110, 150)
    frames = render(story.act, ENV, stream(story.told.seed, "frames") % 2**31, fault, moments)
    titles = [f"step {step}, {'before' if step < fault.onset else 'after'} the onset" for step in moments]
    page.section("What it looks like")
    page.strip(
        [(picture(frame), title) for frame, title in zip(frames, titles, strict=True)],
        f"One episode, {SHOWN} from step {fault.onset} on: little to see, and yet found.",
    )
