"""The worlds of classic control as functions of tensors: many copies at once, on any device.

The equations are those of the papers, the constants those of Gymnasium, which these worlds follow step for
step but for the rounding of float32. A state is a row of numbers (N, S); angles are in radians, upright or at
rest at zero as in Gymnasium.

CartPole: Barto, Sutton and Anderson, 1983; the others: Sutton and Barto's book and Moore, 1990.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Step = tuple[Float[Tensor, "N S"], Float[Tensor, " N"], Bool[Tensor, " N"]]
"""The state after an action, its reward, and whether the world ended there."""


def cartpole(state: Float[Tensor, "N 4"], action: Tensor) -> Step:
    """A cart is pushed left (0) or right (1) under a pole; state: place, speed, angle, angular speed."""
    gravity, cart, pole, half, push, tau = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
    x, v, angle, omega = state.unbind(-1)
    mass, sine, cosine = cart + pole, angle.sin(), angle.cos()
    force = (2 * action - 1) * push
    pushed = (force + pole * half * omega.square() * sine) / mass
    twist = (gravity * sine - cosine * pushed) / (half * (4 / 3 - pole * cosine.square() / mass))
    acceleration = pushed - pole * half * twist * cosine / mass
    after = state + tau * torch.stack([v, acceleration, omega, twist], -1)
    fell = (after[:, 0].abs() > 2.4) | (after[:, 2].abs() > math.radians(12))
    return after, torch.ones_like(x), fell


def acrobot(state: Float[Tensor, "N 4"], action: Tensor) -> Step:
    """Two links hang; the joint between them turns by −1, 0, 1. State: both angles, both angular speeds."""
    torque = (action - 1).to(state.dtype)

    def slope(at: Tensor) -> Tensor:
        one, two, fast_one, fast_two = at.unbind(-1)
        d1 = 3.5 + two.cos()  # links of mass, length and moment 1, their centres in the middle
        d2 = 1.25 + 0.5 * two.cos()
        pull_two = 4.9 * (one + two).sin()
        pull_one = -0.5 * fast_two * (fast_two + 2 * fast_one) * two.sin() + 14.7 * one.sin() + pull_two
        spin = torque + d2 / d1 * pull_one - 0.5 * fast_one.square() * two.sin() - pull_two
        spin_two = spin / (1.25 - d2.square() / d1)
        return torch.stack([fast_one, fast_two, -(d2 * spin_two + pull_one) / d1, spin_two], -1)

    dt = 0.2  # one step of Runge and Kutta
    k1 = slope(state)
    k2 = slope(state + dt / 2 * k1)
    k3 = slope(state + dt / 2 * k2)
    k4 = slope(state + dt * k3)
    moved = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    one, two = wrapped(moved[:, 0]), wrapped(moved[:, 1])
    speeds = moved[:, 2].clamp(-4 * math.pi, 4 * math.pi), moved[:, 3].clamp(-9 * math.pi, 9 * math.pi)
    high = -one.cos() - (one + two).cos() > 1.0
    return torch.stack([one, two, *speeds], -1), torch.where(high, 0.0, -1.0), high


def pendulum(state: Float[Tensor, "N 2"], action: Tensor) -> Step:
    """A pendulum is turned by a torque in [−2, 2]; state: angle from upright, angular speed."""
    angle, omega = state.unbind(-1)
    torque = action[:, 0].clamp(-2.0, 2.0)
    cost = wrapped(angle).square() + 0.1 * omega.square() + 0.001 * torque.square()
    faster = (omega + 0.05 * (15.0 * angle.sin() + 3.0 * torque)).clamp(-8.0, 8.0)
    return torch.stack([angle + 0.05 * faster, faster], -1), -cost, torch.zeros_like(angle, dtype=torch.bool)


def mountain_car(state: Float[Tensor, "N 2"], action: Tensor) -> Step:
    """A weak car in a valley drives back (0), not (1) or ahead (2); state: place, speed."""
    after = _drive(state, (action - 1) * 0.001)
    return after, -torch.ones_like(after[:, 0]), (after[:, 0] >= 0.5) & (after[:, 1] >= 0)


def mountain_car_continuous(state: Float[Tensor, "N 2"], action: Tensor) -> Step:
    """The same car with a force in [−1, 1], which costs; 100 at the goal."""
    force = action[:, 0]
    after = _drive(state, force.clamp(-1.0, 1.0) * 0.0015)
    there = (after[:, 0] >= 0.45) & (after[:, 1] >= 0)
    return after, torch.where(there, 100.0, 0.0) - 0.1 * force.square(), there


def _drive(state: Tensor, push: Tensor) -> Tensor:
    place, speed = state.unbind(-1)
    speed = (speed + push - 0.0025 * (3 * place).cos()).clamp(-0.07, 0.07)
    place = (place + speed).clamp(-1.2, 0.6)
    speed = torch.where((place <= -1.2) & (speed < 0), 0.0, speed)
    return torch.stack([place, speed], -1)


def wrapped(angle: Tensor) -> Tensor:
    """The same angle in [−π, π)."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def as_it_is(state: Tensor) -> Tensor:
    """A world of which all is seen."""
    return state


def with_angles(count: int) -> Callable[[Tensor], Tensor]:
    """Cosine and sine of the first `count` numbers, then the others as they are."""

    def look(state: Tensor) -> Tensor:
        angles = state[:, :count]
        both = torch.stack([angles.cos(), angles.sin()], -1).flatten(1)
        return torch.cat([both, state[:, count:]], -1)

    return look


@dataclass(frozen=True)
class World:
    """What `TensorEnv` needs to know."""

    step: Callable[[Tensor, Tensor], Step]
    look: Callable[[Tensor], Tensor]  # states (N, S) to observations (N, O)
    low: tuple[float, ...]  # episodes begin between these states
    high: tuple[float, ...]
    limit: int  # steps after which an episode is cut off


WORLDS = {
    "CartPole-v1": World(cartpole, as_it_is, (-0.05,) * 4, (0.05,) * 4, 500),
    "Acrobot-v1": World(acrobot, with_angles(2), (-0.1,) * 4, (0.1,) * 4, 500),
    "Pendulum-v1": World(pendulum, with_angles(1), (-math.pi, -1.0), (math.pi, 1.0), 200),
    "MountainCar-v0": World(mountain_car, as_it_is, (-0.6, 0.0), (-0.4, 0.0), 200),
    "MountainCarContinuous-v0": World(mountain_car_continuous, as_it_is, (-0.6, 0.0), (-0.4, 0.0), 999),
}
