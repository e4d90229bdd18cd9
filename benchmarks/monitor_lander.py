"""The true simulator of LunarLander-v3 as what foretells its steps, for the monitor's benchmark.

An observation tells where the lander is, how it moves and which legs touch the ground. Box2D takes that:
bodies are put anywhere, contacts form anew. What is not shown is what is most likely. A leg moves with the
lander, pressed by its motor against the outer limit of its joint, or turned inwards until its foot is on the
ground; the ground is flat and as high as the helipad everywhere. Engines push at random: an impulse is a
fixed part and one that is linear in two uniform draws of mean zero, so that the step without dispersion is
the mean. How much is left of it is measured on clean rows, by action and by whether the ground is near.
"""

import math
from typing import Any

import Box2D
import numpy as np
from gymnasium.envs.box2d import lunar_lander as lunar
from jaxtyping import Float
from scipy.stats import norm

from anomaly.monitor_state import Scales
from envs.recording import Episodes
from envs.vector import make_one
from training.seeds import numpy_generator

W, H = lunar.VIEWPORT_W / lunar.SCALE, lunar.VIEWPORT_H / lunar.SCALE
LEGS = (-1, +1)
OUTER, INNER = 0.348, 0.85  # of a leg's angle from the lander's; 0.002 beyond its limit, as Box2D lets it be
FOOT = 0.01  # of a foot above the ground at least: two skins of 0.01, less what Box2D lets them overlap
AWAY = 3 * H
SETTLING = 4  # steps from the same place after which ground and legs carry a lander that rests
ROWS = 4_000  # clean ones that what is left is measured on
SURE = 0.9  # share of them that is within 1.645 deviations
EXACT = 1e-5  # deviation at least, of a change of 1: rounding of float32


class NoDraw:
    """The environment's random numbers, all at their mean."""

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2


class Lander:
    """Gymnasium's lander, put where an observation says and moved by a step without dispersion."""

    def __init__(self) -> None:
        env: Any = make_one("LunarLander-v3").unwrapped
        env.reset(seed=0)
        self.env, self.world = env, env.world
        self.world.DestroyBody(env.moon)
        self.ground = 0.99 * env.helipad_y  # as the middle of its terrain
        edge = Box2D.b2.edgeShape(vertices=[(-W, self.ground), (2 * W, self.ground)])
        env.moon = self.world.CreateStaticBody()
        env.moon.CreateFixture(shape=edge, density=0, friction=0.1)
        env.np_random = NoDraw()
        self.center = np.array(env.lander.localCenter)

    def __call__(self, obs: Float[np.ndarray, " 8"], action: int) -> tuple[Float[np.ndarray, " 8"], bool]:
        """The observation after a step, and whether the ground is near."""
        self._forget()
        self.world.warmStarting = False  # what follows depends on nothing before
        self._place(obs)
        found = self.env.step(action)[0]
        near = self.world.contactCount > 0
        for _ in range(
            SETTLING if near else 0
        ):  # of light legs under a heavy lander a solver comes to rest late
            self.world.warmStarting = True
            self._place(obs)
            found = self.env.step(action)[0]
        return found, near

    def _forget(self) -> None:
        """Ends all contacts: bodies far from the ground, and a step of no time."""
        if not self.world.contactCount:
            return
        for leg in self.env.legs:
            leg.ground_contact = False
        for body in (self.env.lander, *self.env.legs):
            body.transform = (0.0, AWAY), 0.0
        self.world.Step(0.0, 0, 0)

    def _place(self, obs: np.ndarray) -> None:
        x, y, vx, vy, angle, turn, *touch = (float(value) for value in obs)
        turn *= lunar.FPS / 20
        origin = np.array([x * W / 2 + W / 2, y * H / 2 + self.env.helipad_y + lunar.LEG_DOWN / lunar.SCALE])
        speed = np.array([vx * lunar.FPS / (W / 2), vy * lunar.FPS / (H / 2)])
        middle = origin + turned(self.center, angle)
        _put(self.env.lander, origin, angle, speed, turn)
        for leg, side, touches in zip(self.env.legs, LEGS, touch, strict=True):
            to = angle - side * (self._bent(origin, angle, side) if touches else OUTER)
            at = origin - turned(_hip(side), to)
            off = at - middle
            _put(leg, at, to, speed + turn * np.array([-off[1], off[0]]), turn)

    def _bent(self, origin: np.ndarray, angle: float, side: int) -> float:
        """How far in a leg is turned so that its foot is on the ground; within its limits."""
        low, high = OUTER, INNER
        for _ in range(12):
            middle = (low + high) / 2
            if self._foot(origin, angle - side * middle, side) < self.ground + FOOT:
                low = middle
            else:
                high = middle
        return (low + high) / 2

    def _foot(self, origin: np.ndarray, to: float, side: int) -> float:
        width, height = lunar.LEG_W / lunar.SCALE, lunar.LEG_H / lunar.SCALE
        hip = _hip(side)
        sin, cos = math.sin(to), math.cos(to)
        heights = [
            sin * (a - hip[0]) + cos * (b - hip[1]) for a in (-width, width) for b in (-height, height)
        ]
        return float(origin[1] + min(heights))


class LanderSteps:
    """`Transitions` by the true simulator."""

    def __init__(self, scales: Scales, clean: Episodes) -> None:
        self.scales, self.lander = scales, Lander()
        self.left = np.ones((2 * scales.actions, scales.sensors))
        x, action, change = scales.histories(clean, 1)
        some = numpy_generator(0, "lander").permutation(len(x))[:ROWS]
        mean, _, near = self(x[some], action[some])
        kind, off = self._kind(action[some], near), np.abs(change[some] - mean)
        for at in np.unique(kind):
            self.left[at] = np.maximum(
                np.quantile(off[kind == at], SURE, axis=0) / norm.ppf((1 + SURE) / 2), EXACT
            )

    def __call__(self, obs: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Transitions`; it is in doubt near the ground, which is not shown."""
        scales = self.scales
        seen = obs * scales.deviation + scales.mean
        steps = [self.lander(o, int(a)) for o, a in zip(seen, action.argmax(axis=1), strict=True)]
        after, near = np.array([o for o, _ in steps]), np.array([float(n) for _, n in steps])
        mean = (after - seen) / scales.deviation / scales.change
        return mean, self.left[self._kind(action, near)], near

    def _kind(self, action: np.ndarray, near: np.ndarray) -> np.ndarray:
        return 2 * action.argmax(axis=1) + near.astype(int)


def _hip(side: int) -> np.ndarray:
    """Where the lander's origin is, seen from a leg."""
    return np.array([side * lunar.LEG_AWAY, lunar.LEG_DOWN]) / lunar.SCALE


def turned(vector: np.ndarray, angle: float) -> np.ndarray:
    """A vector (2,) by an angle."""
    sin, cos = math.sin(angle), math.cos(angle)
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]])


def _put(body: Any, at: np.ndarray, angle: float, speed: np.ndarray, turn: float) -> None:
    body.transform = (float(at[0]), float(at[1])), angle
    body.linearVelocity = float(speed[0]), float(speed[1])
    body.angularVelocity = turn
    body.awake = True
