"""The cells of the monitor's benchmark: names are `family, magnitude`, the last of a family the severest."""

from collections.abc import Iterable

from envs.dynamics import DYNAMICS, Dynamics
from envs.faults import Fault
from envs.vector import make_one
from training.errors import InputError

NOISY = "CartPole-v1 with noise"  # of 0.1 sd on every sensor, in clean episodes too
NULL = "null"
POLICY = ("older policy", "wrong normaliser", "attack, 0.05 sd", "attack, 0.1 sd")
TRAINED = ("CartPole-v1", "LunarLander-v3")  # by the lab: POLICY is tried there
MUJOCO = ("HalfCheetah-v5", "Hopper-v5", "Reacher-v5", "Pusher-v5")
SENSOR = {"Acrobot-v1": 4}  # that single faults are in; 2 in the others


def cells_for(name: str, sensors: int) -> dict[str, Fault]:
    """The faults of an environment by name."""
    if name == NOISY:
        return {
            NULL: Fault(kind="correlated", size=0.1, onset=10**9),
            "autoregressive, same variance": Fault(kind="correlated", size=0.1),
        }
    one = (SENSOR.get(name, 2),)
    found = {NULL: Fault(kind="none")}
    found |= {f"noise, {s} sd": Fault(kind="noise", size=s) for s in (0.01, 0.1, 0.5)}
    found |= {f"autoregressive, {s} sd": Fault(kind="autoregressive", size=s) for s in (0.1, 0.5)}
    found |= {f"bias, {s} sd": Fault(kind="bias", size=s, sensors=one) for s in (0.1, 0.5, 2.0)}
    found |= {f"scale, x{s}": Fault(kind="scale", size=s, sensors=one) for s in (1.01, 1.05, 1.5, 3.0)}
    found |= {f"drift, {s} sd": Fault(kind="drift", size=s, sensors=one) for s in (0.002, 0.01, 0.05)}
    found["stuck"] = Fault(kind="stuck", sensors=one)
    found |= {
        f"dropout, p {p} for {steps}": Fault(kind="dropout", size=p, steps=steps, sensors=one)
        for p, steps in ((0.01, 1), (0.05, 5), (0.1, 10))
    }
    found |= {f"delay, {steps}": Fault(kind="delay", steps=steps) for steps in (1, 3, 6)}
    found |= _actions(name)
    for kind in DYNAMICS:
        if _has(name, kind):
            found |= {f"{kind}, x{s}": Fault(kind=kind, size=s) for s in (1.01, 1.1, 1.5, 2.0)}
    if name != "LunarLander-v3":
        found |= {f"start, x{s}": Fault(kind="start", size=s) for s in (1.5, 3.0)}
    return found


def names_of(name: str, sensors: int) -> list[str]:
    """All cells of an environment, those of its policy too."""
    return [*cells_for(name, sensors), *(POLICY if name in TRAINED else ())]


def severe(cell: str, cells: Iterable[str]) -> bool:
    """Whether a cell is the last of its family."""
    return [other for other in cells if family(other) == family(cell)][-1] == cell


def family(cell: str) -> str:
    """What kind of fault a cell is of."""
    return cell.split(",")[0]


def _actions(name: str) -> dict[str, Fault]:
    late = {f"actions late, {steps}": Fault(kind="late", steps=steps) for steps in (1, 3)}
    if name == "Pendulum-v1" or name in MUJOCO:
        found = {f"gain, x{s}": Fault(kind="gain", size=s) for s in (1.01, 1.1, 1.5)}
        found |= {f"offset, {s}": Fault(kind="offset", size=s) for s in (0.01, 0.1, 0.5)}
        found |= {f"action noise, {s}": Fault(kind="jitter", size=s) for s in (0.01, 0.1)}
        return found | late | {"action lost": Fault(kind="lost")}
    found = {f"replaced, p {p}": Fault(kind="replace", size=p) for p in (0.05, 0.3)}
    return found | late | {"action lost": Fault(kind="lost")}


def _has(name: str, kind: str) -> bool:
    one = make_one(name)
    try:
        Dynamics(one, kind)
    except InputError:
        return False
    finally:
        one.close()
    return True
