"""The law of every algorithm: at a yield, all state is in the learner and the environments."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

import agents.registry
import generative.registry
from envs import make
from generative.data import load
from training.run import RunConfig

RUN = RunConfig(steps=3_000, device="cpu")
SMALLER = {
    "qr_dqn": {"n_step": 3},
    "sac": {"warm_up": 300, "batch": 32, "updates": 1},
    "dqn": {"warm_up": 300, "replay": 1_000},
    "rainbow": {"updates": 4},
    "vae": {"batch": 500},
    "autoencoder": {"batch": 500},
    "denoiser": {"batch": 500},
    "gan": {"guard_every": 7},
    "som": {"batch": 500},
}


def started(kind: str) -> tuple[Any, Callable[[], Iterator]]:
    """A new learner, and what makes its generator."""
    modules = agents.registry.MODULES | generative.registry.MODULES
    cfg = modules[kind].Config(run=RUN, **SMALLER.get(kind, {}))
    if kind in agents.registry.MODULES:
        envs = make(cfg.env, cfg.num_envs, seed=3)
        learner = modules[kind].Learner(cfg, envs.spaces)
        return learner, lambda: modules[kind].train(cfg, learner, envs)
    cfg = replace(cfg, run=replace(RUN, steps=30))
    learner = modules[kind].Learner(cfg, torch.from_numpy(load("digits").x))
    return learner, lambda: modules[kind].train(cfg, learner)


@pytest.mark.parametrize("kind", [*agents.registry.MODULES, *generative.registry.MODULES])
def test_throwing_the_generator_away_at_every_yield_changes_nothing(kind: str) -> None:
    weights, yields = [], []
    for restart in (False, True):
        learner, make_updates = started(kind)
        updates, count = make_updates(), 0
        while next(updates, None) is not None:
            count += 1
            if restart:
                updates = make_updates()
        weights.append(learner.model.state_dict())
        yields.append(count)
    assert yields[0] == yields[1] > 2
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
