"""Environments of users: found, checked, and named when they fail."""

import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import tests.probes
from agents import ppo
from envs import make
from envs.checking import check
from lab.learning import learn
from training.errors import InputError
from training.run import RunConfig


class Faulty(gym.Env):
    """Does what `what` says in the third step of the second episode of one of its copies."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Discrete(2)
    made = 0

    def __init__(self, what: str = "raise") -> None:
        self.what, self.me, self.episode = what, Faulty.made, 0
        Faulty.made += 1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        self.episode, self.steps = self.episode + 1, 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple:
        self.steps += 1
        obs, reward = np.zeros(2, np.float32), 1.0
        if (self.me % 3, self.episode, self.steps) == (2, 2, 3):
            if self.what == "raise":
                raise KeyError("torque")
            if self.what == "exit":
                sys.exit(3)
            obs = {
                "nan": np.array([0, np.nan]),
                "huge": np.array([-1e39, 0]),
                "shape": np.zeros(3),
                "kind": np.array(["a", "b"]),
            }.get(self.what, obs)
            reward = {"reward": float("inf"), "large": 1e39, "text": "one"}.get(self.what, reward)
            if self.what == "four":
                return obs, reward, False, {}
        return obs, reward, self.steps == 4, False, {}


for _what in ("raise", "exit", "nan", "huge", "shape", "kind", "reward", "large", "text", "four"):
    gym.register(f"probe/faulty-{_what}-v0", Faulty, kwargs={"what": _what})


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("raise", r"raised KeyError: 'torque' \(test_own.py, line \d+\)"),
        ("exit", r"raised SystemExit: 3 \(test_own.py, line \d+\)"),
        ("nan", "shows NaN in sensor 1, expected finite numbers"),
        ("huge", r"shows -1e\+39 in sensor 0, expected finite numbers of 32 bits"),
        ("shape", r"shows float64 \(3,\), expected numbers \(2,\)"),
        ("kind", r"shows <U1 \(2,\), expected numbers \(2,\)"),
        ("reward", "pays inf, expected a finite number"),
        ("large", r"pays 1e\+39, expected a finite number of 32 bits"),
        ("text", "pays 'one', expected a finite number"),
        ("four", "gives 4 things, expected 5"),
    ],
)
def test_what_fails_is_named_by_environment_seed_and_step(what: str, message: str) -> None:
    envs = make(f"probe/faulty-{what}-v0", 3, seed=70)

    def play() -> None:
        for _ in range(12):
            envs.step(torch.zeros(3, dtype=torch.int64))

    with pytest.raises(InputError, match=rf"environment \d \(seed 7\d\), episode 1, step 3: it {message}"):
        play()


def test_a_mask_that_the_reset_does_not_give_is_not_passed_over() -> None:
    envs = make("tests.probes:MaskedLate", 2, seed=0)
    with pytest.raises(InputError, match="step 1: it gives an action_mask, which its reset did not"):
        envs.step(torch.zeros(2, 2, dtype=torch.int64))


def test_a_class_is_found_by_module_and_name() -> None:
    envs = make("tests.probes:Pair", 2, seed=0)
    assert envs.spaces.choices == (2, 3)
    row = envs.step(torch.tensor([[1, 2], [0, 1]]))
    assert row.reward.tolist() == [3.0, 1.0]


def test_what_cannot_be_found_is_said() -> None:
    with pytest.raises(InputError, match="No module named 'nowhere'"):
        make("nowhere:Env", 2, seed=0)
    with pytest.raises(InputError, match=r"tests.probes has no gymnasium.Env called 'Nothing'"):
        make("tests.probes:Nothing", 2, seed=0)
    with pytest.raises(InputError, match=r"has no gymnasium.Env called 'GAMMA'"):
        make("tests.probes:GAMMA", 2, seed=0)


def test_the_first_broken_rule_is_the_verdict() -> None:
    check("CartPole-v1")
    check("tests.probes:Recall")
    check("tests.probes:Masked")  # which fails when it is told to do what it forbids
    check("tests.probes:MaskedPair")
    with pytest.raises(InputError, match="Counter breaks a rule of environments: AssertionError"):
        check("tests.probes:Counter")


class MaskedOld(tests.probes.Masked):
    """Returns four things, as environments did once."""

    def step(self, action: int) -> tuple:
        return super().step(action)[:4]


def test_an_environment_that_forbids_actions_is_held_against_the_rules() -> None:
    with pytest.raises(
        InputError, match="MaskedOld breaks a rule of environments: AssertionError: The `info`"
    ):
        check("tests.envs.test_own:MaskedOld")


def test_an_id_of_a_module_in_this_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registers = "import gymnasium as gym\ngym.register('here/Copy-v0', 'tests.probes:Recall')\n"
    (tmp_path / "registers_copy.py").write_text(registers)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert make("registers_copy:here/Copy-v0", 2, seed=0).spaces.discrete == 2


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class Mine(gym.Env:", "SyntaxError"),
        ("class Mine(gym.Env): pass", "has no observation_space, expected one of gymnasium.spaces"),
        ("class Mine(gym.Env):\n    def __init__(self): raise OSError('no port')", "OSError: no port"),
        ("class Mine(gym.Env):\n    def __init__(self): raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_classes_that_cannot_be_made_are_refused(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"mine_{abs(hash(code))}"
    (tmp_path / f"{module}.py").write_text(f"import gymnasium as gym\n{code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=f"'{module}:Mine' .*{message}"):
        make(f"{module}:Mine", 1, seed=0)


class Exact(gym.Env):
    """Takes actions of 64 bits from 0 to 10 alone, pays an array, and ends with NumPy's booleans."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,))
    action_space = gym.spaces.Box(0.0, 10.0, (1,), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple:
        assert action.dtype == np.float64
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == 500:
            return (0,) * 4
        paid = np.array([1.0]) if self.steps > 400 else 1.0  # the check, before, expects a number
        return np.zeros(1, np.float32), paid, np.bool_(False), np.bool_(False), {}


def test_actions_have_the_type_of_their_space_and_numpy_may_say_when_it_ends() -> None:
    check("tests.envs.test_own:Exact")  # without a warning about bounds that are not -1 and 1
    envs = make("tests.envs.test_own:Exact", 2, seed=0)
    for _ in range(499):
        assert envs.step(torch.zeros(2, 1)).reward.tolist() == [1.0, 1.0]
    with pytest.raises(InputError, match=r"step 500: it gives 4 things, expected 5"):
        envs.step(torch.zeros(2, 1))


class Closing(tests.probes.Pair):
    """Notes which of its copies are open."""

    open: set[int] = set()  # noqa: RUF012  (of all)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        self.open.add(id(self))
        return super().reset(seed=seed)

    def close(self) -> None:
        self.open.discard(id(self))


gym.register("probe/closing-v0", Closing)


def test_a_run_closes_the_environments_that_it_learned_on(tmp_path: Path) -> None:
    run = RunConfig(steps=32, device="cpu", wandb="disabled", evaluate_every=0)
    learn("ppo", ppo.Config(env="probe/closing-v0", num_envs=4, rollout=8, run=run), tmp_path / "run")
    assert not Closing.open
