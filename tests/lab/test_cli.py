"""The commands as a user calls them."""

import csv
import errno
import io
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lab import cli
from lab.cli import COMMANDS
from lab.commands import generate, train
from tests.processes import lab
from training.errors import InputError


def test_version_and_help() -> None:
    here = Path.cwd()
    assert lab("--version", cwd=here).stdout == "lab 0.2.0\n"
    said = lab("--help", cwd=here)
    assert said.returncode == 0
    assert all(f"lab {name}" in said.stdout for name in COMMANDS)


def test_a_warning_is_one_line_without_colours(capsys: pytest.CaptureFixture[str]) -> None:
    cli._warn("\x1b[33mWARN: an old\nenvironment\x1b[0m")
    assert capsys.readouterr().err == "lab: warning: WARN: an old environment\n"


@pytest.mark.parametrize("command", [*COMMANDS, "train ppo", "train dqn", "train vae", "train gan"])
def test_every_command_explains_itself(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["lab", *command.split(), "--help"])
    code: object = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    assert (code, said.err) == (0, "")
    assert f"usage: lab {command}" in said.out


def test_what_was_learned_stays_when_the_environment_fails(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    words = "ppo --env tests.probes:Wears --steps 50000 --evaluate-every 0 --no-normalise-obs --dir worn"
    with pytest.raises(InputError, match="it raised ValueError: worn out"):
        train.main(words.split())
    assert len(Path("worn/metrics.jsonl").read_text().splitlines()) > 3


def test_a_run_leaves_what_was_promised(place: Path) -> None:
    for file in (
        "config.json",
        "metrics.jsonl",
        "model/weights.safetensors",
        "model/model.json",
        "best/model.json",
    ):
        assert (place / "agent" / file).stat().st_size


def test_evaluate_says_how_it_played_and_records(place: Path) -> None:
    greedy = lab("evaluate", "agent", "--episodes", "5", "--record", cwd=place)
    assert greedy.returncode == 0, greedy.stderr
    assert "greedy actions" in greedy.stdout
    assert "mean return" in greedy.stdout
    assert "bootstrap interval" in greedy.stdout
    assert (place / "agent" / "rollouts" / "greedy-0.npz").is_file()
    sampled = lab("evaluate", "agent", "--episodes", "5", "--sample", cwd=place)
    assert "actions drawn from the policy" in sampled.stdout


def test_models_are_held_against_their_test_rows(place: Path) -> None:
    done = lab("evaluate", "labelled", cwd=place)
    assert done.returncode == 0, done.stderr
    for word in ("coverage", "floor", "sha256", "samples look like   0 ", "nearest known row"):
        assert word in done.stdout
    assert (place / "labelled/nearest.png").read_bytes()[:4] == b"\x89PNG"
    assert lab("evaluate", "labelled", cwd=place).stdout == done.stdout
    said = lab("evaluate", "model", "--samples", "20", cwd=place).stdout
    for word in ("log p(x)", "K = 20", "active; KL in nats", "R²", "the columns, scaled"):
        assert word in said
    assert "topographic error" in lab("evaluate", "map", cwd=place).stdout


def test_samples_are_pictures_and_numbers(place: Path) -> None:
    done = lab("generate", "labelled", "--count", "12", "--label", "7", "--out", "sevens", cwd=place)
    assert done.returncode == 0, done.stderr
    with np.load(place / "sevens.npz") as found:
        assert (found["x"].shape, set(found["y"])) == ((12, 1, 8, 8), {"7"})
    assert (place / "sevens.png").read_bytes()[:4] == b"\x89PNG"
    assert lab("generate", "labelled", "--interpolate", "--out", "ways", cwd=place).returncode == 0
    assert lab("generate", "model", "--count", "5", "--out", "rows", cwd=place).returncode == 0
    assert (place / "rows.csv").read_text().splitlines()[0] == "a,b,c"
    assert len((place / "rows.csv").read_text().splitlines()) == 6
    assert lab("generate", "map", "--out", "map-picture", cwd=place).returncode == 0
    with np.load(place / "map-picture.npz") as found:
        assert found["u_matrix"].shape == (12, 12)


def test_names_of_columns_are_written_as_a_reader_takes_them() -> None:
    names = ("plain", "with, comma", 'with "quotes"', "with\nline")
    file = io.BytesIO()
    generate._csv(file, np.zeros((2, 4)), names)
    rows = list(csv.reader(io.StringIO(file.getvalue().decode())))
    assert rows == [list(names), ["0"] * 4, ["0"] * 4]


def test_errors_of_the_machine_are_one_line_and_bugs_keep_their_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raised: list[OSError] = [
        OSError(errno.ENOSPC, "No space left"),
        FileNotFoundError(errno.ENOENT, "no file"),
    ]
    monkeypatch.setattr("sys.argv", ["lab", "list"])
    monkeypatch.setattr("lab.commands.list.main", lambda words: (_ for _ in ()).throw(raised.pop(0)))
    with pytest.raises(SystemExit):
        cli.main()
    assert "No space left" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):
        cli.main()


def test_the_same_configuration_learns_the_same_weights(place: Path) -> None:
    assert lab("train", "ppo", "--config", "agent", "--dir", "again", cwd=place).returncode == 0
    for file in ("model/weights.safetensors", "best/weights.safetensors"):
        assert (place / "again" / file).read_bytes() == (place / "agent" / file).read_bytes()


def test_scores_have_a_line_for_each_row(place: Path) -> None:
    done = lab("score", "detector", "normal.csv", "--out", "scores.csv", cwd=place)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((place / "scores.csv").read_text().splitlines()))
    assert list(rows[0]) == ["row", "score", "p_value", "anomaly"]
    assert [int(row["row"]) for row in rows] == list(range(200))
    assert all((float(row["p_value"]) <= 1 / 31 + 1e-9) == (row["anomaly"] == "1") for row in rows)


