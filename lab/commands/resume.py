"""`lab resume RUN`: goes on with a run that was stopped or killed, as if it had never been."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from lab.arguments import parse
from lab.learning import go_on
from lab.many import go_on_with_seeds, is_set
from training import distributed, session


@dataclass(frozen=True)
class Resume:
    """What `lab resume` is told."""

    run: tyro.conf.Positional[Path]  # the folder of the run, or of the runs of several seeds
    trust: bool = False  # import the class that the run names as its environment: its code runs


def main(words: list[str]) -> None:
    """Parses and runs `lab resume RUN`."""
    told: Resume = parse(Resume, words, "lab resume", "Goes on with a run from its last checkpoint.")
    if is_set(told.run):
        go_on_with_seeds(told.run, told.trust)
        return
    with distributed.joined():
        session.finish(told.run, go_on(told.run, told.trust), f"`lab resume {told.run}` goes on")
