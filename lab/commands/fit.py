"""`lab fit DATA`: a detector learns what normal is, or a trained model is calibrated."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

from anomaly.detector import Detector
from generative import data
from generative.registry import MODULES
from lab.arguments import parse
from training.errors import InputError
from training.folder import RunFolder, new_path


@dataclass(frozen=True)
class Fit:
    """What `lab fit` is told."""

    data: tyro.conf.Positional[str]  # normal rows: digits, or a file: .csv .parquet .npy .npz
    detector: str | None = None  # the model that learns them: vae (default) or autoencoder
    from_run: Annotated[Path | None, tyro.conf.arg(name="from")] = None  # calibrate the model of this run
    dir: Path | None = None  # the folder of the detector, new; default: the next free one under runs/
    alpha: float | None = None  # promised false-alarm rate; default: 0.01, or 1/(n+1) if n rows allow no less
    seed: int | None = None  # of the split and of everything random in learning; default: 0


def main(words: list[str]) -> None:
    """Parses and runs `lab fit DATA ...`."""
    told: Fit = parse(Fit, words, "lab fit", "Learns normal rows, and calibrates on rows apart.")
    if told.detector not in (None, *MODULES):
        raise InputError(f"detector is {told.detector!r}, expected one of {', '.join(MODULES)}")
    if told.seed is not None and told.seed < 0:
        raise InputError(f"seed is {told.seed}, expected 0 or more")
    if told.from_run is not None and (told.detector, told.seed) != (None, None):
        raise InputError(
            "--from takes the model and the seed of its run, expected no --detector and no --seed"
        )
    torch.set_num_threads(1)
    table = data.load(told.data)
    path = told.dir or new_path("detector-" + Path(told.data).stem)
    config = {name: str(value) if isinstance(value, Path) else value for name, value in vars(told).items()}
    folder = RunFolder(path, "detector", config)
    try:
        if told.from_run is None:
            detector = Detector.fit(table, told.detector or "vae", told.seed or 0, told.alpha)
        else:
            detector = Detector.of_run(told.from_run, table, told.alpha)
        detector.save(path / "model")
    except BaseException:
        folder.discard()
        raise
    folder.close()
    n = len(detector.calibration)
    print(
        f"{path}: {detector.kind} of {len(table.columns)} columns, calibrated on {n} rows nothing else used"
    )
    print(
        f"  rows that score above {detector.threshold:.4g} are anomalies: at most {detector.alpha:.3g} of"
        " normal rows, in the mean over calibration sets, if rows are exchangeable"
    )
