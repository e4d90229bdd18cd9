"""What is drawn of a series, and which of its rows are named: nothing high is lost, however rows come."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly import trace
from anomaly.strangest import TOP, Strangest
from anomaly.trace import Trace


def traced(values: np.ndarray, judged: np.ndarray, cuts: list[int]) -> dict:
    found = Trace(len(values))
    rows = np.arange(values.shape[1], dtype=float)
    place = np.stack([rows, 10 * rows])
    for begin, end in zip([0, *cuts], [*cuts, values.shape[1]], strict=True):
        found.add(values[:, begin:end], judged[:, begin:end], place[:, begin:end])
    return found.found()


@settings(deadline=None)
@given(rows=st.integers(1, 100), cuts=st.lists(st.integers(0, 100), max_size=4), seed=st.integers(0, 99))
def test_stretches_keep_what_is_highest_and_lowest(rows: int, cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2, rows))
    values[1, rng.random(rows) < 0.3] = np.nan
    judged = np.stack([rng.random(rows), rng.random(rows) < 0.2, rng.random(rows) < 0.2]).astype(float)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "BINS", 8)
        found = traced(values, judged, sorted(min(cut, rows) for cut in cuts))
        assert found == traced(values, judged, [])
    step = found["step"]
    assert rows <= 16 * step
    assert step == 1 or rows > 8 * step
    for i, begin in enumerate(range(0, rows, step)):
        part = slice(begin, begin + step)
        assert (found["row"][i], found["when"][i]) == (begin, 10 * begin)
        for c in range(2):
            there = values[c, part][~np.isnan(values[c, part])]
            assert found["high"][c][i] == (there.max() if len(there) else None)
            assert found["low"][c][i] == (there.min() if len(there) else None)
        assert found["score"][i] == judged[0, part].max()
        assert found["flagged"][i] == bool(judged[1, part].any())
        assert found["labelled"][i] == bool(judged[2, part].any())


def test_the_strangest_rows_are_of_different_bursts() -> None:
    rng = np.random.default_rng(0)
    score, series = rng.random(500), rng.integers(0, 2, 500)
    score[100:140] += 5
    found = Strangest(10)
    for begin in range(0, 500, 125):
        found.add(begin, score[begin : begin + 125], series[begin : begin + 125])
    assert len(found.rows) == TOP
    assert found.rows["row"][0] == score.argmax()
    for name in (0, 1):
        ranks = {row: rank for rank, row in enumerate(np.flatnonzero(series == name))}
        mine = np.sort([ranks[row] for row in found.rows["row"] if row in ranks])
        assert (np.diff(mine) >= 10).all()
        highest = max(score[row] for row in ranks)
        assert highest in score[found.rows["row"]]


def test_rows_that_stand_alone_are_taken_as_they_score() -> None:
    score = np.random.default_rng(1).random(300)
    found = Strangest()
    found.add(0, score[:200])
    found.add(200, score[200:])
    assert found.rows["row"].tolist() == np.argsort(-score)[:TOP].tolist()
