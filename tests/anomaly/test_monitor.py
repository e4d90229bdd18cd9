import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from anomaly.monitor import RolloutMonitor
from anomaly.monitor_env import MonitorWrapper, VectorMonitorWrapper
from anomaly.monitor_isolation import guess
from anomaly.monitor_live import Rule
from anomaly.monitor_nets import Config
from anomaly.monitor_normal import Normal
from anomaly.monitor_regimes import Regimes
from anomaly.rollouts import after, time_matched_auroc
from envs.faults import Fault, FaultyEnv
from envs.recording import Episodes, record
from envs.vector import make_one
from training.checkpoint import save_model
from training.errors import InputError
from training.state import pack

ENV = "CartPole-v1"
SMALL = Config(members=2, hidden=(16,), steps=300, place_steps=200)
CLEAN, MORE, FRESH = range(12), range(100, 160), range(300, 320)


def balance(obs: torch.Tensor) -> torch.Tensor:
    return (obs @ torch.tensor([0.3, 0.5, 3.0, 1.0]) > 0).long()


def episodes(seeds: range, **fault: object) -> Episodes:
    faults = [Fault(**fault)] * len(seeds) if fault else None
    return record(balance, ENV, seeds, faults, max_steps=60)


@pytest.fixture(scope="module")
def monitor() -> RolloutMonitor:
    torch.set_num_threads(1)
    made = RolloutMonitor.fit(episodes(CLEAN), SMALL)
    made.calibrate(episodes(MORE), alpha=0.05)
    return made


@pytest.fixture(autouse=True)
def _latching(monitor: RolloutMonitor) -> None:
    monitor.live.rule = Rule()


def test_clean_episodes_are_quiet_and_faults_are_not(monitor: RolloutMonitor) -> None:
    clean = monitor.score(episodes(FRESH))
    assert monitor.alarms(clean).any(axis=1).mean() <= 0.25
    for fault in ({"kind": "bias", "size": 0.1, "sensors": (2,)}, {"kind": "force", "size": 1.5}):
        score = monitor.score(episodes(FRESH, onset=20, **fault))
        assert (score[:, :20] == clean[:, :20])[~np.isnan(clean[:, :20])].all()
        onset = np.full(len(FRESH), 20)
        assert time_matched_auroc(after(score, onset), clean).value > 0.9


