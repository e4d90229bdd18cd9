import json
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from agents import ppo
from lab.commands import compare, evaluate, report, resume, train
from lab.figures import curves
from tests.processes import ENVIRONMENT
from training.errors import InputError
from training.folder import RunFolder
from training.run import RunConfig


def make(
    path: Path,
    returns: list[float],
    seed: int = 0,
    env: str = "CartPole-v1",
    kind: str = "ppo",
    evaluations: int | None = None,
) -> None:
    """A run whose evaluations are given, one in ten steps; it should have had so many, or as many."""
    steps = 10 * max(1, len(returns) if evaluations is None else evaluations)
    cfg = ppo.Config(env=env, run=RunConfig(seed=seed, steps=steps))
    folder = RunFolder(path, kind, asdict(cfg))
    for step, value in enumerate(returns, 1):
        folder.write(step * 10, {"eval/return": value})
    folder.close()


def test_sets_of_runs_are_compared_by_their_last_evaluations(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, last in enumerate((100.0, 200.0, 300.0)):
        make(Path(f"three/seed_{seed}"), [1.0, last], seed)
    make(Path("one"), [7.0, 150.0], kind="a2c")
    compare.main(["three", "one", "--out", "page.html"])
    said = capsys.readouterr().out
    assert "200 (100 to 300)" in said
    assert "150 (one run)" in said  # from which no interval follows
    assert "0.6667" in said
    page = Path("page.html").read_text()
    assert "three &gt; one" in page
    assert "<svg" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "needs folders of runs"),
        ("nothing", "nothing holds no run"),
        ("a a", "a is given twice"),
        ("a other", "expected one environment"),
        ("mixed", "has other settings than"),
        ("empty", "empty has no evaluated return"),
    ],
)
def test_what_cannot_be_compared_is_named(words: str, message: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path("a"), [1.0])
    make(Path("other"), [1.0], env="Acrobot-v1")
    make(Path("mixed/x"), [1.0])
    make(Path("mixed/y"), [1.0], kind="a2c")
    make(Path("empty"), [])
    with pytest.raises(InputError, match=message):
        compare.main(words.split())


def test_seeds_are_trained_side_by_side_and_judged_as_one(tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    train.main(["ppo", "--seeds", "2", "--seed", "3", "--steps", "1024", "--dir", "two"])
    seeds = [
        json.loads(file.read_text())["config"]["run"]["seed"] for file in Path("two").glob("*/config.json")
    ]
    assert sorted(seeds) == [3, 4]
    said = capfd.readouterr().out
    assert said.count("done after 1,024 steps") == 2
    assert "interquartile mean" in said

    shutil.rmtree("two/seed_4")  # as if it had never begun
    resume.main(["two"])
    said = capfd.readouterr().out
    assert "seed_3 is finished" in said
    assert said.count("done after 1,024 steps") == 1
    with pytest.raises(InputError, match="two exists already"):
        train.main(["ppo", "--seeds", "2", "--dir", "two"])
    with pytest.raises(InputError, match="seeds is 0"):
        train.main(["ppo", "--seeds", "0"])


def test_runs_that_have_not_ended_are_told_of(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path("some/a"), [1.0, 2.0, 3.0])
    make(Path("some/b"), [1.0], seed=1, evaluations=3)
    with pytest.warns(UserWarning, match="some/b was last evaluated after 10 of 30 steps"):
        compare.main(["some"])


@pytest.mark.filterwarnings("error")
def test_names_of_runs_are_no_formulas_and_may_begin_with_a_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path("_run"), [1.0])
    make(Path("a$^$b"), [1.0])
    compare.main(["_run", "a$^$b", "--out", "page.html"])
    legend = Path("page.html").read_text().partition("<svg")[2]
    assert "> _run</text>" in legend
    assert ">a$^$b</text>" in legend


def test_a_signal_ends_all_seeds_where_they_can_go_on(tmp_path: Path) -> None:
    words = ["train", "ppo", "--seeds", "3", "--steps", "10000000", "--evaluate-every", "0", "--dir", "set"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", *words],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not list(tmp_path.glob("set/seed_*/metrics.jsonl")):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "set: interrupted (`lab resume set` goes on)" in said
    for run in tmp_path.glob("set/seed_*"):  # nobody has it open; one that had not begun may begin
        began = (run / "config.json").exists()
        (RunFolder.reopen(run) if began else RunFolder(run, "ppo", {})).close()
    assert list(tmp_path.glob("set/seed_*/resume/*"))


def test_the_report_draws_layers_and_a_range_test(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    words = "autoencoder --schedule range --steps 60 --log-every 5 --lr 1e-3 --dir run"
    train.main(words.split())
    report.main(["run"])
    page = Path("run/report.html").read_text()
    assert "Learning-rate range test of run" in page
    assert "Gradient norms, layer by layer" in page
    assert ">encoder.0<" in page


def test_a_set_of_seeds_is_evaluated_and_reported_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train.main(["ppo", "--seeds", "2", "--steps", "1024", "--dir", "set"])
    capsys.readouterr()
    evaluate.main(["set", "--episodes", "3"])
    told = capsys.readouterr().out
    means = [float(value) for value in re.findall(r"mean return (\S+)", told)]
    assert len(means) == 3
    assert means[2] == pytest.approx((means[0] + means[1]) / 2, abs=0.1)
    assert "set/seed_1:" in told
    report.main(["set"])
    page = Path("set/report.html").read_text()
    assert "seed_0" in page
    assert "seed_1" in page


def test_a_folder_of_unlike_runs_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        evaluate.main([str(tmp_path)])


def test_a_figure_of_many_runs_has_room_for_all_their_names() -> None:
    line = np.array([[0.0, 1.0], [1.0, 2.0]])
    names = [f"runs/a-name-that-is-long/seed_{seed}" for seed in range(6)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Matplotlib warns where a legend leaves no room to draw in
        svg = curves(dict.fromkeys(names, line), "policy/kl")
    assert all(name in svg for name in names)
    lefts = [float(x) for x in re.findall(r'<text[^>]*x="([-\d.]+)"', svg)]
    assert min(lefts) >= 0
