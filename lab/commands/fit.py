"""`lab fit DATA`: a detector learns what normal is, or a trained model is calibrated."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from anomaly import series
from anomaly.detector import Detector
from anomaly.models import members_of
from anomaly.sample import Sample, of_file
from anomaly.window_models import members_of_windows, window_config
from generative import data, registry
from generative.parts.networks import Network
from lab.arguments import parse
from lab.fitted import fitted, warn_of
from training.device import set_process
from training.errors import InputError
from training.folder import RunFolder, new_path


@dataclass(frozen=True)
class Fit:
    """What `lab fit` is told."""

    # rows: digits, a file (.csv .tsv (.gz) .parquet .arrow .feather .npy .npz IDX), the lines of a text
    # (.log .txt (.gz)), or a folder of pictures
    data: tyro.conf.Positional[str]
    # auto (default): for rows nearest, memory, trees, ratio, dependency, linear and forest joined, for
    # pictures edges, for windows nearest and forecasts of seven kinds; or a name of these, pixels, pca, or
    # a generative model such as vae
    detector: str | None = None
    from_run: Annotated[Path | None, tyro.conf.arg(name="from")] = None  # calibrate the model of this run
    dir: Path | None = None  # the folder of the detector, new; default: the next free one under runs/
    alpha: float | None = None  # promised false-alarm rate; default: 0.01, or 1/(n+1) if n rows allow no less
    seed: int | None = None  # of the sample, the split and everything random in learning; default: 0
    columns: str | None = None  # names, separated by commas, of the columns to look at; default: all
    categorical: str | None = None  # names of columns whose values are words, whatever they look like
    # names of columns of free text, such as messages: each is read token by token by a language model
    text: str | None = None
    label_column: str | None = None  # is never looked at; rows labelled 1 are left out
    # two of auto's models alone take a glance at each row: several times as fast, less sharp
    fast: bool = False
    window: int | None = None  # rows are instants of a series: judge the W rows that end with each
    time: str | None = None  # of a series, the column that says when; default: the first column of dates
    series: str | None = None  # of several series in one file, the column that names the series of a row
    own_scale: bool = False  # of several series: each is seen in its own level and spread, not in that of all
    network: Network | None = None  # how autoencoder, denoiser or vae read a window; default: dense
    contaminated: bool = False  # the rows hold anomalies without labels: fit without the strangest tenth

    def __post_init__(self) -> None:
        if self.window is None:
            members_of(self.detector or "auto")
        else:
            members_of_windows(self.detector or "auto")
        if self.network is not None and self.window is None:
            raise InputError(f"network is {self.network!r} without a window, expected --window W beside it")
        if self.network is not None:
            window_config(self.detector or "auto", self.network)  # refuses what reads no windows
        if self.seed is not None and self.seed < 0:
            raise InputError(f"seed is {self.seed}, expected 0 or more")
        if self.from_run is not None:
            self._check_from()
        for name, value in (("time", self.time), ("series", self.series)):
            if value is not None and self.window is None:
                raise InputError(f"{name} is {value!r} without a window, expected --window W beside it")
        if self.own_scale and self.series is None:
            raise InputError(
                "--own-scale is for several series in one file, expected --series COLUMN beside it"
            )
        if self.window is not None and self.contaminated:
            raise InputError("--contaminated trims rows, which windows share, expected it without --window")
        if self.window is not None and self.text is not None:
            raise InputError("--text reads rows that stand alone, expected it without --window")
        if self.window is not None and self.fast:
            raise InputError("--fast needs rows that stand alone, expected it without --window")

    def _check_from(self) -> None:
        given = (self.detector, self.seed, self.columns, self.categorical, self.text, self.label_column)
        if any(value is not None for value in given) or self.contaminated or self.fast:
            raise InputError(
                "--from takes the model, the seed and the columns of its run, expected no --detector, --seed,"
                " --columns, --categorical, --text, --label-column, --fast or --contaminated"
            )
        if any(value is not None for value in (self.window, self.time, self.series)) or self.own_scale:
            raise InputError(
                "--from takes rows as its run did, expected no --window, --time, --series or --own-scale"
            )


def main(words: list[str]) -> None:
    """Parses and runs `lab fit DATA ...`."""
    told: Fit = parse(Fit, words, "lab fit", "Learns normal rows, and calibrates on rows apart.")
    set_process()
    path = told.dir or new_path("detector-" + Path(told.data).stem)
    rows = _read(told)
    config = {name: str(value) if isinstance(value, Path) else value for name, value in vars(told).items()}
    folder = RunFolder(path, "detector", config)
    try:
        detector = _detector(told, rows)
        detector.save(path / "model")
    except BaseException:
        folder.discard()
        raise
    folder.close()
    if not isinstance(rows, data.Table):
        warn_of(rows.schema, rows.table, told.data)
    first, *more = fitted(detector)
    print("\n".join([f"{path}: {first}", *more]))


def _read(told: Fit) -> Sample | series.Series | data.Table:
    """The rows to fit, those of a series, or those that calibrate a run's model."""
    if told.from_run is not None:
        registry.load(told.from_run / "model")  # a run without a model is refused before its data are
        return data.load(told.data)
    listed = _listed(told.columns), told.label_column, _listed(told.categorical)
    if told.window is None:
        return of_file(told.data, told.seed or 0, *listed, text=_listed(told.text))
    return series.of_file(told.data, told.window, told.time, *listed, told.series)


def _detector(told: Fit, rows: Sample | series.Series | data.Table) -> Detector:
    kind, seed = told.detector or "auto", told.seed or 0
    if isinstance(rows, data.Table):
        assert told.from_run is not None
        return Detector.of_run(told.from_run, rows, told.alpha)
    if isinstance(rows, Sample):
        return Detector.fit(rows, kind, seed, told.alpha, None, told.contaminated, told.fast)
    cfg = window_config(kind, told.network) if told.network else None
    return series.fit(rows, kind, seed, told.alpha, cfg, told.own_scale)


def _listed(names: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",")) if names else ()