def test_wrapper_vector_wrapper_and_bare_updates_agree_with_scoring_at_once(monitor: RolloutMonitor) -> None:
    played = episodes(FRESH)
    score = monitor.score(played)
    monitor.update(played.obs[0])
    bare = [monitor.update(o, a).score for o, a in zip(played.next_obs[:60], played.action[:60], strict=True)]
    np.testing.assert_allclose(bare, score[0, :60], rtol=1e-4, atol=1e-4)
    env = MonitorWrapper(make_one(ENV), monitor)
    env.reset(seed=FRESH[0])
    wrapped = [env.step(int(action))[4]["monitor"].score for action in played.action[:60]]
    np.testing.assert_allclose(wrapped, score[0, :60], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_vector_environments_begin_anew_where_an_episode_does(monitor: RolloutMonitor, mode: str) -> None:
    import gymnasium as gym

    inner = gym.vector.SyncVectorEnv(
        [lambda: make_one(ENV)] * 2, autoreset_mode=gym.vector.AutoresetMode(mode)
    )
    env = VectorMonitorWrapper(inner, monitor)
    env.reset(seed=1)
    ended = np.zeros(2, bool)
    began = 0
    for _ in range(120):  # always pushing left, both poles fall again and again
        _, _, terminated, truncated, info = env.step(np.zeros(2, int))
        step = env._monitor.live._watch.step
        fresh = (terminated | truncated) if mode == "SameStep" else ended
        assert (step[fresh] == 0).all()
        assert (info["monitor"].score[fresh] == 0).all()
        assert (step[~fresh] > 0).all()
        ended = terminated | truncated
        began += int(fresh.sum())
    assert began > 5


def raising(monitor: RolloutMonitor) -> list[tuple[bool, bool]]:
    """(alarm, raised) of a jump of the angle at step 5 that is gone at step 6."""
    played = episodes(range(500, 501))
    obs = played.next_obs[:60].astype(float)
    obs[5, 2] += 0.3
    monitor.update(played.obs[0])
    found = [monitor.update(o, a) for o, a in zip(obs, played.action[:60], strict=True)]
    return [(v.alarm, v.raised) for v in found]


def test_arming_again_before_the_first_episode_is_no_error() -> None:
    made = RolloutMonitor.fit(episodes(range(6)), SMALL)
    made.rearm()
    assert made.live.started == 0


def test_an_alarm_latches_until_it_is_armed_again(monitor: RolloutMonitor) -> None:
    found = raising(monitor)
    assert found[4] == (False, False)
    assert found[5] == (True, True)
    assert set(found[6:]) == {(True, False)}
    monitor.rearm()
    assert not monitor.live.alarm.any()


def test_an_alarm_that_does_not_latch_ends_after_its_cool_down(monitor: RolloutMonitor) -> None:
    scores = iter([0, 9, 9, 0, 0, 9, 0, 0, 0, 9])
    monitor.live.rule = Rule(latch=False, cooldown=3)
    played = episodes(range(500, 501))
    monitor.update(played.obs[0])
    live, threshold, scorer = monitor.live, monitor.threshold, monitor.live._scorer
    high = [scorer.threshold + score - 1 for score in scores]
    live._scorer = Scripted(scorer, live, high)
    found = [monitor.update(played.next_obs[i], played.action[i]) for i in range(10)]
    live._scorer = scorer
    assert [v.alarm for v in found] == [False, True, True, True, True, True, True, True, False, True]
    assert [v.raised for v in found].count(True) == 2
    assert monitor.threshold == threshold


class Scripted:
    """A scorer whose scores are known; isolation asks the true one."""

    def __init__(self, true: object, live: object, scores: list[float]) -> None:
        self.true, self.live, self.scores, self.threshold = true, live, scores, true.threshold

    def step(self, watch, obs, action):
        found = self.true.step(watch, obs, action)
        return np.array([self.scores.pop(0)]) if watch is self.live._watch else found

    def foretold(self, watch, obs, action, sensor):
        return self.true.foretold(watch, obs, action, sensor)


def test_a_masked_sensor_reads_its_conditional_mean_and_does_not_run_away(monitor: RolloutMonitor) -> None:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(4, 4))
    kept = monitor.transitions, monitor.regimes, monitor.normal, monitor.spread
    monitor.transitions = lambda obs, action: (np.zeros((len(obs), 4)), np.ones((len(obs), 4)), np.zeros(1))
    raw = rng.normal(size=(200_000, 4)) @ mix.T + np.array([0.3, 0.0, -0.2, 0.1])
    monitor.regimes = Regimes.none(monitor.channels.count)
    monitor.normal = Normal.fit(raw, np.zeros(len(raw), int), 1)
    monitor.spread = np.ones(4)
    scales, start = monitor.scales, monitor.start(monitor.scales.mean[None])
    covariance = mix @ mix.T
    rest = [0, 1, 3]
    off = np.array([[0.2, -0.1, 0.0, 0.3]])
    expected = -0.2 + covariance[2, rest] @ np.linalg.solve(
        covariance[np.ix_(rest, rest)], off[0, rest] - np.array([0.3, 0.0, 0.1])
    )
    obs = scales.mean + off * scales.change * scales.deviation
    obs[0, 2] = np.nan
    found = monitor.foretold(start, obs, np.zeros((1, 2)), np.array([2]))
    moved = (found - scales.mean[2]) / scales.deviation[2] / scales.change[2]
    np.testing.assert_allclose(moved, expected, atol=0.03)
    monitor.transitions = lambda obs, action: (np.full((1, 4), 1e9), np.ones((1, 4)), np.zeros(1))
    most = monitor.foretold(start, obs, np.zeros((1, 2)), np.array([2]))
    monitor.transitions, monitor.regimes, monitor.normal, monitor.spread = kept
    np.testing.assert_allclose(most, (scales.high[2] + 1) * scales.deviation[2] + scales.mean[2])


