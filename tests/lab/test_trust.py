"""A run may name a class as its environment; its code runs on the user's word alone."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from lab.cli import main
from tests.processes import ROOT
from training.files import MANIFEST, sha256

CODE = """
from pathlib import Path
import gymnasium as gym
import numpy as np

Path("ran").touch()

class Env(gym.Env):
    metadata = {"render_modes": ["rgb_array"]}
    observation_space = gym.spaces.Box(-1.0, 1.0, (4,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(4, np.float32), {}

    def step(self, action):
        return np.zeros(4, np.float32), 1.0, True, False, {}

    def render(self):
        return np.zeros((8, 8, 3), np.uint8)
"""
QUICK = "--steps 64 --num-envs 4 --rollout 8 --minibatch 32 --log-every 32 --evaluate-every 0"
ENV = "strange_{}:Env"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of CartPole, of one seed and of two."""
    here = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        call(f"train ppo {QUICK} --dir agent", patch)
    shutil.copytree(here / "agent", here / "set" / "seed_0")
    return here


def call(words: str, patch: pytest.MonkeyPatch) -> int:
    patch.setattr(sys, "argv", ["lab", *words.split()])
    patch.setattr(sys, "path", [*sys.path])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def named(env: str, run: Path, here: Path) -> None:
    """Copies the run, whose files now name `env`, and puts the module of that name beside it."""
    shutil.copytree(run, here, dirs_exist_ok=True)
    (here / f"{env.partition(':')[0].rpartition('/')[2]}.py").write_text(CODE)
    shutil.copy(here / "agent" / "config.json", here / "set" / "settings.json")
    for file in (*here.rglob("config.json"), *here.rglob("model.json"), here / "set" / "settings.json"):
        told = json.loads(file.read_text()) | ({"seeds": [0, 1]} if file.name == "settings.json" else {})
        told["config"]["env"] = env
        file.write_text(json.dumps(told))
        if (sums := file.with_name(MANIFEST)).exists():
            sums.write_text(json.dumps(json.loads(sums.read_text()) | {file.name: sha256(file)}))


CALLS = (
    "evaluate agent --episodes 2",
    "resume agent",
    "resume set",
    "monitor agent",
    "watch agent",
    "report agent --video",
    "train ppo --config agent --dir new",
    "train ppo --config set/settings.json --dir new --seeds 2",
)


@pytest.mark.parametrize("env", [ENV, "processes/" + ENV, "strange_{}:Env-v0"])
@pytest.mark.parametrize("words", CALLS)
def test_a_class_that_a_file_names_is_not_imported_unasked(
    words: str,
    env: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    named(env.format("unasked"), run, tmp_path)
    assert call(words, monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert "whose module runs when it is imported: expected --trust if you trust it" in said
    assert not Path("ran").exists()


@pytest.mark.parametrize("words", [CALLS[0], CALLS[1], CALLS[2], CALLS[5], CALLS[6]])
def test_it_is_imported_when_trusted(
    words: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named(ENV.format(f"trusted_{CALLS.index(words)}"), run, tmp_path)
    shutil.rmtree("agent/resume")  # what it holds is of other settings
    shutil.rmtree("set/seed_0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of the processes of a set
    assert call(f"{words} --trust", monkeypatch) == 0
    assert Path("ran").exists()


@pytest.mark.parametrize("words", [f"train ppo {QUICK}", "train ppo --config agent"])
def test_a_class_on_the_command_line_needs_no_more(
    words: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named(env := ENV.format(f"told_{len(words)}"), run, tmp_path)
    assert call(f"{words} --env {env} --dir new", monkeypatch) == 0
    assert Path("ran").exists()
