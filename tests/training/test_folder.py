"""What a run's folder tells people."""

import pytest

from training.folder import score_text


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (0.123456, "0.1235"),
        (-10_000.0, "-10,000"),
        (9_292.6, "9293"),
        (2e13, "20,000,000,000,000"),
        (1e20, "1e+20"),
    ],
)
def test_scores_keep_all_digits_before_the_point(score: float, text: str) -> None:
    assert score_text(score) == text
