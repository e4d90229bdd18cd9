"""Environments: many at once, right at their episodes' ends; faults; recordings."""

import envs.partial  # noqa: F401  (registers its environments)
from envs.making import make
from envs.spaces import Spaces
from envs.transition import Transition
from envs.vector import VectorEnv

__all__ = ["Spaces", "Transition", "VectorEnv", "make"]