def test_the_broken_sensor_is_named_and_replaced(monitor: RolloutMonitor) -> None:
    fault = Fault(kind="bias", size=0.3, sensors=(2,), onset=20)
    clean, broken = make_one(ENV), MonitorWrapper(FaultyEnv(make_one(ENV), fault), monitor, "virtual")
    true, _ = clean.reset(seed=7)
    obs, _ = broken.reset(seed=7)
    for _ in range(40):
        action = int(balance(torch.from_numpy(true)[None])[0])
        true = clean.step(action)[0]
        obs, *_, info = broken.step(action)
    finding = info["monitor"].finding
    assert (finding.sensor, finding.kind) == (2, "bias")
    np.testing.assert_allclose(obs, true, atol=0.05)


def test_a_sensor_that_stands_still_is_called_stuck_once_there_is_more_to_see(
    monitor: RolloutMonitor,
) -> None:
    broken = MonitorWrapper(FaultyEnv(make_one(ENV), Fault(kind="stuck", sensors=(2,), onset=20)), monitor)
    obs, _ = broken.reset(seed=7)
    kinds = []
    for _ in range(40):
        obs, *_, info = broken.step(int(balance(torch.from_numpy(obs)[None])[0]))
        if finding := info["monitor"].finding:
            kinds.append((finding.sensor, finding.kind))
    assert kinds[0] == (2, "unknown")
    assert kinds[-1] == (2, "stuck")


def test_what_a_reading_does_tells_the_kind_of_fault() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=20)
    assert guess(np.full(20, 0.3), truth) == "stuck"
    assert guess(np.zeros(20), truth) == "dropout"
    assert guess(np.array([np.nan, 1.0]), truth[:2]) == "dropout"
    assert guess(truth + 2, truth + 1e-3 * rng.normal(size=20)) == "bias"
    assert guess(truth + 0.1 * np.arange(20), truth) == "drift"
    assert guess(truth + rng.normal(size=20), truth) == "noise"
    assert guess(truth[:2] + 1, truth[:2]) == "unknown"


def test_environments_that_share_a_monitor_do_not_disturb_each_other(monitor: RolloutMonitor) -> None:
    played = episodes(FRESH)
    score = monitor.score(played)
    envs = [MonitorWrapper(make_one(ENV), monitor) for _ in range(2)]
    for i, env in enumerate(envs):
        env.reset(seed=FRESH[i])
    for step in range(30):
        for i, env in enumerate(envs):
            row = played.starts[i] + step
            verdict = env.step(int(played.action[row]))[4]["monitor"]
            assert verdict.score == pytest.approx(score[i, step], rel=1e-4, abs=1e-4)


def test_an_episode_that_outgrows_the_promise_is_told_of_once(monitor: RolloutMonitor) -> None:
    watching, played = monitor.apart(), episodes(range(500, 501))
    assert watching.promise.longest == 60
    watching.update(played.obs[0])
    for obs, action in zip(played.next_obs, played.action, strict=True):
        watching.update(obs, action)
    with pytest.warns(UserWarning, match="goes on after 60 steps, .* nothing is promised"):
        watching.update(played.next_obs[-1], played.action[-1])
    watching.update(played.next_obs[-1], played.action[-1])  # any warning is an error here
    whole = record(balance, ENV, range(100, 130))
    whole.truncated[:] = False
    watching.calibrate(whole)
    assert watching.promise.longest == 0  # none was cut


def test_a_reading_that_never_repeats_may_once_but_not_twice(monitor: RolloutMonitor) -> None:
    assert monitor.scales.longest[2] == 0
    watching, played = monitor.apart(), episodes(range(500, 501))
    watching.update(played.obs[0])
    raised = []
    for step in range(6):
        obs = played.next_obs[step].copy()
        obs[2] = played.next_obs[min(step, 3), 2]  # from step 4 on it is stuck
        watching.update(obs, played.action[step])
        raised.append(watching.scales.guard(*_moved(watching, obs))[0, 2] > 0)
    assert raised == [False] * 5 + [True]


