"""Environments of users, held against Gymnasium's rules before anything is learned on them."""

import re
import warnings
from functools import wraps
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env

from envs.masks import choices, sizes
from envs.own import made
from training.errors import InputError

COLOUR = re.compile("\x1b\\[[0-9;]*m(WARN: )?")  # what Gymnasium writes round its warnings


def check(env: str) -> None:
    """Holds an environment that is neither Gymnasium's nor Atari's against Gymnasium's rules for them.

    Raises:
        InputError: with the first rule that it breaks.
    """
    one = made(env)
    if type(one.unwrapped).__module__.startswith(("gymnasium.", "ale_py.")):
        one.close()
        return
    try:
        _allow_only(one.unwrapped)
        _plain_flags(one.unwrapped)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            check_env(one.unwrapped, skip_render_check=True, skip_close_check=True)
    except Exception as error:  # whatever users' code raises, beside the assertions of the rules
        reason = " ".join(str(error).split())
        raise InputError(f"{env} breaks a rule of environments: {type(error).__name__}: {reason}") from None
    finally:
        one.close()
    for warning in said:
        if "normalized space" in str(warning.message):
            continue  # agents act from -1 to 1 here, whatever the bounds are
        warnings.warn(f"{env}: {COLOUR.sub('', str(warning.message))}", stacklevel=2)


def _plain_flags(world: gym.Env) -> None:
    """Ends of episodes as bool where they are np.bool_, which serves as well: the rules test for identity."""
    step = world.step

    def plain(found: Any) -> Any:
        return tuple(bool(one) if isinstance(one, np.bool_) else one for one in found)

    world.step = wraps(step)(lambda action: plain(step(action)))  # type: ignore[method-assign]


def _allow_only(world: gym.Env) -> None:
    """Where `info["action_mask"]` forbids what is done, the first choice that is allowed is done instead."""
    space, reset, step = world.action_space, world.reset, world.step
    if not choices(space) or "action_mask" not in reset(seed=0)[1]:
        return
    start, ends = getattr(space, "start", 0), [0, *np.cumsum(sizes(space))]
    mask = np.ones(ends[-1])

    def noting(found: Any) -> Any:
        if isinstance(found[-1], dict) and "action_mask" in found[-1]:
            mask[:] = np.ravel(found[-1]["action_mask"])
        return found

    def allowed(action: Any) -> Any:
        choice = np.ravel(action) - start
        for at, (first, end) in enumerate(pairwise(ends)):
            if not mask[first + choice[at]]:
                choice[at] = mask[first:end].argmax()
        return (choice + start).reshape(space.shape).astype(space.dtype)[()]

    world.reset = wraps(reset)(lambda **told: noting(reset(**told)))  # type: ignore[method-assign]
    world.step = wraps(step)(lambda action: noting(step(allowed(action))))  # type: ignore[method-assign]
