"""The likelihood that VAEs give to rows they have not seen: several seeds.

    OMP_NUM_THREADS=1 python -m benchmarks.likelihood --data mnist.npz --seeds 3           the preset
    OMP_NUM_THREADS=1 python -m benchmarks.likelihood --data mnist.npz --updates 20000 --batch 64 \\
        --hidden 200 200 --latent 20 --importance 1 50          objectives of 1 and of 50 samples beside

The bound of log p(x) in nats is that of Burda et al., 2016 (arXiv:1509.00519), equation 8, with K = 1000
importance samples, on the first 1,000 test rows, which are drawn black and white once where the model
binarises; the last model is taken, and nothing is chosen by these rows.
"""

import argparse
import time
from dataclasses import replace

import torch

from generative import data, registry, vae
from training.device import Precision
from training.errors import InputError

K, ROWS = 1_000, 1_000


def bound(cfg: vae.Config, table: data.Table) -> tuple[float, float, float]:
    """Mean bound, 1.96 standard errors of it over rows, and the CPU seconds of learning."""
    fit, _, test = registry.parts(table, cfg.run.seed)
    start = time.process_time()
    learner = registry.new_learner("vae", cfg, table, fit)
    for _ in vae.train(cfg, learner):
        pass
    seconds = time.process_time() - start
    learner.model.eval()
    x = torch.from_numpy(table.x[test[:ROWS]])
    with torch.no_grad():
        found = learner.model.log_likelihood(x, K)
    return float(found.mean()), 1.96 * float(found.std()) / len(found) ** 0.5, seconds


def main() -> None:
    """Prints a row for every seed and objective."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="digits, a file, or a folder of pictures")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--importance", type=int, nargs="+", default=[1], help="samples of the objective")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of matrix products")
    parser.add_argument("--updates", type=int, help="instead of the preset's")
    parser.add_argument("--batch", type=int, help="instead of the preset's")
    parser.add_argument("--hidden", type=int, nargs="+", help="instead of the preset's")
    parser.add_argument("--latent", type=int, help="instead of the preset's")
    told = parser.parse_args()
    torch.set_num_threads(1)
    try:
        table = data.load(told.data)
        cfg = registry.preset("vae", table.source)
    except InputError as error:
        raise SystemExit(f"benchmarks.likelihood: {error}") from None
    given = {"batch": told.batch, "hidden": told.hidden and tuple(told.hidden), "latent": told.latent}
    cfg = replace(cfg, **{name: value for name, value in given.items() if value is not None})
    print("| seed | samples of the objective | updates | log p(x) ≥, nats | CPU s |\n|---|---|---|---|---|")
    for seed in range(told.first, told.first + told.seeds):
        for samples in told.importance:
            precision: Precision = told.precision
            steps = told.updates or cfg.run.steps
            run = replace(cfg.run, seed=seed, steps=steps, device="cpu", precision=precision)
            mean, spread, seconds = bound(replace(cfg, samples=samples, run=run), table)
            print(
                f"| {seed} | {samples} | {steps:,} | {mean:.2f} ± {spread:.2f} | {seconds:.0f} |", flush=True
            )


if __name__ == "__main__":
    main()