def test_rows_of_another_world_are_told_of(place: Path) -> None:
    rows = (place / "normal.csv").read_text().splitlines()
    far = ["1000," + row.split(",", 1)[1] for row in rows[1:]]
    (place / "moved.csv").write_text("\n".join([rows[0], *far]) + "\n")
    done = lab("score", "detector", "moved.csv", "--out", "moved-scores.csv", cwd=place)
    column = rows[0].split(",")[0]
    assert "100 % of the rows are flagged, of rows like the fitted it would be" in done.stderr
    assert f"mostly in the column '{column}'" in done.stderr


def test_a_detector_of_recorded_episodes(place: Path) -> None:
    assert lab("evaluate", "agent", "--episodes", "20", "--seed", "1", "--record", cwd=place).returncode == 0
    done = lab("fit", "agent/rollouts/greedy-1.npz", "--detector", "autoencoder", "--dir", "watch", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "calibrated on" in done.stdout


def test_a_page_shows_every_metric_of_its_runs(place: Path) -> None:
    done = lab("report", "agent", "dqn", "--out", "page.html", cwd=place)
    assert (done.returncode, done.stdout) == (0, "page.html\n"), done.stderr
    page = (place / "page.html").read_text()
    for name in ("eval/return", "loss/policy", "loss/td", "q/chosen", "minibatch", "agent", "dqn"):
        assert name in page
    assert lab("report", "model", cwd=place).stdout == "model/report.html\n"


def test_of_contaminated_rows_nothing_is_promised(place: Path) -> None:
    words = ("fit", "normal.csv", "--detector", "nearest", "--contaminated", "--dir", "dirty")
    assert "nothing is promised" in lab(*words, cwd=place).stdout
    (place / "mixed.csv").write_text("a,b,c,y\n" + "0.5,0.1,-0.2,0\n" * 20 + "50,0,0,1\n")
    done = lab("evaluate", "dirty", "mixed.csv", "--label-column", "y", cwd=place)
    assert "no promise" in done.stdout, done.stderr


def test_a_detector_meets_labels_explains_and_has_a_page(place: Path) -> None:
    rows = [f"{v / 40 - 1},0.1,-0.2,0,{'left' if v % 2 else 'right'}" for v in range(80)] + ["50,0,0,1,left"]
    (place / "labelled.csv").write_text("\n".join(["a,b,c,y,side", *rows]))
    done = lab("score", "memory", "labelled.csv", "--explain", "1", "--out", "why.csv", cwd=place)
    assert done.returncode == 0, done.stderr
    assert list(csv.DictReader((place / "why.csv").read_text().splitlines()))[80]["column_1"] == "a"
    done = lab("evaluate", "memory", "labelled.csv", "--label-column", "y", "--by", "side", cwd=place)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("AUROC 1.0000", "all rows", "left", "right"))
    done = lab("explain", "memory", "labelled.csv", "--row", "80", cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2].split()[0] == "a"
    assert lab("report", "memory", cwd=place).stdout == "memory/report.html\n"
    page = (place / "memory" / "report.html").read_text()
    told = (
        "The promise",
        "What was scored",
        "AUROC 1.0000",
        "Model card",
        "nearest normal row",
        "labelled.csv",
    )
    for words in told:
        assert words in page


def test_a_detector_of_a_series_from_the_file_to_the_page(place: Path) -> None:
    def series(rows: int, spike: int | None) -> str:
        lines = ["when,a,y"]
        for i in range(rows):
            wrong = i == spike
            lines.append(
                f"2024-01-{1 + i // 24:02d} {i % 24:02d}:00,{(i * 7 % 24) + 90 * wrong},{int(wrong)}"
            )
        return "\n".join(lines)

    (place / "train.csv").write_text(series(600, None))
    (place / "watched.csv").write_text(series(200, 120))
    done = lab("fit", "train.csv", "--window", "8", "--label-column", "y", "--dir", "windows", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "  numbers: a\n  time: when\n" in done.stdout
    assert "in the long run" in done.stdout
    done = lab("score", "windows", "watched.csv", "--out", "watched-scores.csv", cwd=place)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((place / "watched-scores.csv").read_text().splitlines()))
    assert [float(row["score"]) for row in rows[:7]] == [0.0] * 7
    assert rows[120]["anomaly"] == "1"
    assert len(rows) == 200
    done = lab("evaluate", "windows", "watched.csv", "--label-column", "y", cwd=place)
    assert "1 of 1 events found, 0 rows after they began" in done.stdout
    done = lab("explain", "windows", "watched.csv", "--row", "120", cwd=place)
    assert done.stdout.splitlines()[2].split()[0] == "a"
    done = lab("explain", "windows", "watched.csv", "--row", "6", cwd=place)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "expected a row with 7 before it" in done.stderr
    assert lab("report", "windows", cwd=place).returncode == 0
    page = (place / "windows" / "report.html").read_text()
    for told in ("alarms come in bursts", "The strangest columns and the score", "Bars beneath: labelled"):
        assert told in page
    named = sorted(map(int, re.findall(r"<tr><td>(\d+)</td>", page)))
    assert any(120 <= row < 128 for row in named)
    assert all(later - earlier >= 8 for earlier, later in pairwise(named))


def test_runs_are_listed_with_their_scores(place: Path) -> None:
    done = lab("list", ".", cwd=place)
    assert done.returncode == 0, done.stderr
    for word in ("agent", "ppo", "CartPole-v1", "model", "normal.csv", "detector"):
        assert word in done.stdout
