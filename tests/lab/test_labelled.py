"""What is said of labelled rows, and how flagged rows of a series are drawn."""

from pathlib import Path

import numpy as np
import pytest

from anomaly.measures import alarms
from lab.labelled import _print
from lab.page import Page
from lab.series_figure import _beside


@pytest.mark.parametrize(("calibrated", "told"), [(2, False), (999, True)])
def test_what_the_promise_allows_is_left_out_where_it_allows_anything(
    capsys: pytest.CaptureFixture[str], calibrated: int, told: bool
) -> None:
    flagged, strange, group = np.zeros(20, bool), np.arange(20) > 17, np.zeros(20, int)
    lines = alarms(flagged, strange, group, ["all rows"], calibrated, 0.5, 1)
    _print(lines, None, promised=True)
    header, line = capsys.readouterr().out.splitlines()
    assert ("promise allows" in header) == told
    assert "any number" not in line
    assert len(header) == len(line)


def test_rows_that_are_flagged_alone_are_told_from_bursts() -> None:
    flagged = np.array([1, 0, 1, 1, 0, 0, 1], bool)
    assert (flagged & ~_beside(flagged)).tolist() == [True, False, False, False, False, False, True]
    assert not _beside(np.array([True])).any()


def test_a_table_that_is_wider_than_the_page_can_be_moved(tmp_path: Path) -> None:
    page = Page("a", "b")
    page.table(["x"], [["y" * 500]])
    page.save(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert '<div class="table"><table>' in text
    assert ".table { overflow-x: auto; }" in text