def _moved(monitor: RolloutMonitor, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The reading, no change, and for how many steps it stood still."""
    seen = monitor.scales.scaled(obs[None].astype(float))
    return seen, 0 * seen, monitor.live._watch.repeats


def test_a_replaced_sensor_is_not_replaced_in_the_next_episode(monitor: RolloutMonitor) -> None:
    watching, played = monitor.apart(), episodes(FRESH)
    first = played.starts[:2]
    watching.update(played.obs[first])
    broken = played.next_obs[first].copy()
    broken[0, 2] += 0.5
    verdict = watching.update(broken, played.action[first])
    assert verdict.alarm[0]
    assert verdict.finding[0].sensor == 2
    fresh = played.obs[played.starts[2:4]]
    verdict = watching.update(fresh, played.action[first], np.array([True, False]))
    np.testing.assert_array_equal(verdict.obs[0], fresh[0])
    assert verdict.finding[0] is None


def test_an_alarm_calls_stops_and_falls_back(monitor: RolloutMonitor) -> None:
    fault = Fault(kind="bias", size=0.5, onset=10)
    told: list = []
    done: list = []
    env = MonitorWrapper(
        FaultyEnv(make_one(ENV), fault), monitor, told.append, lambda obs: done.append(1) or 0
    )
    obs, _ = env.reset(seed=7)
    for _ in range(15):
        obs, *_ = env.step(int(balance(torch.from_numpy(obs)[None])[0]))
    assert len(told) == 1
    assert len(done) == 4
    stopping = MonitorWrapper(FaultyEnv(make_one(ENV), fault), monitor, "stop")
    obs, _ = stopping.reset(seed=7)
    truncated, steps = False, 0
    while not truncated:
        obs, _, _, truncated, _ = stopping.step(int(balance(torch.from_numpy(obs)[None])[0]))
        steps += 1
    assert steps == 11


def test_a_finding_is_one_line(monitor: RolloutMonitor) -> None:
    watching, played = monitor.apart(), episodes(range(500, 501))
    watching.update(played.obs[0])
    verdict = watching.update(played.next_obs[0] + 5.0, played.action[0])
    assert verdict.alarm
    assert "\n" not in repr(verdict.finding)


def test_a_reading_that_is_no_number_is_an_alarm_and_leaves_no_trace(monitor: RolloutMonitor) -> None:
    played = episodes(range(500, 501))
    monitor.update(played.obs[0])
    obs = played.next_obs[0].astype(float)
    obs[1] = np.nan
    verdict = monitor.update(obs, played.action[0])
    assert (verdict.score, verdict.alarm, verdict.finding.sensor) == (math.inf, True, 1)
    assert np.isfinite(verdict.obs).all()
    assert np.isfinite(monitor.update(played.next_obs[1], played.action[1]).score)
    monitor.update(np.full(4, np.nan))
    assert np.isfinite(monitor.update(played.next_obs[0], played.action[0]).score)


@pytest.mark.parametrize("huge", [1e9, 1e30, -1e300])
def test_a_reading_beyond_all_reason_is_an_alarm_and_leaves_no_trace(
    huge: float, monitor: RolloutMonitor
) -> None:
    played = episodes(range(500, 501))
    watched = [monitor.apart() for _ in range(2)]
    for step in range(20):
        readings = [played.next_obs[step].astype(float) for _ in watched]
        if step == 5:
            readings[0][1], readings[1][1] = huge, np.nan
        if step == 0:
            for one in watched:
                one.update(played.obs[0])
        verdicts = [one.update(obs, played.action[step]) for one, obs in zip(watched, readings, strict=True)]
        assert verdicts[0].score == verdicts[1].score  # as of one that is no number
        assert (verdicts[0].score == math.inf) == (step == 5)
        for one in watched:
            one.rearm()


def test_a_monitor_is_the_same_after_saving(monitor: RolloutMonitor, tmp_path: Path) -> None:
    monitor.save(tmp_path / "model")
    again = RolloutMonitor.load(tmp_path / "model")
    fresh = episodes(FRESH)
    np.testing.assert_array_equal(again.score(fresh), monitor.score(fresh))
    assert again.promise == monitor.promise
    np.testing.assert_array_equal(again.guard, monitor.guard)
    assert again.live.rule == monitor.live.rule


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.update(np.zeros(3)), "expected \\(4,\\)"),
        (lambda m: (m.update(np.zeros(4)), m.update(np.zeros(4), 5)), "expected one of 2 from 0 on"),
        (lambda m: (m.update(np.zeros(4)), m.update(np.zeros((2, 4)), [0, 1])), "begin with update"),
        (
            lambda m: m.calibrate(episodes(range(5)), 0.05),
            "with 5 episodes to calibrate, expected 19 or more",
        ),
        (lambda m: m.calibrate(episodes(range(5)), 1.5), "expected a rate between 0 and 1"),
        (lambda m: m.calibrate_endless(episodes(range(5)), 100), "run length is 100 steps, expected more"),
        (
            lambda m: m.calibrate_endless(episodes(range(5)), 1_280),
            "takes 9 stretches of 128 clean steps",
        ),
        (lambda m: RolloutMonitor.fit(episodes(range(1)), SMALL), "1 clean episodes, expected at least 5"),
        (lambda m: RolloutMonitor.fit(record(balance, ENV, range(6), max_steps=1), SMALL), "single step"),
        (
            lambda m: m.score(pendulum()),
            "3 sensors and 1 actions, the monitor of CartPole-v1 expects 4 and 2",
        ),
        (lambda m: MonitorWrapper(make_one(ENV), m, "shout"), "on_alarm is 'shout'"),
        (lambda m: RolloutMonitor.load("nowhere"), "does not exist"),
        (
            lambda m: MonitorWrapper(make_one(ENV), RolloutMonitor(m.cfg, m.scales, m.transitions, m.places)),
            "the monitor is not calibrated",
        ),
        (lambda m: episodes(range(0)), "no seeds to play"),
        (lambda m: Rule(cooldown=0), "cooldown is 0"),
    ],
)
def test_bad_input_is_one_clear_line(monitor: RolloutMonitor, call, message: str) -> None:
    with pytest.raises(InputError, match=message) as told:
        call(monitor)
    assert "\n" not in str(told.value)


def pendulum() -> Episodes:
    return record(lambda obs: obs[:, :1] * 0, "Pendulum-v1", range(3), max_steps=5)


def test_episodes_with_missing_numbers_are_refused(monitor: RolloutMonitor) -> None:
    broken = episodes(range(6))
    broken.next_obs[3, 1] = np.nan
    with pytest.raises(InputError, match="next_obs that is not finite"):
        RolloutMonitor.fit(broken, SMALL)


def test_endless_runs_are_calibrated_saved_and_armed_again(tmp_path: Path) -> None:
    long = record(balance, ENV, range(6), max_steps=195)
    made = RolloutMonitor.fit(long, SMALL)
    made.calibrate_endless(record(balance, ENV, range(100, 108), max_steps=195), run_length=640)
    assert made.promise.count == 4
    made.save(tmp_path / "model")
    again = RolloutMonitor.load(tmp_path / "model")
    assert again.promise == made.promise
    assert again.live.rule == Rule(latch=False, cooldown=128)
    assert "stretches of 128 clean steps" in again.promise.kept(again.score(long))


def test_a_monitor_of_an_older_version_is_told_apart(tmp_path: Path) -> None:
    save_model(tmp_path / "old", *_old())
    with pytest.raises(InputError, match="written by an older version"):
        RolloutMonitor.load(tmp_path / "old")


def _old() -> tuple[dict, dict]:
    tensors, rest = pack({"scales": {}, "alarm": [1.0, 0.05, 10]})
    return tensors, {"kind": "monitor", "config": {}, "tree": rest}


def test_a_guard_that_clean_episodes_trip_counts_for_less(monitor: RolloutMonitor) -> None:
    """Clean episodes with rare jumps that the fitted ones never showed must not set the threshold."""
    other = copy.deepcopy(monitor)
    assert other.guard[1] > 2  # of speed
    still = other.guard[2]
    jumpy = episodes(range(700, 760))
    jumpy.next_obs[jumpy.starts + 5, 1] += 5.0
    other.make_bands([jumpy])
    assert 1 / other.guard[:2].min() > 0.5 * math.log1p(5.0 / monitor.scales.deviation[1])
    assert other.guard[2] == still  # what jumps says nothing about what stands still
    assert (np.nanmax(other.score(jumpy), axis=1) < 3).mean() > 0.9
