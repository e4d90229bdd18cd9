"""What moves a world, and how it is changed while an episode is played.

CartPoleEnv   force gravity length mass (of the pole)
PendulumEnv   gravity length mass
AcrobotEnv    force (torque) length mass; inertia goes with them
MountainCarEnv  force gravity
LunarLander   gravity wind
MujocoEnv     force (of all actuators) friction (of all surfaces) gravity mass (of all bodies, with inertia)
"""

from operator import attrgetter
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np

from training.errors import InputError

Moved = Literal["force", "friction", "gravity", "length", "mass", "wind"]
DYNAMICS: tuple[Moved, ...] = get_args(Moved)
WIND = 15.0  # the power of LunarLander's wind for a factor of 2 where it has none: Gymnasium's default

_LINKS = ("LINK_LENGTH_1", "LINK_LENGTH_2", "LINK_COM_POS_1", "LINK_COM_POS_2")
_WEIGHTS = ("model.body_mass", "model.body_inertia", "model.body_subtreemass")
# An attribute, or one of what an attribute holds, is multiplied by the factor to this power.
_POWERS: dict[str, dict[str, dict[str, int]]] = {
    "CartPoleEnv": {
        "force": {"force_mag": 1},
        "gravity": {"gravity": 1},
        "length": {"length": 1},
        "mass": {"masspole": 1},
    },
    "PendulumEnv": {"gravity": {"g": 1}, "length": {"l": 1}, "mass": {"m": 1}},
    "AcrobotEnv": {
        "force": {"AVAIL_TORQUE": 1},
        "length": dict.fromkeys(_LINKS, 1) | {"LINK_MOI": 2},
        "mass": {"LINK_MASS_1": 1, "LINK_MASS_2": 1, "LINK_MOI": 1},
    },
    "MountainCarEnv": {"force": {"force": 1}, "gravity": {"gravity": 1}},
    "LunarLander": {"gravity": {"gravity": 1}, "wind": {}},
    "MujocoEnv": {
        "force": {"model.actuator_gear": 1},
        "friction": {"model.geom_friction": 1},
        "gravity": {"model.opt.gravity": 1},
        "mass": dict.fromkeys(_WEIGHTS, 1),
    },
}


class Dynamics:
    """One thing that moves an environment, multiplied by a factor at will."""

    def __init__(self, env: gym.Env, kind: str) -> None:
        """Raises InputError when the environment has nothing of the kind."""
        world: Any = env.unwrapped
        self._world = world
        names = [cls.__name__ for cls in type(world).__mro__]
        known = next((_POWERS[name] for name in names if name in _POWERS), {})
        if kind not in known:
            has = f"one of {', '.join(known)}" if known else "a fault of its sensors or actions"
            raise InputError(f"{env.spec and env.spec.id} has no {kind} to change, expected {has}")
        self._kind, self._powers = kind, known[kind]
        self._wind = world.wind_power if getattr(world, "enable_wind", False) else 0.0
        self._whole = {name: np.array(attrgetter(name)(world), float) for name in self._powers}

    def set(self, factor: float) -> None:
        """Makes the force, gravity, ... `factor` times what it was when whole."""
        world = self._world
        for name, power in self._powers.items():
            *path, last = name.split(".")
            owner = attrgetter(".".join(path))(world) if path else world
            setattr(owner, last, (self._whole[name] * factor**power).tolist())
        if hasattr(world, "polemass_length"):  # CartPole keeps what follows from the others
            world.total_mass = world.masspole + world.masscart
            world.polemass_length = world.masspole * world.length
        elif self._kind == "gravity" and getattr(world, "world", None) is not None:
            world.world.gravity = (0, world.gravity)
        elif self._kind == "wind":
            self._blow(factor)

    def _blow(self, factor: float) -> None:
        """Wind of the lander: its own, multiplied; where it has none, as much as others have."""
        world = self._world
        if self._wind:
            world.wind_power = self._wind * factor
            return
        if factor != 1.0 and not world.enable_wind:
            world.wind_idx = world.torque_idx = 50  # where its sines are not zero
        world.enable_wind, world.wind_power = factor != 1.0, WIND * (factor - 1)


def start_from(env: gym.Env, factor: float) -> np.ndarray:
    """Multiplies the state that a reset left by `factor`; returns its observation.

    Of MuJoCo's it is what the reset drew: velocities, and the way from where a model is put together.

    Raises:
        InputError: for an environment of another kind that keeps no array called `state`.
    """
    world: Any = env.unwrapped
    if hasattr(world, "init_qpos"):
        away = world.data.qpos - world.init_qpos
        world.set_state(world.init_qpos + factor * away, factor * world.data.qvel)
        return np.asarray(world._get_obs())
    if not isinstance(getattr(world, "state", None), np.ndarray):
        raise InputError(
            f"{env.spec and env.spec.id} has no state to multiply, expected classic control or MuJoCo"
        )
    world.state = world.state * factor
    for name in ("_get_ob", "_get_obs"):
        if hasattr(world, name):
            return np.asarray(getattr(world, name)(), np.float32)
    return np.asarray(world.state, np.float32)
