"""What tests of files of scores share."""

import pytest

from anomaly import reader, scoring


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read 16 rows at a time, and a part that a killed scoring leaves has 64."""
    for module in (reader, scoring):
        monkeypatch.setattr(module, "BLOCK", 16)
    monkeypatch.setattr(scoring, "PART", 64)
