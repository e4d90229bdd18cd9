import math
from pathlib import Path

import numpy as np
import pytest
import torch

from anomaly.monitor import RolloutMonitor
from anomaly.monitor_nets import Config
from anomaly.monitor_policy import SAME, PolicyCheck
from anomaly.monitor_state import Scales
from anomaly.monitor_trial import judge
from envs.adversarial import against, pgd
from envs.faults import Fault
from envs.recording import Episodes, record
from envs.switched import Switched
from training.checkpoint import load_model, save_model
from training.errors import InputError

ENV = "CartPole-v1"
WEIGHTS = np.array([[0.3, 0.5, 3.0, 1.0]], np.float32)
SMALL = Config(members=2, hidden=(16,), steps=300, place_steps=200)


def balance(obs: torch.Tensor) -> torch.Tensor:
    return (obs @ torch.from_numpy(WEIGHTS[0]) > 0).long()


def logits(obs: np.ndarray) -> np.ndarray:
    push = obs @ WEIGHTS.T
    return np.concatenate([-push, push], axis=1)


def clean(seeds: range) -> Episodes:
    return record(balance, ENV, seeds, max_steps=80)


@pytest.fixture(scope="module")
def monitor() -> RolloutMonitor:
    torch.set_num_threads(1)
    made = RolloutMonitor.fit(clean(range(12)), SMALL, policy=logits)
    made.calibrate(clean(range(100, 160)), alpha=0.05)
    return made


def test_swing_and_blame_of_hand_numbers() -> None:
    scales = Scales.of(clean(range(3)))
    values = {0.0: [1.0, 3.0], 1.0: [2.0, 5.0]}
    policy = lambda obs: np.array([values[round(float(row[0]))] for row in obs])  # noqa: E731
    here, there = ((np.array([[x, 0, 0, 0]]) - scales.mean) / scales.deviation for x in (0.0, 1.0))
    check = PolicyCheck(lambda obs: policy(obs) if len(obs) == 3 and obs.any() else obs[:, :2], scales, 2.0)
    action = scales.encode(np.array([0]))
    swing, blame = check(there, here, here, action)[0]
    assert swing == pytest.approx(math.log((0.5**2 + 1.0**2) / 2 + SAME), abs=1e-5)
    assert blame == pytest.approx(math.log(1.0**2 + SAME), abs=1e-5)  # (3 - 1) / 2 less than the best
    best = check(here, here, here, scales.encode(np.array([1])))[0]
    assert best == pytest.approx((math.log(SAME),) * 2)


def test_chosen_and_continuous_actions_are_blamed_by_their_distance() -> None:
    scales = Scales.of(clean(range(3)))
    chooses = PolicyCheck(lambda obs: np.ones(len(obs), int), scales, 1.0)
    still = np.zeros((1, 4))
    swing, blame = chooses(still, still, still, scales.encode(np.array([1])))[0]
    assert (swing, blame) == pytest.approx((math.log(SAME),) * 2)
    other = ((1 / scales.action_deviation) ** 2).mean()
    assert chooses(still, still, still, scales.encode(np.array([0])))[0, 1] == pytest.approx(math.log(other))
    torque = Scales.of(record(lambda obs: obs[:, 2:] / 8, "Pendulum-v1", range(3), max_steps=30))
    pushes = PolicyCheck(lambda obs: np.full((len(obs), 1), 0.5), torque, 1.0)
    done = torque.encode(np.array([[0.5 + 2 * torque.action_deviation[0]]]))
    rest = np.zeros((1, 3))
    assert pushes(rest, rest, rest, done)[0, 1] == pytest.approx(math.log(4), abs=1e-4)


def test_another_policy_is_an_alarm_though_the_world_is_the_same(monitor: RolloutMonitor) -> None:
    seeds, onset = range(300, 320), np.full(20, 20)
    other = lambda obs: balance(obs + torch.tensor([0.0, 0.1, 0.05, 0.0]))  # noqa: E731  a wrong normaliser
    switched = record(Switched(balance, other, torch.from_numpy(onset)), ENV, seeds, max_steps=80)
    twins = clean(seeds)
    assert (switched.obs[:20] == twins.obs[:20]).all()
    seen = judge(monitor.score(switched), monitor.threshold, onset, monitor.score(clean(range(400, 420))), 0)
    assert seen.early > 0.9
    assert monitor.alarms(monitor.score(twins)).any(axis=1).mean() <= 0.25


def test_an_attack_on_the_policy_is_an_alarm(monitor: RolloutMonitor) -> None:
    scale = tuple(float(s) for s in monitor.scales.deviation)
    attack = pgd(
        against(lambda obs: torch.cat([-(p := obs @ torch.from_numpy(WEIGHTS.T)), p], 1), True), 0.1, scale
    )
    faults = [Fault(kind="attack", attack=attack, onset=20)] * 10
    attacked = record(balance, ENV, range(300, 310), faults, max_steps=80)
    seen = judge(
        monitor.score(attacked), monitor.threshold, np.full(10, 20), monitor.score(clean(range(9))), 0
    )
    assert seen.early == 1.0


def test_a_saved_monitor_asks_for_its_policy(monitor: RolloutMonitor, tmp_path: Path) -> None:
    monitor.save(tmp_path / "model")
    again = RolloutMonitor.load(tmp_path / "model", policy=logits)
    fresh = clean(range(300, 303))
    np.testing.assert_array_equal(again.score(fresh), monitor.score(fresh))
    with pytest.raises(InputError, match="fitted with a policy, expected it"):
        RolloutMonitor.load(tmp_path / "model")
    tensors, description = load_model(tmp_path / "model")
    save_model(tmp_path / "older", tensors, description | {"format": 1})
    with pytest.raises(InputError, match="older version"):
        RolloutMonitor.load(tmp_path / "older", policy=logits)
    with pytest.raises(InputError, match="gives \\(3, 5\\) for 3 observations"):
        RolloutMonitor.load(tmp_path / "model", policy=lambda obs: np.zeros((len(obs), 5)))
