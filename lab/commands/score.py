"""`lab score DETECTOR DATA`: one score, p-value and flag for each row."""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from anomaly.detector import Detector
from generative import data
from lab.arguments import parse
from training.checkpoint import writing
from training.errors import InputError
from training.folder import read_config


@dataclass(frozen=True)
class Score:
    """What `lab score` is told."""

    detector: tyro.conf.Positional[Path]  # the folder that `lab fit` made
    data: tyro.conf.Positional[str]  # rows: digits, or a file: .csv .parquet .npy .npz
    out: Path | None = None  # the CSV file to write; default: scores.csv in the detector's folder


def main(words: list[str]) -> None:
    """Parses and runs `lab score DETECTOR DATA ...`."""
    told: Score = parse(Score, words, "lab score", "Scores rows: higher is stranger.")
    torch.set_num_threads(1)
    found = read_config(told.detector)
    if found["kind"] != "detector":
        raise InputError(f"{told.detector} is a run of {found['kind']!r}, expected a detector: see `lab fit`")
    detector = Detector.load(told.detector / "model")
    table = data.load(told.data)
    table.expect(detector.columns, f"{told.detector}")
    out = told.out or told.detector / "scores.csv"
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} does not exist, expected a folder for {out.name}")
    if out.exists() and Path(told.data).exists() and out.samefile(told.data):
        raise InputError(f"{out} is the data itself, expected another file for the scores")
    score = detector.decision_function(table.x)
    p_value = detector.p_of(score)
    anomaly = detector.verdict(p_value)
    with writing(out) as file:
        file.write(b"row,score,p_value,anomaly\n")
        for row, (s, p, flag) in enumerate(zip(score, p_value, anomaly, strict=True)):
            file.write(f"{row},{s:.9g},{p:.9g},{flag}\n".encode())
    print(
        f"{out}: {len(score)} rows, {anomaly.sum()} anomalies at a false-alarm rate of {detector.alpha:.3g}"
    )
