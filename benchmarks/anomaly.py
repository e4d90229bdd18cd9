"""Detectors beside their peers on labelled tables, one-class, clean protocol; pictures: `anomaly_images`,
series: `anomaly_series`.

    python -m benchmarks.anomaly --data DIR [--what tables|images|series|made] [--seeds 3]
    python -m benchmarks.anomaly --what networks                       that read windows: `anomaly_networks`
    python -m benchmarks.anomaly --what cells                          one wrong cell a row: `anomaly_cells`
    python -m benchmarks.anomaly --what text                           lines of made logs: `anomaly_text`
    python -m benchmarks.anomaly --what speed                          beside PyOD: `anomaly_speed`

DIR has `adbench/*.npz` with `X` and `y`, 1 for anomalies. One configuration everywhere. The settings were
not fitted to labels, but these tables were looked at while the members were chosen: expect less elsewhere.
Rows are shuffled by seed; half of the normal rows train (10,000 at most), the other
half and all anomalies test (20,000 at most), nothing is drawn twice. Columns of the peers are standardised
by the training rows. AUROC and average precision in percent, the mean over seeds.

    knn         mean distance to 5 nearest neighbours among all training rows (scikit-learn)
    forest      isolation forest, scikit-learn's defaults
    auto        `lab fit`: a fifth of the training rows calibrates and is not learned from
    ensemble    the same models, every one of them asked about every row (`--detector ensemble`)
    fast        `lab fit --fast`: the glance of auto alone, 250 remembered rows and one small ratio net

False alarms: of the calibrated detector among normal test rows, at alpha 0.05 and 0.1, with the interval that
holds for all tables, seeds and rates together at 99 %, for tables of 200 calibration rows or more.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

from anomaly.calibration import p_values, realised_range
from anomaly.detector import Detector
from benchmarks import (
    anomaly_cells,
    anomaly_images,
    anomaly_networks,
    anomaly_series,
    anomaly_speed,
    anomaly_text,
)
from generative.data import Table
from training.arrays import npz

TRAIN, TEST = 10_000, 20_000
ALPHAS = (0.05, 0.1)
LEVEL = 0.99
CALIBRATED = 200
NAMES = ("knn", "forest", "auto", "ensemble", "fast")
ALONE: dict[str, Callable[[], None]] = {  # that need no data
    "cells": anomaly_cells.run,
    "made": lambda: anomaly_series.run(None),
    "networks": anomaly_networks.run,
    "speed": anomaly_speed.run,
    "text": anomaly_text.run,
}


def split(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training rows, test rows and their labels, by the protocol."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    x, y = x[order].astype(np.float64), y[order]
    normal = np.flatnonzero(y == 0)
    train = normal[: len(normal) // 2]
    test = np.concatenate([normal[len(normal) // 2 :], np.flatnonzero(y == 1)])
    train = train if len(train) <= TRAIN else rng.choice(train, TRAIN, replace=False)
    test = test if len(test) <= TEST else rng.choice(test, TEST, replace=False)
    return x[train], x[test], y[test]


def knn(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Mean distance to the 5 nearest training rows, columns standardised."""
    mean, deviation = train.mean(0), train.std(0)
    deviation[deviation == 0] = 1
    near = NearestNeighbors(n_neighbors=5).fit((train - mean) / deviation)
    return near.kneighbors((test - mean) / deviation)[0].mean(1)


def measure(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[dict[str, np.ndarray], list[tuple]]:
    """(AUROC, average precision) of each detector, and the false alarms of the calibrated one."""
    train, test, label = split(x, y, seed)
    table = Table(train, tuple(f"x{i}" for i in range(x.shape[1])), "table")
    detector = Detector.fit(table, "auto", seed)
    score = {
        "knn": knn(train, test),
        "forest": -IsolationForest(random_state=seed).fit(train).score_samples(test),
        "auto": detector.decision_function(test),
        "ensemble": replace(detector, glance=None).decision_function(test),
        "fast": Detector.fit(table, "auto", seed, fast=True).decision_function(test),
    }
    found = {
        name: 100 * np.array([roc_auc_score(label, s), average_precision_score(label, s)])
        for name, s in score.items()
    }
    n, normal = len(detector.calibration), score["auto"][label == 0]
    p = p_values(normal, detector.calibration)
    rates = [(alpha, n, int((p <= alpha + 1e-12).sum()), len(normal)) for alpha in ALPHAS]
    return found, [rate for rate in rates if n >= CALIBRATED]


def main() -> None:
    """Prints a row for every table, their mean, and the false alarms."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="the folder of the data")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0")
    parser.add_argument(
        "--what",
        choices=("tables", "images", "series", *ALONE),
        default="tables",
        help="what is measured",
    )
    told = parser.parse_args()
    torch.set_num_threads(1)
    if told.what in ALONE:
        ALONE[told.what]()
    elif told.data is None:
        parser.error("--data is missing, expected the folder of the data")
    elif told.what == "images":
        anomaly_images.run(told.data, told.seeds)
    elif told.what == "series":
        anomaly_series.run(told.data)
    elif files := sorted((told.data / "adbench").glob("*.npz")):
        run(files, told.seeds)
    else:
        parser.error(f"{told.data} has no adbench/*.npz, expected labelled tables")


def run(files: list[Path], seeds: int) -> None:
    """Measures the tables, a row each; then their mean."""
    means: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
    alarms: list[tuple] = []
    print(f"Tables, clean protocol, {seeds} seeds: AUROC / average precision\n")
    print("| table | " + " | ".join(NAMES) + " |\n|---|" + "---|" * len(NAMES))
    for file in files:
        with npz(file, "a table") as arrays:
            x, y = arrays["X"], arrays["y"]
        runs = [measure(x, y, seed) for seed in range(seeds)]
        alarms += [(file.stem, seed, *rate) for seed, (_, rates) in enumerate(runs) for rate in rates]
        for name in NAMES:
            means[name].append(np.mean([found[name] for found, _ in runs], axis=0))
        _print_row(file.stem, {name: found[-1] for name, found in means.items()})
    _print_row("mean", {name: np.mean(found, axis=0) for name, found in means.items()})
    gain = np.array(means["auto"]) - np.array(means["knn"])
    print(
        f"\nauto over knn: mean {gain[:, 0].mean():+.2f} AUROC, {gain[:, 1].mean():+.2f} AP; median"
        f" {np.median(gain[:, 0]):+.2f} AUROC, {np.median(gain[:, 1]):+.2f} AP"
    )
    if alarms:
        _print_alarms(alarms)


def _print_row(table: str, found: dict[str, np.ndarray]) -> None:
    cells = [f"{auroc:.2f} / {precision:.2f}" for auroc, precision in found.values()]
    print(f"| {table} | " + " | ".join(cells) + " |", flush=True)


def _print_alarms(alarms: list[tuple]) -> None:
    level = 1 - (1 - LEVEL) / max(1, len(alarms))
    outside = []
    for name, seed, alpha, n, found, tests in alarms:
        low, high = realised_range(n, alpha, tests, level)
        if not low <= found <= high:
            outside.append(f"{name} seed {seed} alpha {alpha}: {found} of {tests}, expected {low} to {high}")
    print(f"\nfalse alarms: {len(alarms) - len(outside)} of {len(alarms)} inside their interval")
    for alpha in ALPHAS:
        rates = [found / tests for _, _, a, _, found, tests in alarms if a == alpha]
        print(f"  alpha {alpha}: mean rate {np.mean(rates):.4f}, from {min(rates):.4f} to {max(rates):.4f}")
    print("\n".join(f"  outside: {line}" for line in outside))


if __name__ == "__main__":
    main()
