"""What `lab evaluate RUN` says of a generative model: held against test rows, with the floor beside."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from generative import data, registry
from generative.judge import judge_of
from generative.parts.bounds import active, kl_per_dimension
from generative.parts.rows import watched
from generative.quality import LEAST, nearest, quality, test_rows, told_p_value, unseen_rows
from lab.pictures import beside, grid, png
from training.errors import InputError
from training.files import writing
from training.networks import evaluating

BOUND_ROWS = 1_000  # test rows whose likelihood is bounded
SHOWN = 32  # samples shown beside the nearest row that was learned from
SEARCHED = 20_000  # rows searched for the nearest
COPIES = 1_000  # samples and test rows whose nearest are looked for


@torch.no_grad()
def evaluate_model(run: Path, best: bool, seed: int, samples: int) -> list[str]:
    """Lines that tell how good the model of a run is; a picture of samples goes into the run's folder.

    Raises:
        InputError: when the run's data has changed or is gone.
    """
    trained = registry.load(run / ("best" if best else "model"))
    cfg, model = trained.cfg, trained.model
    table = data.load(cfg.data, missing=getattr(cfg, "missing", False))
    table.expect(trained.columns, f"{run}")
    if table.fingerprint() != trained.fingerprint:
        raise InputError(f"{cfg.data} has changed since {run} was trained, expected the same rows")
    fit, select, test = registry.parts(table, cfg.run.seed)
    x, y = test_rows(table, test)
    lines = [f"{trained.kind} on {cfg.data}, {trained.step:,} updates, {len(x):,} test rows"]
    with evaluating(model):
        if hasattr(model, "decode") and hasattr(model, "encode"):
            lines += _reconstructions(model, x, y)
        if hasattr(model, "log_likelihood"):
            lines += _bound(model, x[:BOUND_ROWS], None if y is None else y[:BOUND_ROWS], samples, seed)
        if hasattr(model, "u_matrix"):
            lines.append(f"  quantisation error  {float(model.quantisation_error(x).mean()):.4g}")
            lines.append(f"  topographic error   {model.topographic_error(x):.4g}")
        if hasattr(model, "sample") and len(x) < LEAST:
            lines.append(f"  samples             not judged by {len(x)} test rows, expected {LEAST} or more")
        elif hasattr(model, "sample"):
            lines += _samples(run, trained, table, fit, unseen_rows(table, select, test), x, y, seed)
    return lines


def _reconstructions(model: registry.Model, x: Tensor, y: Tensor | None) -> list[str]:
    """MAE, RMSE and R² over all numbers that are there, in the data's units."""
    told = (y,) if getattr(model, "classes", 0) else ()
    x_hat = model.decode(model.encode(x, *told), *told)  # type: ignore[attr-defined]
    x = x.double()
    there = ~x.isnan()
    error = (x - x_hat)[there]
    mean = x.nan_to_num(0.0).sum(0) / there.sum(0).clamp(min=1)
    r2 = 1 - error.square().sum() / (x - mean)[there].square().sum()
    return [
        f"  reconstructions     MAE {float(error.abs().mean()):.4g}, RMSE"
        f" {float(error.square().mean().sqrt()):.4g}, R² {float(r2):.4f}"
    ]


def _bound(model: registry.Model, x: Tensor, y: Tensor | None, k: int, seed: int) -> list[str]:
    """The bound of the likelihood, and what the latent dimensions carry."""
    y = y if model.classes else None  # type: ignore[attr-defined]
    bound = model.log_likelihood(x, k, seed, y)  # type: ignore[attr-defined]
    mean, log_var = model.posterior(model.scaled(x), y)  # type: ignore[attr-defined]
    kl = kl_per_dimension(mean, log_var).mean(0).sort(descending=True).values.tolist()
    spread = 1.96 * float(bound.std()) / len(bound) ** 0.5
    return [
        f"  log p(x)            ≥ {float(bound.mean()):.2f} ± {spread:.2f} nats, K = {k}, {len(x)} rows"
        f"{' drawn black and white' if model.binarise else ''}",  # type: ignore[attr-defined]
        f"  latent dimensions   {int(active(mean).sum())} of {len(kl)} active; KL in nats"
        f" {' '.join(f'{value:.2f}' for value in kl)}",
    ]


def _samples(
    run: Path,
    trained: registry.Trained,
    table: data.Table,
    fit: np.ndarray,
    unseen: Tensor,
    x: Tensor,
    y: Tensor | None,
    seed: int,
) -> list[str]:
    """Sample quality beside its floor, and samples beside the nearest rows that were learned from."""
    judge = judge_of(table, fit, run / "judge")
    train = torch.from_numpy(table.x[fit])
    drawn = trained.model.sample(len(x), seed, y if trained.model.classes else None)
    found = quality(drawn, unseen, x, judge)
    lines = [f"  {found.count:,} samples judged by {judge.name}"]
    if y is not None and judge.classes:
        right = float((judge.labels(x) == y).double().mean())
        lines[0] += f", which knows {100 * right:.1f} % of the test rows"
    lines.append(f"  {'':<18}  {'samples':>9}  {'floor: unseen rows':>9}")
    for name, value in found.samples.items():
        lines.append(f"  {NAMES[name]:<18}  {value:>9.4g}  {found.floor[name]:>9.4g}")
    chance = told_p_value(found.samples["told"], found.count)
    lines.append(f"  Fréchet over floor  {found.ratio:.2f}; told from test rows with p = {chance:.2g}")
    if found.classes:
        shares = zip(table.labels, found.classes, strict=True)
        lines.append("  samples look like   " + ", ".join(f"{n} {100 * share:.1f} %" for n, share in shares))
    known, some = watched(len(train), SEARCHED), watched(len(x), COPIES)
    return [*lines, *_nearest(run, trained, train[known], drawn[some], x[some])]


NAMES = {
    "frechet": "Fréchet distance",
    "kid": "KID",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "told": "told from test",
}


def _nearest(run: Path, trained: registry.Trained, train: Tensor, drawn: Tensor, x: Tensor) -> list[str]:
    """Whether samples are copies: their distances to what was learned from, beside those of test rows."""
    model, shape = trained.model, trained.form.shape
    known = model.scaled(train)
    place, distance = nearest(model.scaled(drawn), known)
    usual = nearest(model.scaled(x), known)[1].median()
    lines = [
        f"  nearest known row   at {float(distance.median()):.4g} of samples, {float(usual):.4g} of test rows"
        " (medians)"
    ]
    if len(shape) == 3:
        file = run / "nearest.png"
        pairs = beside(drawn[:SHOWN].double().numpy(), train[place[:SHOWN]].double().numpy())
        with writing(file) as out:
            out.write(png(grid(pairs, shape)))
        lines.append(f"  {file}: samples, each with the nearest known row at its right")
    return lines
