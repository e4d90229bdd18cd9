from pathlib import Path

import numpy as np
import pytest

from generative import gan, vae
from lab.learning import learn
from lab.quality import evaluate_model
from training.run import RunConfig

RUN = RunConfig(steps=5, evaluate_every=5, wandb="disabled", device="cpu")


def table(path: Path, rows: int) -> str:
    np.savez(path, x=np.random.default_rng(0).normal(size=(rows, 3)))
    return str(path)


@pytest.mark.parametrize(("module", "first"), [(vae, "reconstructions"), (gan, "samples")])
def test_few_test_rows_leave_samples_unjudged_and_tell_the_rest(
    module: object, first: str, tmp_path: Path
) -> None:
    data = table(tmp_path / "few.npz", 60)
    kind = module.__name__.rpartition(".")[2]
    learn(kind, module.Config(data=data, run=RUN), tmp_path / "run")
    lines = evaluate_model(tmp_path / "run", best=False, seed=0, samples=5)
    assert lines[0].endswith("5 updates, 9 test rows")
    assert lines[1].split()[0] == first
    assert " ".join(lines[-1].split()) == "samples not judged by 9 test rows, expected 20 or more"
