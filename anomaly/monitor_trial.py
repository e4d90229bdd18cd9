"""How well faults are seen: faulty episodes from known onsets, their twins, and other clean episodes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from anomaly.monitor import RolloutMonitor
from anomaly.monitor_isolation import Finding
from anomaly.rollouts import AUROC, after, delays, time_matched_auroc
from envs.faults import SENSING, Fault
from envs.recording import Act, Episodes, record
from envs.twins import first_change

FALL = 0.05  # of the size of the mean clean return: a smaller loss is no fall


@dataclass(frozen=True)
class Played:
    """Episodes of one fault."""

    faults: list[Fault]  # one an episode
    onset: Int[np.ndarray, " E"]
    episodes: Episodes
    change: Int[np.ndarray, " E"]  # first step that came out differently than without the fault; -1: none
    lost: float  # return that the fault costs, in the mean
    fell: Float[np.ndarray, " E"]  # step at which the return falls behind the twin's; infinite: never

    @property
    def since(self) -> Int[np.ndarray, " E"]:
        """The step from which on a detector could know: the first change, or the onset where none came.

        A policy that draws its actions may differ from its twin's before the onset; that is no fault.
        """
        return np.maximum(self.change, self.onset)


@dataclass(frozen=True)
class Seen:
    """How one detector saw one fault; steps are counted from the first change."""

    auroc: AUROC  # of steps, time-matched
    episode_auroc: float  # of episodes' highest scores
    early: float  # share of episodes with an alarm within 10 steps,
    later: float  # and within 50
    delay: Float[np.ndarray, " E"]  # steps to the alarm; infinite where none came


def play(
    act: Act,
    fault: Fault,
    onset: Int[np.ndarray, " E"],
    twins: Episodes,
    scale: tuple[float, ...],
    max_steps: int | None = None,
) -> Played:
    """Plays the twins' seeds with the fault; `scale` holds the sensors' deviations in clean episodes.

    `max_steps` is that of the twins. A fault whose own onset is later keeps it: a control whose clean
    episodes are made by a fault yet to come.
    """
    faults = [replace(fault, onset=max(int(step), fault.onset), scale=scale) for step in onset]
    episodes = record(act, twins.env, twins.seed.tolist(), faults, max_steps=max_steps)
    lost = float(twins.returns.mean() - episodes.returns.mean())
    return Played(faults, onset, episodes, first_change(episodes, twins), lost, falls(episodes, twins))


def falls(faulty: Episodes, clean: Episodes, share: float = FALL) -> Float[np.ndarray, " E"]:
    """The first step at which each episode has earned less than its twin by a share of a clean return's mean
    size; infinite where none comes. What has ended earns no more."""
    length = int(max(faulty.length.max(), clean.length.max()))
    earned = []
    for episodes in (faulty, clean):
        table = np.zeros((len(episodes), length))
        reward = episodes.by_time(episodes.reward)
        table[:, : reward.shape[1]] = np.nan_to_num(reward)
        earned.append(table.cumsum(axis=1))
    behind = earned[1] - earned[0] > share * np.abs(clean.returns).mean()
    return np.where(behind.any(axis=1), behind.argmax(axis=1), np.inf)


def leads(score: Float[np.ndarray, "E T"], threshold: float, played: Played) -> Float[np.ndarray, " fallen"]:
    """Steps from the alarm to the return's fall, of the episodes in which it fell; −∞ without an alarm.

    Negative where the alarm came later than the fall.
    """
    fell = np.isfinite(played.fell)
    alarm = played.since + delays(score > threshold, played.since)
    return played.fell[fell] - alarm[fell]


def judge(
    score: Float[np.ndarray, "E T"],
    threshold: float,
    since: Int[np.ndarray, " E"],
    clean: Float[np.ndarray, "C S"],
    seed: int,
) -> Seen:
    """Compares the scores of faulty episodes with those of clean ones of other seeds.

    Episodes that ended before the fault could be seen are left out.
    """
    reached = ~np.isnan(after(score, since)).all(axis=1)
    score, since = score[reached], since[reached]
    late = after(score, since)
    delay = delays(score > threshold, since)
    faulty, quiet = (np.nanmax(values, axis=1, initial=-np.inf) for values in (late, clean))
    wins = (faulty[:, None] > quiet).mean() + 0.5 * (faulty[:, None] == quiet).mean()
    return Seen(
        auroc=time_matched_auroc(late, clean, seed),
        episode_auroc=float(wins),
        early=float((delay <= 10).mean()),
        later=float((delay <= 50).mean()),
        delay=delay,
    )


def findings(monitor: RolloutMonitor, played: Played, which: Sequence[int]) -> list[Finding | None]:
    """What the monitor names at the first alarm of some episodes, as it would live; None without an alarm.

    An alarm before the fault is a false one: it is ended.
    """
    episodes, since = played.episodes, played.since
    named: list[Finding | None] = []
    for i in which:
        start = episodes.starts[i]
        monitor.update(episodes.obs[start])
        found = None
        for row in range(start, start + episodes.length[i]):
            verdict = monitor.update(episodes.next_obs[row], episodes.action[row])
            if verdict.alarm and row - start < since[i]:
                monitor.rearm()
            elif verdict.alarm:
                found = verdict.finding
                break
        named.append(found)
    return named


def named_right(found: Sequence[Finding | None], fault: Fault) -> tuple[int, int]:
    """How many alarms named a sensor of the fault, or none where no single one is wrong; of how many."""
    alarms = [one for one in found if one is not None]
    wrong = fault.sensors if fault.kind in SENSING and len(fault.sensors) == 1 else (None,)
    return sum(one.sensor in wrong for one in alarms), len(alarms)


def cost(monitor: RolloutMonitor, played: Episodes) -> tuple[float, float]:
    """Microseconds of an update over up to 2,000 clean steps without an alarm: median, 99th percentile."""
    took = []
    begins = set(played.starts.tolist())
    for row, (obs, action) in enumerate(zip(played.next_obs[:2_000], played.action[:2_000], strict=True)):
        if row in begins:
            monitor.update(played.obs[row])
        start = time.perf_counter()
        verdict = monitor.update(obs, action)
        if verdict.raised:  # naming the sensor takes longer, once an alarm
            monitor.rearm()
        else:
            took.append(time.perf_counter() - start)
    return float(np.median(took) * 1e6), float(np.quantile(took, 0.99) * 1e6)
