"""Detectors beside their peers on labelled tables, one-class, clean protocol; pictures: `anomaly_images`,
series: `anomaly_series`.

    python -m benchmarks.anomaly --data DIR [--what tables|images|series|made] [--seeds 3]
    python -m benchmarks.anomaly --what networks                       that read windows: `anomaly_networks`
    python -m benchmarks.anomaly --what speed                          beside PyOD: `anomaly_speed`

DIR has `adbench/*.npz` with `X` and `y`, 1 for anomalies. One configuration everywhere; no label of a test
row chooses anything. Rows are shuffled by seed; half of the normal rows train (10,000 at most), the other
half and all anomalies test (20,000 at most), nothing is drawn twice. Columns of the peers are standardised
by the training rows. AUROC and average precision in percent, the mean over seeds.

    knn         mean distance to 5 nearest neighbours among all training rows (scikit-learn)
    forest      isolation forest, scikit-learn's defaults
    auto        `lab fit`: a fifth of the training rows calibrates and is not learned from
    fast        `lab fit --fast`: one net that learned to score as auto does

False alarms: of the calibrated detector among normal test rows, at alpha 0.05 and 0.1, with the interval that
holds for all tables, seeds and rates together at 99 %, for tables of 200 calibration rows or more.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

from anomaly.calibration import p_values, realised_range
from anomaly.detector import Detector
from benchmarks import anomaly_images, anomaly_networks, anomaly_series, anomaly_speed
from generative.data import Table
from training.arrays import npz

TRAIN, TEST = 10_000, 20_000
ALPHAS = (0.05, 0.1)
LEVEL = 0.99
CALIBRATED = 200


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
        choices=("tables", "images", "series", "made", "networks", "speed"),
        default="tables",
        help="what is measured",
    )
    told = parser.parse_args()
    data, seeds = told.data, told.seeds
    torch.set_num_threads(1)
    if told.what == "speed":
        anomaly_speed.run()
        return
    if told.what == "made":
        anomaly_series.run(None)
        return
    if told.what == "networks":
        anomaly_networks.run()
        return
    if data is None:
        parser.error("--data is missing, expected the folder of the data")
    if told.what == "images":
        anomaly_images.run(data, seeds)
        return
    if told.what == "series":
        anomaly_series.run(data)
        return
    files = sorted((data / "adbench").glob("*.npz"))
    if not files:
        parser.error(f"{data} has no adbench/*.npz, expected labelled tables")
    means: dict[str, list[np.ndarray]] = {}
    alarms: list[tuple] = []
    names = ("knn", "forest", "auto", "fast")
    print(f"Tables, clean protocol, {seeds} seeds: AUROC / average precision\n")
    print("| table | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for file in files:
        with npz(file, "a table") as arrays:
            x, y = arrays["X"], arrays["y"]
        runs = [measure(x, y, seed) for seed in range(seeds)]
        alarms += [(file.stem, seed, *rate) for seed, (_, rates) in enumerate(runs) for rate in rates]
        cells = []
        for name in names:
            mean = np.mean([found[name] for found, _ in runs], axis=0)
            means.setdefault(name, []).append(mean)
            cells.append(f"{mean[0]:.2f} / {mean[1]:.2f}")
        print(f"| {file.stem} | " + " | ".join(cells) + " |", flush=True)
    table = {name: np.array(found) for name, found in means.items()}
    overall = [f"{found[:, 0].mean():.2f} / {found[:, 1].mean():.2f}" for found in table.values()]
    print("| mean | " + " | ".join(overall) + " |\n")
    gain = table["auto"] - table["knn"]
    print(
        f"auto over knn: mean {gain[:, 0].mean():+.2f} AUROC, {gain[:, 1].mean():+.2f} AP; median"
        f" {np.median(gain[:, 0]):+.2f} AUROC, {np.median(gain[:, 1]):+.2f} AP"
    )
    if alarms:
        _print_alarms(alarms)


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
