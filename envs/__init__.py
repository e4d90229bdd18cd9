"""Environments: many at once, right at their episodes' ends; faults; recordings."""

from envs.spaces import Spaces
from envs.transition import Transition
from envs.vector import VectorEnv, make

__all__ = ["Spaces", "Transition", "VectorEnv", "make"]
