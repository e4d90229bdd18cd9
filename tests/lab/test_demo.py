import re
from pathlib import Path

import pytest

from lab import story
from lab.commands import demo


def test_the_demo_tells_its_story(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    demo.main(["--episodes", "30", "--faulty", "15", "--dir", "shown"])
    said = capsys.readouterr().out
    assert float(re.search(r"mean return ([\d.]+) over 100 episodes", said)[1]) >= story.GOAL
    assert "inside its 95 % interval" in said
    assert re.search(r"force × 1.5 +│ +\d+ +│ +(0\.9\d+|1\.0+)", said)
    page = (tmp_path / "shown" / "report.html").read_text()
    assert page.count("<svg") == 3
    assert page.count("<img") == 3
    assert not re.search(r'(src|href)="(?!data:|#)', page), "the page needs nothing from outside"
    for name in story.CELLS:
        assert name in page
    assert (tmp_path / "shown" / "agent" / "metrics.jsonl").is_file()
