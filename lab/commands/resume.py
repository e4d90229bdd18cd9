"""`lab resume RUN`: goes on with a run that was stopped or killed, as if it had never been."""

from dataclasses import dataclass
from pathlib import Path

import tyro

import agents.registry
import generative.registry
from lab.arguments import parse
from lab.commands.train import ending, go_on
from training.checkpoint import load_checkpoint
from training.config import from_dict
from training.errors import InputError
from training.folder import RunFolder, read_config


@dataclass(frozen=True)
class Resume:
    """What `lab resume` is told."""

    run: tyro.conf.Positional[Path]  # the folder of the run


def main(words: list[str]) -> None:
    """Parses and runs `lab resume RUN`."""
    told: Resume = parse(Resume, words, "lab resume", "Goes on with a run from its last checkpoint.")
    kind = read_config(told.run)["kind"]
    if kind in agents.registry.ENGINES:
        raise InputError(f"{told.run} is a run of {kind}, which cannot be resumed: train it again")
    folder = RunFolder.reopen(told.run)
    modules = agents.registry.MODULES | generative.registry.MODULES
    if kind not in modules:
        raise InputError(f"{told.run} is a run of {kind!r}, expected one of {', '.join(modules)}")
    cfg = from_dict(modules[kind].Config, folder.config["config"], f"{told.run}/config.json")
    tree = load_checkpoint(told.run)
    if tree is not None and tree["driver"]["finished"]:
        print(f"{told.run} is finished: {tree['driver']['step']:,} steps")
        return
    if tree is None:
        print(f"{told.run} has no checkpoint yet: it starts again")
    else:
        print(f"{told.run} goes on after {tree['driver']['step']:,} steps")
    outcome = go_on(kind, cfg, folder, tree)
    print(ending(told.run, outcome))
    if outcome.signal is not None:
        raise SystemExit(128 + outcome.signal)
