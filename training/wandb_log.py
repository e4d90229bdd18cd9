"""Weights & Biases beside `metrics.jsonl`: never a reason for a run to fail or change.

W&B raises without an account, waits without a network and loses rows on a full disk without a word; so
every call is guarded, the first failure is told once, and the run goes on without it; a server that does not
answer costs 30 s at the start.
"""

import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from training.run import RunConfig

INIT_TIMEOUT_S = 30
LEAST_FREE = 1 << 20  # bytes on W&B's disk, below which it counts as full


class WandbLog:
    """Rows to W&B: offline unless asked otherwise, silent after the first failure."""

    def __init__(
        self, cfg: RunConfig, folder: Path, config: Mapping[str, Any], group: str, run_id: str | None = None
    ) -> None:
        """Starts a W&B run, or goes on with the one called `run_id`."""
        self._run: Any = None
        self.id = run_id
        mode = os.environ.get("WANDB_MODE", cfg.wandb)
        if mode != "disabled":
            self._guarded(lambda: self._start(cfg, mode, folder, config, group))

    def write(self, step: int, row: Mapping[str, float]) -> None:
        """Sends a row."""
        if self._run is not None:
            self._guarded(lambda: self._log(step, row))

    def show(self, step: int, pictures: Mapping[str, Path]) -> None:
        """Sends files of pictures, or of moving ones, by name."""
        if self._run is not None and pictures:
            self._guarded(lambda: self._show(step, pictures))

    def _show(self, step: int, pictures: Mapping[str, Path]) -> None:
        import wandb

        media = {
            name: wandb.Image(str(file)) if file.suffix == ".png" else wandb.Video(str(file))
            for name, file in pictures.items()
        }
        self._log(step, media)

    def _log(self, step: int, row: Mapping[str, Any]) -> None:
        free = shutil.disk_usage(self._run.dir).free
        if free < LEAST_FREE:
            raise OSError(f"its disk is full: {free:,} bytes are left")
        self._run.log({"global_step": step, **row})

    def keep(self, model: Path) -> None:
        """Sends a model folder as the run's artifact."""
        if self._run is not None and model.exists():
            self._guarded(lambda: self._keep(model))

    def _keep(self, model: Path) -> None:
        import wandb

        artifact = wandb.Artifact(f"model-{self.id}", type="model")
        for file in sorted(model.iterdir()):
            artifact.add_file(str(file), name=file.name)
        self._run.log_artifact(artifact)

    def close(self) -> None:
        """Ends the W&B run."""
        if self._run is not None:
            self._guarded(lambda: self._run.finish())

    def _start(self, cfg: RunConfig, mode: str, folder: Path, config: Mapping[str, Any], group: str) -> None:
        # W&B takes our package `agents` for somebody else's and would advertise a product for it.
        os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")
        for place in ("DATA", "CACHE"):  # else artifacts are staged in the user's home and stay there
            os.environ.setdefault(f"WANDB_{place}_DIR", str(folder.resolve() / "wandb"))
        import wandb

        settings = wandb.Settings(
            console="off", silent=True, init_timeout=INIT_TIMEOUT_S, disable_git=True, save_code=False
        )
        self._run = wandb.init(
            mode=mode,  # type: ignore[arg-type]
            dir=folder,
            name=folder.name,
            config=dict(config),
            group=group,
            project=cfg.project,
            entity=cfg.entity,
            tags=list(cfg.tags),
            settings=settings,
            id=self.id,
            resume="allow" if self.id else None,
        )
        self.id = self._run.id
        self._run.define_metric("*", step_metric="global_step")

    def _guarded(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # whatever W&B raises, the run is worth more than its log
            self._run = None
            reason = " ".join(str(error).split()) or type(error).__name__
            warnings.warn(f"Weights & Biases stopped ({reason}); metrics.jsonl goes on", stacklevel=3)
