"""How well models explain rows they have not seen, and how good their samples are: several seeds.

    python -m benchmarks.generative [--data digits] [--seeds 5]        reconstructions and scores
    python -m benchmarks.generative --samples [--data digits]          samples of VAE and GAN, floor beside
    python -m benchmarks.generative --speed                            VAE beside pythae 0.1.2

Each seed splits the rows anew; the best model by the selection rows is measured on the test rows. Error:
mean squared error of reconstructions over the variance of the columns (1 is what their means reach). AUROC:
test rows against the same rows with every column permuted for itself, so that nothing fits together.
Samples are judged by features of a classifier, learned from the same rows (generative/quality.py). Speed:
samples learned from in a CPU second, the same net, batch and optimizer, in turn; pythae comes by
`pip install --no-deps pythae==0.1.2` and tqdm, on a machine without a GPU.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from anomaly.detector import fit_model, score_rows
from generative import data, registry, vae
from generative.judge import judge_of
from generative.parts.rows import Form
from generative.quality import quality, test_rows, unseen_rows
from training.device import Precision
from training.errors import InputError
from training.optim import OptimConfig
from training.run import RunConfig

EXPLAINING, SAMPLING = ("autoencoder", "vae"), ("vae", "gan")
SPEED_UPDATES, ROUNDS = 100, 5


def explain(kind: str, table: data.Table, seed: int) -> tuple[float, float, float]:
    """Error and AUROC on the test rows, and the CPU seconds that fitting took."""
    fit, select, test = registry.parts(table, seed)
    start = time.process_time()
    cfg = registry.preset(kind, table.source)
    model: Any = fit_model(kind, replace(cfg, run=replace(cfg.run, seed=seed)), table, fit, select)
    seconds = time.process_time() - start
    x = torch.from_numpy(table.x)
    with torch.no_grad():
        x_hat = model.decode(model.encode(x[test]))
    error = (x[test] - x_hat).square().mean() / x[fit].double().var(0).mean()
    rng = np.random.default_rng(seed)
    mixed = np.stack([rng.permutation(column) for column in table.x[test].T], axis=1)
    score = score_rows(model, np.concatenate([table.x[test], mixed]))
    return float(error), float(roc_auc_score(np.repeat([0, 1], len(test)), score)), seconds


def sampled(
    kind: str, table: data.Table, seed: int, precision: Precision | None = None
) -> tuple[float, float, float, float, float]:
    """Coverage, Fréchet distance, the floor's, least share of a label, CPU seconds; of the last model."""
    fit, select, test = registry.parts(table, seed)
    cfg = registry.preset(kind, table.source)
    run = replace(cfg.run, seed=seed, device="cpu", precision=precision or cfg.run.precision)
    cfg = replace(cfg, run=run)
    start = time.process_time()
    learner = registry.new_learner(kind, cfg, table, fit)
    for _ in registry.module(kind).train(cfg, learner):
        pass
    seconds = time.process_time() - start
    x, y = test_rows(table, test)
    learner.model.eval()
    with torch.no_grad():
        drawn = learner.model.sample(len(x), 0, y if learner.model.classes else None)
        found = quality(drawn, unseen_rows(table, select, test), x, judge_of(table, fit))
    least = min(found.classes, default=float("nan"))
    return found.samples["coverage"], found.samples["frechet"], found.floor["frechet"], least, seconds


def our_speed(x: torch.Tensor) -> float:
    """Rows of the VAE's updates in a CPU second."""
    cfg = vae.Config(
        likelihood="bernoulli", latent=40, hidden=(400, 400), activation="relu", batch=128, warm_up=1_000,
        optim=OptimConfig(lr=1e-3, schedule="constant"), run=RunConfig(steps=SPEED_UPDATES, device="cpu"),
    )  # fmt: skip
    learner = vae.Learner(cfg, x, form=Form(x.shape[1]))
    start = time.process_time()
    for _ in vae.train(cfg, learner):
        pass
    return SPEED_UPDATES * cfg.batch / (time.process_time() - start)


