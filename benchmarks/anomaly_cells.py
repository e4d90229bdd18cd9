"""One wrong cell a row in made-up columns that hang together: is the row found?

Columns are FACTORS unknown numbers mixed, and noise of deviation 1; in STRANGE of TEST rows one cell, drawn,
is moved by so many of these deviations. AUROC and average precision, in percent, the mean over SEEDS seeds.
"""

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from anomaly.detector import Detector

WORLDS = ((30, 1_000, 3, 8.0), (100, 600, 5, 8.0), (200, 3_000, 10, 10.0), (500, 600, 10, 12.0))
TEST, STRANGE, SEEDS = 400, 40, 3
KINDS = ("auto", "linear", "pca", "nearest", "forest")


def made(
    columns: int, rows: int, factors: int, size: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows to fit, rows to test, and which of them have a wrong cell."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(factors, columns))
    train, test = (
        rng.normal(size=(n, factors)) @ mixing + rng.normal(size=(n, columns)) for n in (rows, TEST)
    )
    strange = np.arange(STRANGE)
    test[strange, rng.integers(columns, size=STRANGE)] += size * rng.choice([-1, 1], STRANGE)
    return train, test, np.arange(TEST) < STRANGE


def run() -> None:
    """Prints a row for every world."""
    print("| columns | rows to fit | factors | deviations off | " + " | ".join(KINDS) + " |")
    print("|---|" + "---|" * (4 + len(KINDS)))
    for world in WORLDS:
        found = []
        for seed in range(SEEDS):
            train, test, strange = made(*world, seed)
            scores = [Detector.fit(train, kind, seed).decision_function(test) for kind in KINDS]
            found.append([(roc_auc_score(strange, s), average_precision_score(strange, s)) for s in scores])
        cells = [f"{100 * auroc:.1f} / {100 * ap:.1f}" for auroc, ap in np.mean(found, axis=0)]
        print("| " + " | ".join([*(f"{n:g}" for n in world), *cells]) + " |", flush=True)
