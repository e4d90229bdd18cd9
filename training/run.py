"""What every run is told, whatever it learns."""

import math
from dataclasses import dataclass
from typing import Literal

from training.config import check_not_negative, check_positive
from training.device import Mode, Precision
from training.errors import InputError


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How long, from which seed, where, and what is reported on the way."""

    steps: int = 100_000  # how long to learn: environment steps of an agent, updates of a model
    seed: int = 0  # of everything random in the run
    device: str = "auto"  # auto (a CUDA GPU, else the CPU), cpu, cuda, cuda:1, mps
    mode: Mode = "eager"  # how updates are run; compiling costs 6-12 s at the start
    precision: Precision = "fp32"  # of matrix products in updates; weights and losses stay in fp32
    threads: int = 1  # CPU threads of torch; small networks are slower with more
    log_every: int = 1_000  # steps between rows of metrics.jsonl
    evaluate_every: int = 10_000  # steps between evaluations; 0: only at the end
    stop_at: float | None = None  # stop when an evaluation's score reaches this
    patience: int = 0  # stop after so many evaluations without a new best, which is then the model; 0: never
    if_nan: Literal["stop", "skip", "roll-back"] = "stop"  # when a loss or gradient is not finite
    save_every_s: float = 60.0  # seconds between saved models, beside one at every evaluation
    init_from: str | None = None  # a run whose weights are the beginning, where names and shapes fit
    freeze: tuple[str, ...] = ()  # parts of what was taken over that stay as they are: encoder
    video: bool = False  # an episode of an agent is filmed at every evaluation, for the report and W&B
    wandb: Literal["offline", "online", "disabled"] = "offline"  # Weights & Biases; WANDB_MODE overrides it
    project: str = "lab"  # the W&B project
    entity: str | None = None  # the W&B team or user
    tags: tuple[str, ...] = ()  # W&B tags

    def __post_init__(self) -> None:
        check_positive(self, "steps", "threads", "log_every", "save_every_s")
        check_not_negative(self, "seed", "evaluate_every", "patience")
        if self.threads > 1_024:
            raise InputError(f"threads is {self.threads}, expected at most 1024")
        if self.freeze and self.init_from is None:
            raise InputError(f"freeze is {' '.join(self.freeze)}, expected init_from beside it")
        if self.stop_at is not None and math.isnan(self.stop_at):
            raise InputError("stop_at is nan, expected a score")
