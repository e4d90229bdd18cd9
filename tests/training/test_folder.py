"""What a run's folder tells people."""

from pathlib import Path

import pytest

from training.errors import InputError
from training.folder import RunFolder, read_config, read_rows, score_text


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


def test_files_that_are_nested_too_deeply_are_refused(tmp_path: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    (tmp_path / "config.json").write_text(deep)
    (tmp_path / "metrics.jsonl").write_text(deep + "\n")
    with pytest.raises(InputError, match=r"config\.json is not JSON"):
        read_config(tmp_path)
    with pytest.raises(InputError, match="line 1 is not JSON"):
        read_rows(tmp_path)


def test_a_run_that_was_killed_before_it_began_may_begin_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").touch()
    (run / ".config.json.new").write_text('{"kind"')
    folder = RunFolder(run, "ppo", {})
    with pytest.raises(InputError, match="exists already"):
        RunFolder(run, "ppo", {})
    (run / "config.json").unlink()
    with pytest.raises(InputError, match="in use by another process"):  # it begins at this moment
        RunFolder(run, "ppo", {})
    folder.close()


def test_a_folder_of_other_things_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="exists already"):
        RunFolder(tmp_path, "ppo", {})
