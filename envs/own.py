"""Environments of users, found by `module:Class`."""

import importlib
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym

from training.errors import InputError


def own(env: str, **options: Any) -> gym.Env | None:
    """The environment of a class named `module:Class`, looked for in this folder too; None for an id.

    Raises:
        InputError: when the module cannot be imported, or has no such environment.
    """
    module, _, name = env.partition(":")
    if name and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    if not name or name.rpartition("-v")[0]:  # `module:Name-v0` is an id that the module registers
        return None
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise InputError(f"the environment {env!r} cannot be made: {error}") from None
    if not (isinstance(found, type) and issubclass(found, gym.Env)):
        raise InputError(f"{module} has no gymnasium.Env called {name!r}, expected module:Class")
    return found(**options)


def made(env: str, **options: Any) -> gym.Env:
    """The environment called `env`, an id or `module:Class`.

    Raises:
        InputError: for one that Gymnasium does not know or cannot make.
    """
    try:
        if env.startswith("ALE/"):
            import ale_py  # noqa: F401  (registers Atari's)
        found = own(env, **options) or gym.make(env, disable_env_checker=True, **options)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # whatever users' code raises, beside Gymnasium's errors
        kind = "" if isinstance(error, gym.error.Error) else f"{type(error).__name__}: "
        reason = " ".join(str(error).split())
        hint = "" if "-v" in env or ":" in env else " (expected an id such as CartPole-v1, or module:Class)"
        raise InputError(f"the environment {env!r} cannot be made: {kind}{reason}{hint}") from None
    for name in ("observation_space", "action_space"):
        if not isinstance(getattr(found.unwrapped, name, None), gym.Space):
            raise InputError(f"the environment {env!r} has no {name}, expected one of gymnasium.spaces")
    return found
