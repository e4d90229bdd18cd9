import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from anomaly.rollouts import RolloutDetector, after, around, delays, time_matched_auroc, time_matched_p
from envs.faults import Fault
from envs.recording import record
from generative import vae
from training.errors import InputError
from training.run import RunConfig

NAN = np.nan


def still(obs: torch.Tensor) -> torch.Tensor:
    return (obs[:, 2] + obs[:, 3] > 0).long()


def episodes(seeds: range, fault: Fault | None = None):
    faults = None if fault is None else [fault] * len(seeds)
    return record(still, "CartPole-v1", seeds, faults, max_steps=80)


@pytest.fixture(scope="module")
def detector() -> RolloutDetector:
    cfg = vae.Config(hidden=(32,), run=RunConfig(steps=1_000, evaluate_every=250, device="cpu"))
    found = RolloutDetector.fit(episodes(range(40)), cfg=cfg)
    found.calibrate(episodes(range(100, 139)), alpha=0.1)
    return found


def test_a_changed_force_is_seen_at_once(detector: RolloutDetector) -> None:
    faulty = episodes(range(200, 220), Fault(kind="force", size=2.0, onset=20))
    score, onset = detector.score(faulty), np.full(20, 20)
    found = time_matched_auroc(after(score, onset), detector.score(episodes(range(300, 320))))
    assert found.low > 0.9
    assert np.median(delays(detector.alarms(score), onset)) <= 2


def test_no_fault_at_all_is_one_half(detector: RolloutDetector) -> None:
    same = episodes(range(400, 430), Fault(kind="none"))
    found = time_matched_auroc(
        after(detector.score(same), np.full(30, 20)), detector.score(episodes(range(500, 530)))
    )
    assert found.low <= 0.5 <= found.high


def test_clean_episodes_raise_as_few_alarms_as_promised(detector: RolloutDetector) -> None:
    clean = detector.score(episodes(range(600, 700)))
    assert detector.alarms(clean).any(axis=1).mean() < 0.25  # 0.1 promised; 0.25 is beyond the spread


def test_scores_drift_with_time_and_only_matched_times_are_fair() -> None:
    rng = np.random.default_rng(0)
    drift = np.linspace(0, 5, 100)
    clean, same = (drift + rng.normal(size=(30, 100)) for _ in range(2))
    late = after(same, np.full(30, 60))
    assert time_matched_auroc(late, clean).value == pytest.approx(0.5, abs=0.04)
    pooled = roc_auc_score(
        np.repeat([0, 1], [3_000, 1_200]), np.concatenate([clean.ravel(), late[:, 60:].ravel()])
    )
    assert pooled > 0.7  # the clock, not a fault


def test_the_matched_auroc_by_hand() -> None:
    faulty = np.array([[NAN, 2.0, 5.0], [NAN, NAN, 1.0]])
    clean = np.array([[9.0, 1.0, 5.0], [9.0, 3.0, NAN]])
    # step 1: 2 beats 1, loses to 3; step 2: 5 ties 5, 1 loses to 5
    assert time_matched_auroc(faulty, clean).value == pytest.approx((1 + 0 + 0.5 + 0) / 4)


def test_without_drift_the_matched_auroc_is_the_usual_one() -> None:
    rng = np.random.default_rng(0)
    clean, faulty = rng.normal(size=(400, 5)), 1 + rng.normal(size=(400, 5))
    usual = roc_auc_score(np.repeat([0, 1], 2_000), np.concatenate([clean.ravel(), faulty.ravel()]))
    assert time_matched_auroc(faulty, clean).value == pytest.approx(usual, abs=0.01)
    assert time_matched_p(faulty, clean).mean() == pytest.approx(1 - usual, abs=0.01)


def test_the_interval_covers_one_half_when_steps_of_an_episode_say_the_same() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        faulty, clean = (rng.normal(size=(20, 1)) + 0.1 * rng.normal(size=(20, 30)) for _ in range(2))
        found = time_matched_auroc(faulty, clean, seed)
        covered += found.low <= 0.5 <= found.high
    assert covered >= 88  # 95 % of 100 is 95; an interval over steps would cover far less


def test_nothing_to_compare_is_no_number_and_no_error() -> None:
    nothing, some = np.full((2, 3), NAN), np.ones((2, 3))
    assert np.isnan(time_matched_auroc(nothing, some).value)
    assert time_matched_p(nothing, some).shape == (0,)
    one = time_matched_auroc(np.array([[NAN, 5.0]]), np.array([[1.0, NAN], [1.0, 2.0]]))
    assert (one.value, one.low) == (1.0, 1.0)


def test_delays_count_from_the_onset_and_earlier_alarms_do_not_count() -> None:
    alarm = np.zeros((3, 10), bool)
    alarm[0, [1, 7]] = True
    alarm[1, 4] = True
    assert delays(alarm, np.array([4, 4, 4])).tolist() == [3.0, 0.0, np.inf]


def test_scores_are_lined_up_at_the_onset() -> None:
    score = np.array([[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, NAN]])
    found = around(score, np.array([1, 2]), np.arange(-2, 3))
    np.testing.assert_array_equal(found, [[NAN, 0, 1, 2, 3], [0, 1, 2, NAN, NAN]])


def test_too_few_episodes_and_other_environments_are_refused(detector: RolloutDetector) -> None:
    with pytest.raises(InputError, match="expected at least 2"):
        RolloutDetector.fit(episodes(range(1)))
    with pytest.raises(InputError, match="expected at least 99 of them"):
        detector.calibrate(episodes(range(5)), alpha=0.01)
    pendulum = record(lambda obs: torch.zeros(len(obs), 1), "Pendulum-v1", range(2), max_steps=5)
    with pytest.raises(InputError, match="the detector expects"):
        detector.score(pendulum)


def test_without_a_faulty_episode_the_auroc_is_unknown() -> None:
    found = time_matched_auroc(np.zeros((0, 5)), np.zeros((3, 5)))
    assert np.isnan([found.value, found.low, found.high]).all()
