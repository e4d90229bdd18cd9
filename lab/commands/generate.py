"""`lab generate RUN`: rows that a generative model makes, as a picture and as numbers."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
import tyro
from torch import Tensor

from generative import data, registry
from lab.arguments import parse
from lab.pictures import beside, grid, png
from training.errors import InputError
from training.files import writing
from training.folder import read_config
from training.seeds import torch_generator

ALONG = 8  # pictures from one end of an interpolation to the other


@dataclass(frozen=True)
class Generate:
    """What `lab generate` is told."""

    run: tyro.conf.Positional[Path]  # the folder of a model's run
    count: int = 64  # rows to make
    label: str | None = None  # the label they shall have, of a model trained with --conditional
    interpolate: bool = False  # rows on the way from one point of the latent space to another, eight a way
    seed: int = 0  # of what is drawn
    best: bool = False  # the best model that was evaluated in training, or (default) the last
    out: Path | None = None  # the files to write, without ending; default: samples in the folder of the run


def main(words: list[str]) -> None:
    """Parses and runs `lab generate RUN ...`."""
    about = "Draws samples; shows rows beside reconstructions, or a map, for models that do not sample."
    told: Generate = parse(Generate, words, "lab generate", about)
    for name, least in (("count", 1), ("seed", 0)):
        if getattr(told, name) < least:
            raise InputError(f"{name} is {getattr(told, name)}, expected {least} or more")
    out = told.out or told.run / "samples"
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} does not exist, expected a folder for {out.name}")
    torch.set_num_threads(1)
    if (kind := read_config(told.run)["kind"]) not in registry.MODULES:
        raise InputError(f"{told.run} is a run of {kind!r}, expected one of {', '.join(registry.MODULES)}")
    trained = registry.load(told.run / ("best" if told.best else "model"))
    with torch.no_grad():
        if hasattr(trained.model, "sample"):
            arrays, sheet = _samples(told, trained)
        elif told.label is not None or told.interpolate:
            given = "--interpolate" if told.interpolate else "--label"
            raise InputError(f"{told.run} is a run of {kind!r}, which draws no samples: expected no {given}")
        elif hasattr(trained.model, "u_matrix"):
            arrays, sheet = _map(trained)
        else:
            arrays, sheet = _reconstructions(told, trained)
    files = [_write(out, ".npz", lambda file: _npz(file, arrays))]
    if sheet is not None:
        files.append(_write(out, ".png", lambda file: file.write(png(sheet))))
    else:
        files.append(_write(out, ".csv", lambda file: _csv(file, arrays["x"], trained.columns)))
    few = " (all it has)" if "row" in arrays and len(arrays["x"]) < told.count else ""
    print(f"{' and '.join(map(str, files))}: {len(arrays['x'])} rows from {kind} of {told.run}{few}")


def _samples(told: Generate, trained: registry.Trained) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Samples, their labels when the model has some, and a picture of them."""
    model, form = trained.model, trained.form
    count = -(-told.count // ALONG) * ALONG if told.interpolate else told.count
    y = _labels(told, trained, count)
    if told.interpolate:
        x = model.decode(_ways(count // ALONG, model.latent, told.seed), y)
    else:
        x = model.sample(count, told.seed, y)
    arrays = {"x": x.numpy().astype(np.float32).reshape(count, *(form.shape or (form.columns,)))}
    if y is not None:
        arrays["y"] = np.array(trained.labels)[y.numpy()]
    return arrays, grid(x.numpy(), form.shape) if len(form.shape) == 3 else None


def _labels(told: Generate, trained: registry.Trained, count: int) -> Tensor | None:
    """The number of each row's label: the one that was told, or all in turn (along a way the same)."""
    if not trained.model.classes:
        if told.label is not None:
            raise InputError(
                f"{told.run} was trained without labels, expected no --label: see lab train --conditional"
            )
        return None
    if told.label is None:
        each = ALONG if told.interpolate else 1
        return (torch.arange(count) // each) % trained.model.classes
    if told.label not in trained.labels:
        raise InputError(f"label is {told.label!r}, expected one of {', '.join(trained.labels)}")
    return torch.full((count,), trained.labels.index(told.label))


def _ways(ways: int, latent: int, seed: int) -> Tensor:
    """Latent points on great arcs between draws, which keep a draw's usual length (Shoemake, 1985)."""
    ends = torch.randn(2, ways, 1, latent, generator=torch_generator(seed, "interpolate"))
    share = torch.linspace(0, 1, ALONG)[:, None]
    angle = torch.cosine_similarity(ends[0], ends[1], -1)[..., None].clamp(-0.999999, 0.999999).acos()
    first, second = ((1 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin()
    return (first * ends[0] + second * ends[1]).flatten(0, 1)


def _reconstructions(
    told: Generate, trained: registry.Trained
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Test rows as the model gives them back; in the picture beside the rows themselves."""
    model, form = trained.model, trained.form
    table = data.load(trained.cfg.data, missing=getattr(trained.cfg, "missing", False))
    table.expect(trained.columns, f"{told.run}")
    rows = table.x[registry.parts(table, trained.cfg.run.seed)[2]][: told.count]
    x_hat = model.decode(model.encode(torch.from_numpy(rows))).numpy()
    shape = form.shape or (form.columns,)
    arrays = {"x": x_hat.astype(np.float32).reshape(-1, *shape), "row": rows.reshape(-1, *shape)}
    sheet = grid(beside(rows, x_hat), form.shape) if len(form.shape) == 3 else None
    return arrays, sheet


def _map(trained: registry.Trained) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The prototypes of a map and its U-matrix; in the picture pictures, when they are some, beside it."""
    model, form = trained.model, trained.form
    prototypes, ridges = model.prototypes().numpy(), model.u_matrix().numpy()
    arrays = {"x": prototypes.astype(np.float32), "u_matrix": ridges}
    if len(form.shape) != 3:
        return arrays, ridges
    sheet = grid(prototypes, form.shape, columns=model.width)
    shown = np.kron(ridges, np.ones((sheet.shape[0] // model.height, sheet.shape[1] // model.width)))
    shown = (shown - shown.min()) / (np.ptp(shown) or 1.0)
    frame = np.full((sheet.shape[0], shown.shape[1], 3), 255, np.uint8)
    frame[: shown.shape[0]] = np.round(255 * shown)[..., None]
    return arrays, np.concatenate([sheet, frame], axis=1)


def _npz(file: IO[bytes], arrays: dict[str, np.ndarray]) -> None:
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _csv(file: IO[bytes], x: np.ndarray, columns: tuple[str, ...]) -> None:
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(columns)
    file.write(header.getvalue().encode())
    np.savetxt(file, x.reshape(len(x), -1), fmt="%.9g", delimiter=",")


def _write(out: Path, ending: str, fill) -> Path:  # type: ignore[no-untyped-def]
    file = out.with_name(out.name + ending)
    with writing(file) as opened:
        fill(opened)
    return file
