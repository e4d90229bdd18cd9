"""What the commands made, for the tests of this folder."""

from pathlib import Path

import numpy as np
import pytest

from tests.processes import lab


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an agent, a model, a detector and data, made by the commands themselves."""
    here = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    np.savetxt(here / "normal.csv", rng.normal(size=(200, 3)), delimiter=",", header="a,b,c", comments="")
    np.savetxt(here / "other.csv", rng.normal(size=(20, 2)), delimiter=",", header="a,b", comments="")
    for words in (
        ["train", "ppo", "--env", "CartPole-v1", "--steps", "3000", "--dir", "agent"],
        ["train", "dqn", "--env", "CartPole-v1", "--steps", "2000", "--dir", "dqn"],
        ["train", "vae", "--data", "normal.csv", "--steps", "60", "--dir", "model"],
        ["fit", "normal.csv", "--from", "model", "--dir", "detector"],
        ["fit", "normal.csv", "--detector", "memory", "--dir", "memory"],
        ["train", "gan", "--data", "digits", "--conditional", "--steps", "40", "--dir", "labelled"],
        ["train", "som", "--data", "digits", "--steps", "60", "--dir", "map"],
    ):
        done = lab(*words, cwd=here)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    return here
