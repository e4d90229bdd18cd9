from dataclasses import replace

import numpy as np

from anomaly.monitor_trial import Played, falls, leads
from envs.recording import Episodes


def earning(*rewards: list[float]) -> Episodes:
    rows = sum(len(episode) for episode in rewards)
    column = np.zeros(rows)
    return Episodes(
        obs=np.zeros((rows, 1)), action=np.zeros((rows, 1)), reward=np.concatenate(rewards).astype(float),
        next_obs=np.zeros((rows, 1)), terminated=column, truncated=column, fault=column,
        length=np.array([len(episode) for episode in rewards]), seed=np.arange(len(rewards)), env="probe",
    )  # fmt: skip


def test_the_return_falls_where_it_is_behind_by_a_share_of_a_clean_one() -> None:
    clean = earning([1.0] * 10, [1.0] * 10, [1.0] * 10)
    faulty = earning([1.0] * 4, [1, 1, 0, 1, 1, 0, 0, 1, 1, 1], [1.0] * 10)
    assert falls(faulty, clean, share=0.15).tolist() == [5, 5, np.inf]  # more than 1.5 behind


def test_a_lead_is_counted_from_the_alarm_to_the_fall() -> None:
    faulty = earning([0.0] * 10, [0.0] * 10, [1.0] * 10)
    score = np.zeros((3, 10))
    score[0, [0, 3]] = 5.0  # the first alarm is before the fault and counts for nothing
    fell = np.array([7.0, 7.0, np.inf])
    played = Played([], np.full(3, 2), faulty, np.array([2, 2, -1]), 0.0, fell)
    assert leads(score, 1.0, played).tolist() == [4.0, -np.inf]
    later = replace(played, change=np.array([4, 2, -1]))
    assert leads(score, 1.0, later).tolist() == [-np.inf, -np.inf]


def test_a_fault_cannot_be_known_before_its_onset() -> None:
    faulty = earning([0.0] * 10, [0.0] * 10, [0.0] * 10)
    played = Played([], np.array([5, 5, 5]), faulty, np.array([1, 7, -1]), 0.0, np.zeros(3))
    assert played.since.tolist() == [5, 7, 5]
