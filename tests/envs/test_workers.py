"""Environments in processes of their own, and environments that hang or die."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from envs import Transition, VectorEnv, make
from envs.replayable import Replayable
from envs.vector import make_one
from envs.workers import Workers
from tests.processes import ENVIRONMENT
from training.errors import InputError


class Troubled(gym.Env):
    """Episodes of five steps of random numbers; the action 2 makes it do what `what` says."""

    observation_space = gym.spaces.Box(-20.0, 20.0, (1,))
    action_space = gym.spaces.Discrete(3)

    def __init__(self, what: str, place: Path) -> None:
        self.what, self.place = what, place

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        self.steps, self.sum = 0, self.np_random.random()
        return np.array([self.sum], np.float32), {}

    def step(self, action: Any) -> tuple:
        self.steps, self.sum = self.steps + 1, self.sum + self.np_random.random() + action
        if action == 2:
            if self.what == "hang":
                time.sleep(60)
            if self.what == "raise":
                raise KeyError("torque")
            if self.what == "die" or (self.what == "die once" and not self.place.exists()):
                self.place.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return np.array([self.sum], np.float32), 1.0, self.steps == 5, False, {}


def _one(what: str, place: Path, index: int) -> Replayable:
    return Replayable(Troubled(what, place), index, limit_s=0.5 if what == "hang" else 60.0)


def apart(what: str, place: Path, limit_s: float = 60.0) -> VectorEnv:
    """Two environments in processes."""
    return VectorEnv(Workers(partial(_one, what, place / "died"), 2, limit_s), seed=3)


def played(envs: VectorEnv, steps: int, trouble: int = 7) -> list[Transition]:
    """Rows of actions that change from step to step; at one step environment 1 is told to make trouble."""
    told = [[step % 2, 2 if step == trouble else step % 3 % 2] for step in range(steps)]
    return [envs.step(torch.tensor(actions)) for actions in told]


def equal(a: list[Transition], b: list[Transition]) -> bool:
    return all(
        torch.equal(x, y) for one, two in zip(a, b, strict=True) for x, y in zip(one, two, strict=True)
    )


def test_a_worker_that_dies_is_started_again_and_nobody_notices(tmp_path: Path) -> None:
    whole, broken = apart("play", tmp_path), apart("die once", tmp_path)
    with pytest.warns(UserWarning, match=r"environment 1 \(seed 4\), episode 1, step 3: its process died"):
        rows = played(broken, 12)
    assert equal(rows, played(whole, 12))
    whole.close()
    broken.close()


def test_a_worker_killed_between_two_steps_is_started_again_too(tmp_path: Path) -> None:
    whole, broken = apart("play", tmp_path), apart("play", tmp_path)
    rows = played(broken, 7)
    os.kill(broken._envs._workers[0]._process.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    with pytest.warns(UserWarning, match=r"environment 0 \(seed 3\), episode 1, step 3: its process died"):
        rows += played(broken, 7)
    assert equal(rows, played(whole, 7) + played(whole, 7))
    whole.close()
    broken.close()


@pytest.mark.filterwarnings("ignore:environment 1")
def test_a_worker_that_dies_again_and_again_ends_the_run_by_name(tmp_path: Path) -> None:
    message = (
        r"environment 1 \(seed 4\), episode 1, step 3: its process died \(exit code -9\) 4 times, expected"
    )
    with pytest.raises(InputError, match=message):
        played(apart("die", tmp_path), 12)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("raise", r"environment 1 \(seed 4\), episode 1, step 3: it raised KeyError: 'torque'"),
        ("hang", r"environment 1 \(seed 4\), episode 1, step 3: it did not answer within 0.5 s"),
    ],
)
def test_what_goes_wrong_in_a_worker_is_said_by_name(what: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        played(apart(what, tmp_path), 12)


def test_a_worker_that_no_alarm_can_end_is_ended_from_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envs.replayable._alarm", lambda: False)  # as inside of compiled code
    envs = apart("hang", tmp_path, limit_s=0.5)
    with pytest.raises(
        InputError, match=r"environment 1 \(seed 4\), episode 1, step 3: did not answer within"
    ):
        played(envs, 12)
    assert all(worker._process.exitcode is not None for worker in envs._envs._workers)  # type: ignore[attr-defined]


def test_an_environment_that_hangs_in_this_process_is_said_by_name(tmp_path: Path) -> None:
    env = _one("hang", tmp_path, 0)
    env.reset(seed=3)
    env.step(1)
    before = time.monotonic()
    with pytest.raises(InputError, match=r"environment 0 \(seed 3\), episode 0, step 2: it did not answer"):
        env.step(2)
    assert time.monotonic() - before < 5
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_alarm_for_another_thread_does_not_end_what_this_one_does() -> None:
    env = Replayable(Slow("play", Path()), limit_s=0.05)  # made in this thread, played in another
    shown: list[Any] = []
    player = threading.Thread(target=lambda: shown.append(env.reset(seed=3)))
    player.start()
    time.sleep(0.3)
    player.join()
    assert len(shown) == 1


def test_a_run_with_processes_goes_on_where_it_was(tmp_path: Path) -> None:
    one, other = apart("play", tmp_path), apart("play", tmp_path)
    played(one, 8)
    other.load_state_dict(one.state_dict())
    assert equal(played(other, 9), played(one, 9))
    one.close()
    other.close()


class Slow(Troubled):
    """Takes a tenth of a second for a step, of thirty, and for the reset."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        time.sleep(0.1)
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple:
        time.sleep(0.1)
        obs, reward, *_ = super().step(action)
        return obs, reward, self.steps == 30, False, {}