def their_speed(x: torch.Tensor, folder: str) -> float:
    """Rows of an epoch of pythae's trainer in a CPU second, the same number of updates."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from torch import nn

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU())
            self.mean, self.log_var = nn.Linear(400, 40), nn.Linear(400, 40)

        def forward(self, x: torch.Tensor) -> ModelOutput:
            h = self.body(x.flatten(1))
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            hidden = (nn.Linear(40, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU())
            self.body = nn.Sequential(*hidden, nn.Linear(400, 784), nn.Sigmoid())

        def forward(self, z: torch.Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.body(z))

    from pythae.data.datasets import BaseDataset

    config = VAEConfig(input_dim=(784,), latent_dim=40, reconstruction_loss="bce")
    model = VAE(config, Encoder(), Decoder())
    told = BaseTrainerConfig(
        output_dir=folder, num_epochs=1, learning_rate=1e-3, per_device_train_batch_size=128,
        train_dataloader_num_workers=0, optimizer_cls="Adam",
    )  # fmt: skip
    rows = BaseDataset(x[: SPEED_UPDATES * 128].float() / 255, torch.zeros(SPEED_UPDATES * 128))
    trainer = BaseTrainer(model, rows, training_config=told)
    trainer.prepare_training()
    start = time.process_time()
    trainer.train_step(epoch=1)
    return len(rows) / (time.process_time() - start)


def speed() -> None:
    """Prints the medians of both, in turn, and their ratio."""
    import tempfile

    x = torch.randint(0, 256, (SPEED_UPDATES * 128, 784), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        pairs = np.array([(our_speed(x), their_speed(x, folder)) for _ in range(ROUNDS)])
    ours, theirs = np.median(pairs, 0)
    ratio = np.median(pairs[:, 0] / pairs[:, 1])
    print("| | samples a CPU second |\n|---|---|")
    print(f"| ours | {ours:,.0f} |\n| pythae 0.1.2 | {theirs:,.0f} |\n| ratio | {ratio:.2f} |")


def print_samples(
    table: data.Table, seeds: Sequence[int], kinds: Sequence[str], precision: Precision | None
) -> None:
    """Prints a row for every model and seed."""
    print("| model | data | seed | coverage | Fréchet over floor | least label | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for kind in kinds:
        for seed in seeds:
            coverage, distance, floor, least, seconds = sampled(kind, table, seed, precision)
            print(
                f"| {kind} | {table.source} | {seed} | {coverage:.3f} | {distance / floor:.2f}"
                f" ({distance:.3f} / {floor:.3f}) | {100 * least:.1f} % | {seconds:.1f} |",
                flush=True,
            )


def print_explained(table: data.Table, seeds: Sequence[int]) -> None:
    """Prints a row for every model that explains rows."""
    print(f"| model | data | error, {len(seeds)} seeds | AUROC | CPU s |\n|---|---|---|---|---|")
    for kind in EXPLAINING:
        found = np.array([explain(kind, table, seed) for seed in seeds])
        (error, auroc, _), (error_sd, auroc_sd, _) = found.mean(0), found.std(0, ddof=1)
        print(
            f"| {kind} | {table.source} | {error:.3f} ± {error_sd:.3f} | {auroc:.4f} ± {auroc_sd:.4f}"
            f" | {np.median(found[:, 2]):.1f} |",
            flush=True,
        )


def main() -> None:
    """Prints the tables that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="digits, a file, or a folder of pictures")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--samples", action="store_true", help="judge samples")
    parser.add_argument("--only", nargs="+", choices=SAMPLING, help="the models whose samples are judged")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="of the models' updates")
    parser.add_argument("--speed", action="store_true", help="time the VAE beside pythae")
    told = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(told.first, told.first + told.seeds)
    try:
        if told.speed:
            speed()
        elif told.samples:
            print_samples(data.load(told.data), seeds, told.only or SAMPLING, told.precision)
        else:
            print_explained(data.load(told.data), seeds)
    except InputError as error:
        raise SystemExit(f"benchmarks.generative: {error}") from None


if __name__ == "__main__":
    main()
