"""Stable-Baselines3 as an engine of the lab: it repeats, stops when nobody asks, refuses what it cannot."""

import signal
import threading
from collections.abc import Iterator

import pytest
import torch

import tests.probes  # noqa: F401  (registers its environments)
from agents import sb3
from agents.parts.turns import turns
from envs import Spaces
from training.errors import InputError
from training.run import RunConfig


def learned(seed: int, **settings: object) -> tuple[sb3.Learner, list]:
    cfg = sb3.Config(run=RunConfig(steps=300, seed=seed, device="cpu"), **settings)
    learner = sb3.Learner(cfg)
    return learner, list(learner.updates())


def test_the_same_seed_learns_the_same_and_rows_tell_of_it() -> None:
    told = {"algo": "PPO", "num_envs": 2, "options": '{"n_steps": 64, "batch_size": 64}', "hidden": (8,)}
    (first, rows), (again, _), (other, _) = (learned(seed, **told) for seed in (0, 0, 1))
    weights = [learner.model.net[0].weight for learner in (first, again, other)]
    assert weights[0].shape == (8, 4)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert [step for step, _ in rows] == [128, 256, 384]
    assert rows[-1][1].keys() >= {"loss/policy", "loss/value", "policy/entropy", "episode/return"}
    assert sum(len(metrics["episode/return"]) for _, metrics in rows) > 5


def test_what_ends_the_wait_for_a_thread_that_hangs_does_not_wait_on() -> None:
    release = threading.Event()

    def ring(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            next(turns(lambda hand_over: release.wait(30)))
    finally:
        signal.signal(signal.SIGALRM, before)
        release.set()


def test_low_precisions_are_refused() -> None:
    with pytest.raises(InputError, match="precision is bf16, sb3 knows none but fp32 and tf32"):
        sb3.Config(run=RunConfig(precision="bf16"))


def test_a_learner_that_nobody_asks_any_more_stops() -> None:
    cfg = sb3.Config(algo="DQN", run=RunConfig(steps=10_000_000, device="cpu"))
    learner = sb3.Learner(cfg)
    threads = threading.active_count()
    updates = learner.updates()
    next(updates)
    assert threading.active_count() == threads + 1
    updates.close()
    assert threading.active_count() == threads
    assert learner.step < 100


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"options": "{"}, "options is no JSON"),
        ({"options": "[]"}, "expected a JSON object"),
        ({"options": '{"policy": 3}'}, "options has 'policy', expected some of learning_rate"),
        ({"options": '{"n_steps": 0}'}, "PPO refuses"),
        ({"algo": "SAC"}, "SAC refuses"),
        ({"noise": 0.1}, "PPO adds none"),
        ({"noise": 0.1, "algo": "DQN"}, "DQN adds none"),
        ({"num_envs": 0}, "num_envs is 0"),
        ({"env": "tensor/CartPole-v1"}, "sb3 does not step those of tensor"),
        ({"env": "envpool/CartPole-v1"}, "sb3 does not step those of envpool"),
        ({"env": "probe/masked-v0"}, "sb3 knows no masks"),
        ({"env": "probe/film-v0"}, "sb3 sees rows of numbers"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sb3.Learner(sb3.Config(**setting))


def test_an_environment_that_fails_is_named() -> None:
    learner = sb3.Learner(sb3.Config(env="tests.probes:Breaks", run=RunConfig(steps=200)))
    with pytest.raises(InputError, match=r"environment 0 .* step 3: it raised ValueError: motor on fire"):
        list(learner.updates())


def test_actions_that_do_not_begin_at_zero_are_refused() -> None:
    cfg = sb3.Config(hidden=(8,), activation="tanh")
    with pytest.raises(InputError, match="the first action of CartPole-v1 is 1, sb3 expects 0"):
        sb3.Policy(cfg, Spaces(4, discrete=2, start=1))


def test_turns_hand_over_what_was_pushed_and_raise_what_was_raised() -> None:
    def push(hand_over) -> None:
        hand_over(1)
        hand_over(2)
        raise ValueError("three")

    def ask() -> Iterator[int]:
        yield from turns(push)

    asked = ask()
    assert [next(asked), next(asked)] == [1, 2]
    with pytest.raises(ValueError, match="three"):
        next(asked)