def _slow(index: int) -> Replayable:
    return Replayable(Slow("play", Path()), index)


def test_an_episode_may_take_as_long_to_play_again_as_it_took() -> None:
    one, other = VectorEnv(Workers(_slow, 1, limit_s=0.8), 3), VectorEnv(Workers(_slow, 1, limit_s=0.8), 3)
    rows = [one.step(torch.zeros(1, dtype=torch.int64)) for _ in range(12)]
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.obs, rows[-1].next_obs)
    one.close()
    other.close()


class Careless(Troubled):
    """Begins with numbers that are nobody's own."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        drawn = np.random.random() + random.random() + torch.rand(()).item()
        return np.array([drawn], np.float32), {}


def _careless(index: int) -> Replayable:
    return Replayable(Careless("play", Path()), index)


def test_workers_that_draw_from_what_is_nobodys_own_draw_different_numbers_that_repeat() -> None:
    shown = []
    for seed in (3, 3, 4):
        envs = VectorEnv(Workers(_careless, 4), seed)
        shown.append(envs.obs[:, 0].tolist())
        envs.close()
    assert len(set(shown[0])) == 4
    assert shown[0] == shown[1] != shown[2]


def test_workers_are_a_backend() -> None:
    apart, together = make("processes/Acrobot-v1", 2, seed=3), make("Acrobot-v1", 2, seed=3)
    assert equal(played(apart, 30), played(together, 30))
    apart.close()


def test_a_worker_ends_though_the_learner_that_started_it_does_not_at_once() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        workers = Workers(_cartpole, 1)
        process = workers._workers[0]._process
        workers.reset(seed=0)  # it is there
        process.terminate()
        process.join(10)
        assert process.exitcode == -signal.SIGTERM
        workers.close()
    finally:
        signal.signal(signal.SIGTERM, before)


def _cartpole(index: int) -> Replayable:
    return Replayable(make_one("CartPole-v1"), index)


RUN = """
import sys, time
from envs import make
envs = make("processes/CartPole-v1", 3, 0)
print(*[worker._process.pid for worker in envs._envs._workers], flush=True)
time.sleep(60)
"""


def _runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_workers_end_when_the_run_that_started_them_is_killed(tmp_path: Path) -> None:
    told = [sys.executable, "-c", RUN]
    with subprocess.Popen(told, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=tmp_path) as run:
        assert run.stdout is not None
        workers = [int(word) for word in run.stdout.readline().split()]
        assert len(workers) == 3
        assert all(map(_runs, workers))
        run.kill()
    deadline = time.monotonic() + 30
    while any(map(_runs, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_runs, workers))
