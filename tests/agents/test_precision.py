"""Every algorithm learns in low precision."""

from pathlib import Path
from typing import Any

import pytest
import torch

from agents import registry
from lab.learning import learn
from training.checkpoint import load_model
from training.errors import InputError
from training.folder import read_rows
from training.run import RunConfig

SMALL: dict[str, Any] = {"num_envs": 2, "hidden": (8,)}
BOUTS: dict[str, Any] = {"warm_up": 16, "batch": 8, "updates": 2, "replay": 64, "collect": 4}
SETTINGS: dict[str, dict[str, Any]] = {
    "a2c": {},
    "dqn": BOUTS,
    "ppo": {"rollout": 16, "minibatch": 16},
    "ppo_lstm": {"rollout": 16, "minibatches": 2, "memory": 8},
    "pqn": {"rollout": 16, "minibatch": 16},
    "qr_dqn": BOUTS,
    "rainbow": BOUTS,
    "reinforce": {"rollout": 8},
    "sac": {"env": "Pendulum-v1", "warm_up": 16, "batch": 8},
}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", registry.MODULES)
def test_every_algorithm_learns_in_low_precision(kind: str, precision: Any, tmp_path: Path) -> None:
    run = RunConfig(
        steps=200, precision=precision, device="cpu", wandb="disabled", evaluate_every=0, log_every=50
    )
    cfg = registry.MODULES[kind].Config(**{"env": "CartPole-v1", **SMALL, **SETTINGS[kind]}, run=run)
    if (kind, precision) == ("ppo_lstm", "fp16"):
        with pytest.raises(InputError, match="fp16 on a CPU, whose LSTMs expect fp32 or bf16"):
            learn(kind, cfg, tmp_path / "run")
        return
    learn(kind, cfg, tmp_path / "run")
    rows = read_rows(tmp_path / "run")
    assert any(row.get("grad/norm") for row in rows)
    weights, _ = load_model(tmp_path / "run" / "model")
    assert not {weight.dtype for weight in weights.values()} & {torch.bfloat16, torch.float16}
