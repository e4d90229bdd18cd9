"""Pictures, one class normal: the detectors `edges` and `pixels` on MNIST and Fashion-MNIST.

    python -m benchmarks.anomaly --what images --data DIR

DIR has `mnist.npz` and `fashion_mnist.npz` in the official order. The training pictures of one class fit
and calibrate as in `lab fit`; all 10,000 test pictures are scored, those of nine classes being anomalies.
AUROC in percent, beside it the residual of 32 principal components of the same training pictures.
"""

from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from anomaly.detector import Detector
from generative.data import Table
from training.arrays import npz

SETS = ("mnist", "fashion_mnist")
KINDS = ("edges", "pixels")
COMPONENTS = 32


def residual(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The squared distance of test pictures from the plane of the principal components."""
    pca = PCA(COMPONENTS, random_state=0).fit(train)
    return np.square(test - pca.inverse_transform(pca.transform(test))).sum(1)


def measure(train: np.ndarray, test: np.ndarray, strange: np.ndarray, seed: int) -> list[float]:
    """The AUROC of each kind of detector, and of the residual."""
    rows, unknown = (x.reshape(len(x), -1) for x in (train, test))
    columns = tuple(f"x{i}" for i in range(rows.shape[1]))
    table = Table(rows, columns, "pictures", shape=(1, *train.shape[1:]))
    scores = [Detector.fit(table, kind, seed).decision_function(unknown) for kind in KINDS]
    scores.append(residual(rows / 255.0, unknown / 255.0))
    return [100 * float(roc_auc_score(strange, score)) for score in scores]


def run(data: Path, seeds: int) -> None:
    """Prints a row for every class, and the means."""
    for name in SETS:
        with npz(data / f"{name}.npz", "pictures") as arrays:
            x, y, test, label = (arrays[key] for key in ("x_train", "y_train", "x_test", "y_test"))
        print(f"{name}, one class normal, {len(test)} test pictures, {seeds} seeds: AUROC\n")
        print("| normal | " + " | ".join((*KINDS, "pca")) + " |\n|---|" + "---|" * (len(KINDS) + 1))
        found = []
        for c in range(10):
            runs = [measure(x[y == c], test, label != c, seed) for seed in range(seeds)]
            found.append(np.mean(runs, axis=0))
            print(f"| {c} | " + " | ".join(f"{value:.2f}" for value in found[-1]) + " |", flush=True)
        print("| mean | " + " | ".join(f"{value:.2f}" for value in np.mean(found, axis=0)) + " |\n")
