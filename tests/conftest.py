"""Every test runs with the shapes and types of all signatures checked."""

import os

from jaxtyping import install_import_hook

import tests.typechecker  # noqa: F401  (the hook finds it by name)

PACKAGES = ["agents", "anomaly", "envs", "generative", "training"]
install_import_hook(PACKAGES, "tests.typechecker.typechecker")

os.environ["WANDB_MODE"] = "disabled"  # the tests of W&B set their own

import pytest  # noqa: E402  (our packages must be imported after the hook)
import torch  # noqa: E402


@pytest.fixture(autouse=True)
def _process() -> None:
    """Learning sets switches of the whole process; the next test must not find them thrown."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)
