"""Generative models of windows by the network that reads them, on made series (`made_series`).

    python -m benchmarks.anomaly --what networks

The first half of a series without its labelled rows is fitted (`lab fit --window 64`), the second half is
scored. SERIES are the first made ones with an anomaly there. Mean CPU seconds to fit, and mean average
precision in percent.
"""

import time
from dataclasses import replace

import numpy as np
from sklearn.metrics import average_precision_score

from anomaly import series
from anomaly.window_models import window_config
from benchmarks.made_series import ROWS, made
from generative.data import Table
from generative.parts.networks import Network

SERIES = 6
HALF, WINDOW = ROWS // 2, 64
DETECTORS: list[tuple[str, Network | None]] = [
    ("auto", None),
    ("pca", None),
    ("autoencoder", "dense"),
    ("autoencoder", "lstm"),
    ("autoencoder", "conv"),
    ("vae", "dense"),
    ("vae", "lstm"),
    ("vae", "conv"),
]


def measure(x: np.ndarray, anomaly: np.ndarray, kind: str, network: Network | None) -> tuple[float, float]:
    """CPU seconds to fit, average precision."""
    begin = time.process_time()
    rows = series.of_table(Table(x[:HALF, None], ("x",), "the made series"), WINDOW)
    cfg = window_config(kind, network) if network else None
    detector = series.fit(replace(rows, strange=anomaly[:HALF]), kind, cfg=cfg)
    seconds = time.process_time() - begin
    score = detector.decision_function(x[:, None])[HALF:]
    return seconds, 100 * float(average_precision_score(anomaly[HALF:], score))


def run() -> None:
    """Prints a row for every detector."""
    found = (made(seed) for seed in range(100, 200))
    chosen = [(x, anomaly) for x, anomaly in found if anomaly[HALF:].any()][:SERIES]
    print(f"{len(chosen)} series\n\n| detector | network | seconds | AP |\n|---|---|---|---|")
    for kind, network in DETECTORS:
        mean = np.mean([measure(x, anomaly, kind, network) for x, anomaly in chosen], axis=0)
        print(f"| {kind} | {network or ''} | {mean[0]:.1f} | {mean[1]:.1f} |", flush=True)
