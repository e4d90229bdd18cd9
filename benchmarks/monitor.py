"""Faults found by the rollout monitor and by its peers, cell by cell; a run that was stopped goes on.

50 clean episodes to fit, 400 to calibrate, 200 to test, 100 for each fault, its onset drawn (less on some
environments, see FEWER; those of MuJoCo are cut after 200 steps); one policy an environment. The oracle is
the monitor with the true simulator in the place of what it learned; that of LunarLander knows no terrain (see
`benchmarks.monitor_lander`), and there is none of Pusher, which does not show how fast its object moves. On
CartPole and LunarLander the monitor that looks at the policy too stands beside the one that does not. A cell
counts where the oracle or any detector beside it tells it apart: no weak oracle excuses one. AUROC is that of
steps after the first change, against clean steps of other seeds at the same time since their start; without
a fault it must be one half. Alarms are at 5 % and 1 % of clean episodes.

    OMP_NUM_THREADS=1 python -m benchmarks.monitor --envs CartPole-v1 Pendulum-v1 Acrobot-v1 LunarLander-v3
    OMP_NUM_THREADS=1 python -m benchmarks.monitor --envs HalfCheetah-v5 Hopper-v5 Reacher-v5 Pusher-v5
    python -m benchmarks.monitor --show-only
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro

from anomaly.calibration import threshold
from anomaly.monitor import RolloutMonitor
from anomaly.monitor_nets import Config
from anomaly.monitor_policy import Policy
from anomaly.monitor_trial import Played, cost, findings, judge, leads, named_right, play
from anomaly.rollouts import delays
from benchmarks.monitor_cells import MUJOCO, NOISY, NULL, POLICY, TRAINED, cells_for, names_of
from benchmarks.monitor_peers import PEERS, Score, oracle
from benchmarks.monitor_policies import Watched, policy_cell, watched
from benchmarks.monitor_table import show
from envs.faults import Fault
from envs.recording import Act, Episodes, record
from envs.switched import Switched
from training.files import writing
from training.seeds import numpy_generator, stream

COUNTS = {"fit": 50, "calibrate": 400, "test": 200}
FEWER = {"calibrate": 200, "test": 100}  # where an episode takes long
FAULTY = 100  # episodes of a cell
FEWER_FAULTY = {"CartPole-v1": 50, "LunarLander-v3": 30, "HalfCheetah-v5": 30, "Hopper-v5": 30}
CUT = 200  # steps of MuJoCo's episodes at most
NO_ORACLE = ("Pusher-v5",)
NAMED = 10  # of them, in which the sensor is named
OURS, LOOKING, ORACLE = "monitor", "with policy", "oracle"
NEVER = 10**9


@dataclass(frozen=True)
class Detector:
    """A score with its thresholds for 5 % and 1 % false alarms, its clean test scores and its cost."""

    score: Score
    limits: tuple[float, float]
    clean: np.ndarray
    fit_s: float
    monitor: RolloutMonitor | None = None


def deviations(act: Act, env: str, seed: int) -> tuple[float, ...]:
    """Of the sensors, in ten episodes without noise: the unit of all noise of the noisy CartPole."""
    first = stream(seed, "deviations") % 2**31
    return tuple(float(s) for s in record(act, env, range(first, first + 10)).obs.std(axis=0))


def cut(name: str) -> int | None:
    """Steps of an episode at most; None: as many as it has."""
    return CUT if name in MUJOCO else None


def clean_episodes(act: Act, name: str, count: int, seed: int, what: str) -> Episodes:
    """Episodes of seeds that only `what` uses; those of the noisy CartPole have noise of 0.1 sd."""
    first = stream(seed, what) % 2**31
    env = "CartPole-v1" if name == NOISY else name
    faults = None
    if name == NOISY:
        faults = [Fault(kind="correlated", size=0.1, onset=NEVER, scale=deviations(act, env, seed))] * count
    found = record(act, env, range(first, first + count), faults, max_steps=cut(name))
    return replace(found, fault=np.zeros_like(found.fault))


def detectors(parts: dict[str, Episodes], name: str, seed: int, policy: Watched) -> dict[str, Detector]:
    """The monitor, its peers and, where there is one, the oracle, all fitted and calibrated."""
    made: dict[str, Callable[[], RolloutMonitor | Score]] = {
        OURS: lambda: RolloutMonitor.fit(parts["fit"], Config(seed=seed))
    }
    if name in TRAINED:
        made[LOOKING] = lambda: RolloutMonitor.fit(parts["fit"], Config(seed=seed), policy=_logits(policy))
    made |= {peer: lambda peer=peer: PEERS[peer](parts["fit"], seed) for peer in PEERS}  # type: ignore[misc]
    if name not in NO_ORACLE:
        made[ORACLE] = lambda: oracle(parts["fit"], seed)
    found = {}
    for detector, make_it in made.items():
        start = time.process_time()
        score = make_it()
        monitor = score if isinstance(score, RolloutMonitor) else None
        if isinstance(score, RolloutMonitor):
            limits = _limit(score, parts["calibrate"], 0.05), _limit(score, parts["calibrate"], 0.01)
            score = score.score
        else:
            highest = np.sort(np.nanmax(score(parts["calibrate"]), axis=1))
            limits = threshold(highest, 0.05), threshold(highest, 0.01)
        took = time.process_time() - start
        found[detector] = Detector(score, limits, score(parts["test"]), took, monitor)
        print(f"  {detector}: {took:.0f} CPU s", flush=True)
    return found


def _limit(monitor: RolloutMonitor, clean: Episodes, alpha: float) -> float:
    monitor.calibrate(clean, alpha)
    return monitor.threshold


def _logits(policy: Watched) -> Policy:
    logits = policy.logits
    assert logits is not None
    return lambda obs: logits(torch.from_numpy(obs)).detach().numpy()


def measure(
    act: Act,
    fault: Fault,
    cell: str,
    twins: Episodes,
    usual: int,
    scale: tuple[float, ...],
    seed: int,
    other: Act | None = None,
) -> Played:
    """Plays a cell; the control has seeds of its own. Another policy takes over at the onset."""
    onset = numpy_generator(seed, f"onset {cell}").integers(usual // 10, usual // 2, len(twins))
    if fault.kind == "start":
        onset = np.zeros(len(twins), int)
    acting = act if other is None else Switched(act, other, torch.from_numpy(onset))
    return play(acting, fault, onset, twins, scale, cut(twins.env))


def result(played: Played, fault: Fault, found: dict[str, Detector], seed: int) -> dict[str, object]:
    """What every detector saw of a cell, fit for JSON."""
    rows: dict[str, object] = {}
    for name, detector in found.items():
        score = detector.score(played.episodes)
        seen = judge(score, detector.limits[0], played.since, detector.clean, seed)
        strict = delays(score > detector.limits[1], played.since)
        row = {
            **asdict(seen.auroc),
            "episode_auroc": seen.episode_auroc,
            "found_10": seen.early,
            "found_50": seen.later,
            "found_10_at_1": float((strict[played.since < played.episodes.length] <= 10).mean()),
            "delay": float(np.median(seen.delay)) if len(seen.delay) else float("inf"),
        }
        if len(lead := leads(score, detector.limits[0], played)):
            row |= {"lead": float(np.median(lead)), "warned": float((lead > 0).mean())}
        if detector.monitor is not None and name == OURS:
            right, alarms = named_right(findings(detector.monitor, played, range(NAMED)), fault)
            row["named"] = right / alarms if alarms else float("nan")
        rows[name] = row
    return {
        "changed": float((played.change >= 0).mean()),
        "lost": played.lost,
        "fell": float(np.isfinite(played.fell).mean()),
        "detectors": rows,
    }


def run_env(name: str, seed: int, folder: Path) -> None:
    """All cells of one environment that are not there yet."""
    policy = watched(name, seed, folder / name)
    act = policy.act
    sensors = clean_episodes(act, name, 2, seed, "look").obs.shape[1]
    faults, cells = cells_for(name, sensors), names_of(name, sensors)
    left = [cell for cell in cells if not (folder / name / f"{cell}.json").exists()]
    if not left:
        return
    print(f"{name}: {len(left)} of {len(cells)} cells", flush=True)
    counts = COUNTS | (FEWER if name in FEWER_FAULTY else {})
    faulty = FEWER_FAULTY.get(name, FAULTY)
    parts = {what: clean_episodes(act, name, count, seed, what) for what, count in counts.items()}
    twins, others = (clean_episodes(act, name, faulty, seed, what) for what in ("faulty", "null"))
    scale = tuple(float(deviation) for deviation in parts["fit"].obs.std(axis=0))
    if name == NOISY:
        scale = deviations(act, "CartPole-v1", seed)
    found = detectors(parts, name, seed, policy)
    save(folder / name / "clean.json", summary(found, parts))
    usual = int(np.median(parts["fit"].length))
    for cell in left:
        start = time.process_time()
        fault, other = policy_cell(cell, policy, scale) if cell in POLICY else (faults[cell], None)
        seeds = others if cell == NULL or fault.onset == NEVER else twins
        played = measure(act, fault, cell, seeds, usual, scale, seed, other)
        save(folder / name / f"{cell}.json", result(played, fault, found, seed))
        print(f"  {cell}: {time.process_time() - start:.0f} CPU s", flush=True)


def summary(found: dict[str, Detector], parts: dict[str, Episodes]) -> dict[str, object]:
    """Realised false alarms, and the CPU seconds to fit and calibrate."""
    returns = parts["test"].returns
    rows = {
        name: {
            "false_5": int((np.nanmax(detector.clean, axis=1) > detector.limits[0]).sum()),
            "false_1": int((np.nanmax(detector.clean, axis=1) > detector.limits[1]).sum()),
            "fit_s": detector.fit_s,
            "step_us": None if detector.monitor is None else cost(detector.monitor, parts["test"]),
        }
        for name, detector in found.items()
    }
    return {"tests": len(returns), "return": float(returns.mean()), "detectors": rows}


def save(file: Path, found: dict[str, object]) -> None:
    """Writes a result, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with writing(file) as out:
        out.write(json.dumps(found, indent=1).encode())


def main(
    envs: tuple[str, ...] = ("Pendulum-v1", "Acrobot-v1", NOISY, "CartPole-v1", "LunarLander-v3"),
    seed: int = 0,
    dir: Path = Path("runs/benchmark-monitor"),
    show_only: bool = False,
) -> None:
    """Measures the cells that are not there yet and prints the table.

    Args:
        envs: which environments; LunarLander-v3 needs the extras box2d and envpool, those of MuJoCo need
            mujoco and envpool.
        seed: of policies, episodes and detectors.
        dir: where results are kept, one file a cell, in a folder for each seed.
        show_only: print what is there and measure nothing.
    """
    torch.set_num_threads(1)
    kept = dir / f"seed-{seed}"
    for name in () if show_only else envs:
        run_env(name, seed, kept)
    show(kept, envs)


if __name__ == "__main__":
    tyro.cli(main)
