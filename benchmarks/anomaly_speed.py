"""Rows that detectors score in a CPU second, and the CPU seconds of fitting, beside PyOD's AutoEncoder.

Rows are normal and correlated, FITTED of them to fit, SCORED to score, COLUMNS wide, handed over as an array;
each detector does all its own work: scaling, checks, calibration. `auto` asks all its models about few of
these rows, `ensemble` about every one. One thread; in turn, medians of ROUNDS.
PyOD comes by `pip install pyod`, on a machine without a GPU.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from anomaly.detector import Detector
from generative.data import Table
from training.device import set_process

FITTED, SCORED, COLUMNS, ROUNDS = 5_000, 50_000, 32, 3
PEER = "PyOD 3 AutoEncoder"


def ours(train: np.ndarray, kind: str = "auto", fast: bool = False) -> Detector:
    """The detector that `lab fit [--detector KIND] [--fast]` makes."""
    columns = tuple(f"x{i}" for i in range(train.shape[1]))
    return Detector.fit(Table(train, columns, "made rows"), kind, fast=fast)


def peer(train: np.ndarray) -> Any:
    """PyOD's AutoEncoder with its defaults."""
    from pyod.models.auto_encoder import AutoEncoder

    return AutoEncoder(verbose=0, random_state=0).fit(train)


def run() -> None:
    """Prints the medians and their ratios to the peer's."""
    set_process()  # as `lab fit` and `lab score` do
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(COLUMNS, COLUMNS))
    train = rng.normal(size=(FITTED, COLUMNS)) @ mixing
    test = rng.normal(size=(SCORED, COLUMNS)) @ mixing
    makers: dict[str, Callable[[np.ndarray], Any]] = {
        "auto": ours,
        "auto --fast": lambda x: ours(x, fast=True),
        "ensemble": lambda x: ours(x, "ensemble"),
        PEER: peer,
    }
    found = {
        name: np.median([timed(make, train, test) for _ in range(ROUNDS)], 0) for name, make in makers.items()
    }
    fit, rate = found[PEER]
    print(
        "| detector | fit, CPU s | over peer's | rows scored a CPU s | over peer's |\n|---|---|---|---|---|"
    )
    for name, (seconds, rows) in found.items():
        print(f"| {name} | {seconds:.2f} | {seconds / fit:.2f} | {rows:,.0f} | {rows / rate:.2f} |")


def timed(make: Callable[[np.ndarray], Any], train: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """CPU seconds of fitting, and rows scored in a CPU second."""
    start = time.process_time()
    detector = make(train)
    fitted = time.process_time()
    detector.decision_function(test)
    return fitted - start, len(test) / (time.process_time() - fitted)
