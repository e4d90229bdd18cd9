"""Detectors of lines of text beside their peers, on made logs (`made_logs`): which lines are strange?

A log of LINES lines is fitted; of TEST normal lines and EACH of every strange kind, AUROC and average
precision in percent, the mean over SEEDS seeds; average precision of each kind alone beside the normal lines;
CPU seconds of fitting and lines scored a CPU second, one thread. Settings were chosen on logs of other seeds
(10 to 13).

    lab                  `lab fit`: a fifth of the lines calibrates, a fifth of the others selects
    mean surprise        the same model, but the score is the mean of −log p of a line's tokens
    triples              of the same tokens, counted: the largest −log p of one after the two before it
    words, forest        TF-IDF of words and pairs of them, isolation forest
    words, nearest       the same, cosine distance to the nearest fitted line
    letters, nearest     TF-IDF of three to five letters in a row, cosine distance to the nearest fitted line

The others are scikit-learn's; to them all digits are 0, which helps them: else every number is a new word.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import torch
from sklearn.ensemble import IsolationForest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

from anomaly.detector import Detector
from anomaly.language import foretold
from anomaly.sample import Sample
from anomaly.schema import Survey
from anomaly.tokens import Vocabulary, tokens
from benchmarks.made_logs import KINDS, made

LINES, TEST, EACH, SEEDS = 5_000, 2_000, 20, 3
ALPHA = 0.01
Scores = Callable[[list[str]], np.ndarray]


def detector(lines: list[str], seed: int) -> Detector:
    """What `lab fit` makes of the lines."""
    survey = Survey("the log", len(lines), seed, text=("line",))
    survey.add(pa.table({"line": lines}))
    return Detector.fit(Sample(survey.sample(), survey.schema(), "the log", len(lines)), seed=seed)


def lab(lines: list[str], seed: int) -> Scores:
    """The scores of `lab score`."""
    found = detector(lines, seed)
    return lambda new: found.decision_function(pa.table({"line": new}))


def mean_surprise(lines: list[str], seed: int) -> Scores:
    """The mean of −log p over the tokens of a line."""
    text = detector(lines, seed).encoder.texts["line"]

    def score(new: list[str]) -> np.ndarray:
        told = foretold(text.net, [text.vocabulary.numbers(line) for line in new])
        return np.array([one.surprise.mean() for one in told])

    return score


def triples(lines: list[str], _: int) -> Scores:
    """Counts of tokens after two, smoothed by those after one, those alone, and none: half a count each."""
    vocabulary = Vocabulary.of(map(tokens, lines))
    counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(3)]
    before: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(3)]

    def runs(line: str) -> Iterator[tuple[int, ...]]:
        return zip(*((0, 0, *vocabulary.numbers(line))[i:] for i in range(3)), strict=False)

    for line in lines:
        for run in runs(line):
            for n in range(3):
                counts[n][run[2 - n :]] += 1
                before[n][run[2 - n : 2]] += 1

    def p(run: tuple[int, ...]) -> float:
        found = 1 / len(vocabulary)
        for n in range(3):
            found = (counts[n][run[2 - n :]] + found / 2) / (before[n][run[2 - n : 2]] + 0.5)
        return found

    return lambda new: np.array([max(-np.log(p(run)) for run in runs(line)) for line in new])


def forest(lines: list[str], seed: int) -> Scores:
    """An isolation forest of words."""
    weights = TfidfVectorizer(preprocessor=_plain, ngram_range=(1, 2), min_df=2)
    fitted = IsolationForest(random_state=seed).fit(weights.fit_transform(lines))
    return lambda new: -fitted.score_samples(weights.transform(new))


def nearest(lines: list[str], **of: object) -> Scores:
    """The distance to the nearest line."""
    weights = TfidfVectorizer(preprocessor=_plain, **of)
    near = NearestNeighbors(n_neighbors=1, metric="cosine").fit(weights.fit_transform(lines))
    return lambda new: near.kneighbors(weights.transform(new))[0][:, 0]


def _plain(line: str) -> str:
    return re.sub(r"\d", "0", line)


PEERS: dict[str, Callable[[list[str], int], Scores]] = {
    "lab": lab,
    "mean surprise": mean_surprise,
    "triples": triples,
    "words, forest": forest,
    "words, nearest": lambda lines, _: nearest(lines, ngram_range=(1, 2)),
    "letters, nearest": lambda lines, _: nearest(lines, analyzer="char", ngram_range=(3, 5)),
}


def measured(fit: Callable[[list[str], int], Scores], seed: int) -> list[float]:
    """AUROC and average precision, that of every kind, CPU seconds of fitting, lines a CPU second."""
    lines, new, strange, kind = made(seed, LINES, TEST, EACH)
    begin = time.process_time()
    score = fit(lines, seed)
    fitted = time.process_time()
    found = score(new)
    speed = len(new) / (time.process_time() - fitted)
    quality = [100 * roc_auc_score(strange, found), 100 * average_precision_score(strange, found)]
    for one in KINDS:
        rows = ~strange | (np.array(kind) == one)
        quality.append(100 * average_precision_score(strange[rows], found[rows]))
    return [*quality, fitted - begin, speed]


def run() -> None:
    """Prints a row for each detector, and the false alarms of ours."""
    torch.set_num_threads(1)
    print("| detector | AUROC | AP | " + " | ".join(KINDS) + " | fit, CPU s | lines a CPU s |")
    print("|---|" + "---|" * (4 + len(KINDS)))
    for name, fit in PEERS.items():
        *quality, fitted, speed = np.mean([measured(fit, seed) for seed in range(SEEDS)], axis=0)
        cells = [*(f"{x:.1f}" for x in quality), f"{fitted:.1f}", f"{speed:,.0f}"]
        print("| " + " | ".join([name, *cells]) + " |", flush=True)
    alarms = []
    for seed in range(SEEDS):
        lines, new, strange, _ = made(seed, LINES, TEST, EACH)
        found = detector(lines, seed)
        p = found.p_of(found.decision_function(pa.table({"line": new})))
        alarms.append(f"{(p[~strange] <= ALPHA).mean():.4f} and {(p[strange] <= ALPHA).mean():.2f}")
    print(f"flagged at alpha {ALPHA} of normal and of strange lines, by seed: {'; '.join(alarms)}")
