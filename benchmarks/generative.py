"""How well models explain rows they have not seen: every model, several seeds.

    python -m benchmarks.generative [--data digits] [--seeds 5]

Each seed splits the rows anew; the best model by the selection rows is measured on the test rows. Error:
mean squared error of reconstructions over the variance of the columns (1 is what their means reach). AUROC:
test rows against the same rows with every column permuted for itself, so that nothing fits together.
"""

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from anomaly.detector import fit_model, score_rows
from generative import data, registry


def measure(kind: str, table: data.Table, seed: int) -> tuple[float, float, float]:
    """Error and AUROC on the test rows, and the CPU seconds that fitting took."""
    fit, select, test = registry.parts(table, seed)
    start = time.process_time()
    cfg = registry.preset(kind, table.source)
    model = fit_model(kind, replace(cfg, run=replace(cfg.run, seed=seed)), table, fit, select)
    seconds = time.process_time() - start
    x = torch.from_numpy(table.x)
    with torch.no_grad():
        x_hat = model.decode(model.encode(x[test]))  # type: ignore[attr-defined]
    error = (x[test] - x_hat).square().mean() / x[fit].var(0).mean()
    rng = np.random.default_rng(seed)
    mixed = np.stack([rng.permutation(column) for column in table.x[test].T], axis=1)
    score = score_rows(model, np.concatenate([table.x[test], mixed]))
    return float(error), float(roc_auc_score(np.repeat([0, 1], len(test)), score)), seconds


def main() -> None:
    """Prints a row for every model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="digits, or a file")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0")
    told = parser.parse_args()
    torch.set_num_threads(1)
    table = data.load(told.data)
    print(f"| model | data | error, {told.seeds} seeds | AUROC | CPU s |\n|---|---|---|---|---|")
    for kind in registry.MODULES:
        found = np.array([measure(kind, table, seed) for seed in range(told.seeds)])
        (error, auroc, _), (error_sd, auroc_sd, _) = found.mean(0), found.std(0, ddof=1)
        print(
            f"| {kind} | {table.source} | {error:.3f} ± {error_sd:.3f} | {auroc:.4f} ± {auroc_sd:.4f}"
            f" | {np.median(found[:, 2]):.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
