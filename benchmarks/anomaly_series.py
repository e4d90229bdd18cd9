"""Series: what finds the labelled windows of the Numenta Anomaly Benchmark.

    python -m benchmarks.anomaly --what series --data DIR
    python -m benchmarks.anomaly --what made                  on made series, where settings were chosen

DIR has `nab/data/*/*.csv` and `nab/labels/combined_windows.json`. All detectors see what the benchmark calls
probation before they score, and go on learning from past rows only, by the same rule (`anomaly.online`):

    online      what `lab fit --window` joins: forecasts looked at in seven ways, nearest windows, nearest
                newest rows
    recent      the same, the last rows together (`online.recent`)
    pca         residual of the principal components of windows
    forest      isolation forest of windows, scikit-learn's defaults
    random      numbers drawn uniformly

Average precision and VUS-PR in percent, the mean over series with labels; probation is left out. Events
found, and rows to the first alarm in them (the median over those found), at the one threshold where RATE of
all rows outside labelled windows are alarms. The standard score is that of the benchmark (`nab`). Settings
were chosen on made series and on every second series of the benchmark in the order of their names; the last
column has the standard score of the others.
"""

import csv
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score

from anomaly.baselines import PCA
from anomaly.events import events_of, found_events, vus_pr
from anomaly.models import Scores
from anomaly.online import online_scores, recent
from benchmarks.made_series import made
from benchmarks.nab import Scored, probation, standard

RATE = 0.01  # of false alarms
MADE = range(100, 148)  # seeds
Labelled = tuple[np.ndarray, np.ndarray]  # values, first and last row of each event


class _Forest:
    def __init__(self, past: np.ndarray, seed: int) -> None:
        self.fitted = IsolationForest(random_state=seed).fit(past)

    def score(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(-self.fitted.score_samples(x.numpy()))


def _pca(past: np.ndarray, window: int, seed: int) -> list[Scores]:
    return [PCA.fit(torch.from_numpy(past), seed)]


def _forest(past: np.ndarray, window: int, seed: int) -> list[Scores]:
    return [_Forest(past, seed)]


def _random(x: np.ndarray, first: int) -> np.ndarray:
    return np.random.default_rng(len(x)).random(len(x))


DETECTORS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "online": online_scores,
    "pca": lambda x, first: online_scores(x, first, models=_pca),
    "forest": lambda x, first: online_scores(x, first, models=_forest),
    "random": _random,
}


def nab_series(folder: Path) -> list[Labelled]:
    """The benchmark's series; a window holds the rows from its first time to its last."""
    file = folder / "labels" / "combined_windows.json"
    if not file.is_file():
        raise SystemExit(f"{folder} has no labels/combined_windows.json, expected the benchmark's files")
    found = []
    for name, windows in sorted(json.loads(file.read_text()).items()):
        with (folder / "data" / name).open(newline="") as lines:
            rows = [(row["timestamp"], float(row["value"])) for row in csv.DictReader(lines)]
        when = [datetime.fromisoformat(time) for time, _ in rows]
        ends = []
        for begin, end in ([datetime.fromisoformat(time) for time in window] for window in windows):
            inside = [i for i, time in enumerate(when) if begin <= time <= end]
            ends.append((inside[0], inside[-1]))
        found.append((np.array([value for _, value in rows]), np.array(ends, int).reshape(-1, 2)))
    return found


def measure(series: list[Labelled], scores: list[np.ndarray]) -> list[float]:
    """Standard score, average precision, VUS-PR, share of events found, median delay, and the standard score
    of every second series, by which nothing was chosen.
    """
    precisions, volumes, kept = [], [], []
    for (x, windows), score in zip(series, scores, strict=True):
        anomaly = np.zeros(len(x), bool)
        for begin, end in windows:
            anomaly[begin : end + 1] = True
        counted = slice(probation(len(x)), None)
        kept.append((score[counted], anomaly[counted]))
        if anomaly[counted].any():
            precisions.append(float(average_precision_score(anomaly[counted], score[counted])))
            volumes.append(vus_pr(score[counted], anomaly[counted]))
    normal = np.concatenate([score[~anomaly] for score, anomaly in kept])
    limit = np.quantile(normal, 1 - RATE, method="higher")
    events = [found_events(score > limit, anomaly) for score, anomaly in kept]
    delays = np.concatenate([one.delays for one in events])
    recall = len(delays) / sum(one.events for one in events)
    scored = [Scored(score, windows) for (_, windows), score in zip(series, scores, strict=True)]
    means = [100 * float(np.mean(part)) for part in (precisions, volumes)]
    return [standard(scored)[0], *means, 100 * recall, float(np.median(delays)), standard(scored[1::2])[0]]


def run(data: Path | None) -> None:
    """Prints a row for every detector on the series in `data`, or on made ones."""
    if data is None:
        series = [(x, events_of(anomaly)) for x, anomaly in map(made, MADE)]
    else:
        series = nab_series(data / "nab")
    rows = sum(len(x) for x, _ in series)
    print(f"{len(series)} series, {rows} rows, {sum(len(w) for _, w in series)} events\n")
    heads = (
        "standard score",
        "AP",
        "VUS-PR",
        f"events found at {RATE:.0%}",
        "median delay, rows",
        "other half",
    )
    print("| detector | " + " | ".join(heads) + " |\n|---|" + "---|" * len(heads))
    for name, detector in DETECTORS.items():
        scores = [detector(x[:, None], probation(len(x))) for x, _ in series]
        _print(name, measure(series, scores))
        if name == "online":
            _print("recent", measure(series, [recent(score) for score in scores]))


def _print(name: str, found: list[float]) -> None:
    print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in found) + " |", flush=True)
