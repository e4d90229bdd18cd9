"""`lab fit DATA`: a detector learns what normal is, or a trained model is calibrated."""

from dataclasses import asdict, dataclass
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
    detector: str = "vae"  # the model that learns them: autoencoder or vae
    from_run: Annotated[Path | None, tyro.conf.arg(name="from")] = None  # calibrate the model of this run
    dir: Path | None = None  # the folder of the detector, new; default: the next free one under runs/
    alpha: float | None = None  # promised false-alarm rate; default: 0.01, or 1/(n+1) if n rows allow no less
    seed: int = 0  # of the split and of everything random in learning


def main(words: list[str]) -> None:
    """Parses and runs `lab fit DATA ...`."""
    told: Fit = parse(Fit, words, "lab fit", "Learns normal rows, and calibrates on rows apart.")
    if told.detector not in MODULES:
        raise InputError(f"detector is {told.detector!r}, expected one of {', '.join(MODULES)}")
    if told.seed < 0:
        raise InputError(f"seed is {told.seed}, expected 0 or more")
    torch.set_num_threads(1)
    table = data.load(told.data)
    path = told.dir or new_path("detector-" + Path(told.data).stem)
    folder = RunFolder(path, "detector", {k: v and str(v) for k, v in asdict(told).items()})
    try:
        if told.from_run is None:
            detector = Detector.fit(table, told.detector, told.seed, told.alpha)
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
