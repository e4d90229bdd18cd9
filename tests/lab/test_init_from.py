"""A run that begins with the weights of another, freezes a part of them, and goes on without the other."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agents import ppo, registry
from generative import autoencoder, vae
from lab.learning import go_on, learn
from training.checkpoint import load_model
from training.run import RunConfig
from training.transfer import take_over

RUN = RunConfig(steps=20, evaluate_every=10, log_every=10, save_every_s=1e-9, wandb="disabled", device="cpu")


def test_a_frozen_encoder_stays_through_a_resume_that_needs_the_other_run_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    learn("autoencoder", autoencoder.Config(hidden=(16, 8), run=RUN), first)
    taken = load_model(first / "model")[0]
    run = replace(RUN, init_from=str(first), freeze=("encoder",))
    learn("vae", vae.Config(hidden=(16, 8), run=run), second, "said")
    said = capsys.readouterr().out
    assert "taken over: encoder.0, encoder.2, decoder.0" in said
    assert "not taken: encoder.4 (its weight is 8×8 there, 16×8 here)" in said
    straight = load_model(second / "model")[0]
    for layer in ("encoder.0", "encoder.2"):
        assert torch.equal(straight[f"{layer}.weight"], taken[f"{layer}.weight"])
    for layer in ("encoder.4", "decoder.0"):
        assert straight[f"{layer}.weight"].shape != taken[f"{layer}.weight"].shape or not torch.equal(
            straight[f"{layer}.weight"], taken[f"{layer}.weight"]
        )
    shutil.rmtree(first)
    shutil.rmtree(second / "resume/step_20")
    go_on(second)
    assert "goes on after 19 steps" in capsys.readouterr().out
    resumed = load_model(second / "model")[0]
    assert all(torch.equal(value, straight[name]) for name, value in resumed.items())


def test_an_agent_that_acts_by_averaged_weights_begins_like_one_that_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    small = {"num_envs": 4, "rollout": 8, "minibatch": 32}
    run = replace(RUN, steps=64, evaluate_every=0)
    learn("ppo", ppo.Config(run=run, **small), tmp_path / "first")
    old = registry.load(tmp_path / "first" / "model")
    new = ppo.Learner(ppo.Config(average=0.9, run=run, **small), old.spaces)
    take_over(new, tmp_path / "first", alike={"smooth": "net"})
    obs = torch.randn(9, 4)
    assert torch.equal(new.model(obs)[0], old.policy(obs)[0])
    again = replace(run, init_from=str(tmp_path / "first"))
    learn("ppo", ppo.Config(average=0.9, run=again, **small), tmp_path / "second", "said")
    assert "smooth.0" in capsys.readouterr().out
