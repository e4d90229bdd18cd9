"""Why a row is strange, also of one that was never shown to all models."""

import re
from pathlib import Path

import numpy as np
import pytest

from anomaly.detector import Detector
from generative.data import Table
from lab.commands import explain
from lab.strange_rows import strange_rows


def test_the_score_of_a_cleared_row_is_that_of_the_file_and_all_models_explain_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("anomaly.models.SEEN", 100)  # fewer rows than a glance asks for
    x = np.random.default_rng(0).normal(size=(300, 3)).round(4)
    detector = Detector.fit(Table(x, ("a", "b", "c"), "made up"), "auto")
    monkeypatch.setattr(explain, "load", lambda _: detector)
    lines = ["a,b,c", *(",".join(map(str, row)) for row in x)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    score, seen = detector.decision_function(x), detector.seen(x)
    every = detector.score_features(seen.x, seen.novel.sum(1))
    for row in (int(score.argmin()), int(score.argmax())):
        explain.main([str(tmp_path), str(tmp_path / "rows.csv"), "--row", str(row)])
        told = capsys.readouterr().out
        assert f"row {row}: score {score[row]:.4g}, p-value" in told
        assert ("a glance cleared it" in told) == (row == score.argmin())
        assert float(re.findall(r"that makes (\S+)", told)[0]) == pytest.approx(every[row], rel=2e-3)


def test_a_word_that_no_row_had_is_shown_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{'left' if i % 2 else 'right'},{i * 7 % 11}" for i in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["side,b", *rows]))
    detector = Detector.fit(str(tmp_path / "rows.csv"), "nearest")
    monkeypatch.setattr(explain, "load", lambda _: detector)
    (tmp_path / "new.csv").write_text("side,b\nupside down,5\n,5\n")
    for row, shown in enumerate(("upside down", "missing")):
        explain.main([str(tmp_path), str(tmp_path / "new.csv"), "--row", str(row)])
        assert re.search(rf"side +\S+ +\S+ +{shown}  ", capsys.readouterr().out)
    (found,) = strange_rows(detector, str(tmp_path / "new.csv"), [(0, 1.0, 0.0)])
    assert found["reasons"][0]["value"] == "upside down"
