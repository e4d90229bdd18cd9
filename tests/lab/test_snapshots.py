from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from agents import ppo
from generative import autoencoder, gan, vae
from lab.cli import main
from lab.learning import learn
from lab.pictures import png
from lab.snapshots import DIRECTIONS, STEPS, snapshots, taken
from training.run import RunConfig

RUN = RunConfig(steps=6, evaluate_every=3, log_every=3, device="cpu")


def test_a_run_draws_at_every_evaluation_and_the_report_and_wandb_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "run"
    learn("vae", vae.Config(run=RUN), run)
    found = taken(run)
    assert list(found) == ["reconstructions", "samples", "traversal"]
    assert [step for step, _ in found["samples"]] == [3, 6]
    media = run.glob("wandb/offline-run-*/files/media/images/sample/*.png")
    assert sorted(file.name.split("_")[0] for file in media) == sorted([*found] * 2)
    monkeypatch.setattr("sys.argv", ["lab", "report", str(run)])
    main()
    assert (run / "report.html").read_text().count("data:image/png") == 6


def test_an_agent_is_filmed_at_every_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "run"
    told = RunConfig(steps=256, evaluate_every=128, device="cpu", video=True)
    learn("ppo", ppo.Config(num_envs=2, rollout=64, minibatch=64, run=told), run)
    assert [step for step, _ in taken(run)["episode"]] == [128, 256]
    assert len(list(run.glob("wandb/offline-run-*/files/media/videos/sample/*.gif"))) == 2


def test_models_show_what_they_have(tmp_path: Path) -> None:
    x = torch.rand(20, 16)
    for module, kinds in ((autoencoder, ["reconstructions"]), (gan, ["samples"])):
        learner = module.Learner(module.Config(run=RUN), x)
        place = tmp_path / module.__name__
        place.mkdir()
        files = snapshots(learner.model, x, None, (1, 4, 4), place, 7)
        assert list(files) == [f"sample/{kind}" for kind in kinds]
        assert learner.model.training, "as it was"


def test_a_traversal_moves_one_latent_number_a_row(tmp_path: Path) -> None:
    class Model(torch.nn.Module):
        def scaled(self, x: torch.Tensor) -> torch.Tensor:
            return x

        def posterior(self, x: torch.Tensor, y: None) -> tuple[torch.Tensor, torch.Tensor]:
            return x[:, :2] * torch.tensor([1.0, 9.0]), torch.zeros(len(x), 2)

        def decode(self, z: torch.Tensor, y: None) -> torch.Tensor:
            return z

    files = snapshots(Model(), torch.ones(3, 2), None, (1, 1, 2), tmp_path, 0)
    pixels = np.asarray(Image.open(files["sample/traversal"]))[..., 0].astype(int)
    cells = pixels[2 + 16 :: 34, 18::66], pixels[2 + 16 :: 34, 50::66]  # of pictures of 32 × 64, 2 apart
    assert cells[0].shape == (min(2, DIRECTIONS), STEPS)
    assert (np.diff(cells[1][0]) > 0).all(), "the number that carries most comes first"
    assert (np.diff(cells[0][0]) == 0).all()
    assert (np.diff(cells[0][1]) > 0).all()


def test_numbers_become_shades() -> None:
    import io

    pixels = np.asarray(Image.open(io.BytesIO(png(np.array([[0.0, 1.0], [0.5, 0.25]])))))
    assert [pixels[0, 0], pixels[0, -1], pixels[-1, 0], pixels[-1, -1]] == [0, 255, 128, 64]
