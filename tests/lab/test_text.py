"""A log from `lab fit` to its page, and what is said of columns that may be text."""

import json
from pathlib import Path

import numpy as np
import pytest

from anomaly import language
from lab.commands import explain, fit, report, score


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder to work in, and models that learn in fewer updates."""
    monkeypatch.setattr(language, "STEPS", 300)
    monkeypatch.chdir(tmp_path)


def lines(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    kinds = ("job {} is done", "user bob reads page {} of the book", "disk {} is full")
    return [kinds[rng.integers(3)].format(rng.integers(100)) for _ in range(count)]


def test_a_log_is_fitted_scored_explained_and_shown(capsys: pytest.CaptureFixture) -> None:
    new = lines(60)
    new[7], new[9] = "job 7 is <b>lost</b>", ""
    Path("app.log").write_text("\n".join(lines(400)))
    Path("new.log").write_text("\n".join(new))
    fit.main(["app.log", "--dir", "run", "--alpha", "0.02"])
    assert "  text: line" in capsys.readouterr().out
    score.main(["run", "new.log", "--out", "s.csv", "--explain", "1"])
    told = Path("s.csv").read_text().splitlines()
    assert len(told) == 61
    assert told[8].startswith("7,")
    assert ',1,"line",' in told[8]
    assert "done instead of" in told[8]
    assert ',1,"line",1,"text"' in told[10]
    explain.main(["run", "new.log", "--row", "7"])
    said = capsys.readouterr().out
    assert "job 7 is »<«b>lost" in said
    assert "expected done" in said
    assert {row["row"] for row in json.loads(Path("run/scored.json").read_text())["top"]} >= {7, 9}
    report.main(["run"])
    page = Path("run/report.html").read_text()
    assert "job 7 is »&lt;«b&gt;lost" in page
    assert "<b>lost" not in page


def test_what_may_be_text_is_told_and_left_out(capsys: pytest.CaptureFixture) -> None:
    rows = [f"{i % 7},{text} {i},Ann-{i}" for i, text in enumerate(lines(100))]
    Path("t.csv").write_text("\n".join(["n,message,name", *rows]))
    with pytest.warns(UserWarning, match="'message' is left out.*--text message reads them") as found:
        fit.main(["t.csv", "--detector", "nearest", "--dir", "left"])
    assert len(found) == 1
    assert "not looked at, as they name, count or date rows: message, name" in capsys.readouterr().out
    fit.main(["t.csv", "--detector", "nearest", "--text", "message", "--dir", "read"])
    assert "  text: message" in capsys.readouterr().out
