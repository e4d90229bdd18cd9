"""Whose code runs: a class that a file names as its environment is imported only on the user's word."""

from pathlib import Path

from agents import registry
from training.errors import InputError


def check_trust(env: object, trust: bool, where: Path) -> None:
    """Raises InputError when making `env`, which the file or folder `where` names, would import a module
    that nobody but the file has named; with `trust` the user has."""
    if ":" in str(env) and not trust:
        raise InputError(
            f"{where} names the environment {env!r}, whose module runs when it is imported: expected --trust"
            " if you trust it"
        )


def load(run: Path, trust: bool, model: str = "model") -> registry.Agent:
    """The agent of a run that somebody else may have made.

    Raises:
        InputError: when its model cannot be read, and for an environment that `check_trust` refuses.
    """
    agent = registry.load(run / model)
    check_trust(agent.cfg.env, trust, run)
    return agent
