import json
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import training.driver
from training.checkpoint import load_checkpoint, load_model, save_model
from training.driver import Driver, Outcome
from training.errors import DivergenceError, InputError
from training.folder import RunFolder, read_config, read_rows
from training.metrics import Meter, Metrics
from training.run import RunConfig


def counting(to: int, by: int = 10) -> Iterator[tuple[int, Metrics]]:
    for step in range(by, to + 1, by):
        yield step, {"loss/some": torch.tensor(float(step))}


class Bench:
    """A run with scores that are given beforehand."""

    def __init__(self, path: Path, scores: list[float]) -> None:
        self.folder = RunFolder(path, "some", {"a": 1})
        self.folder.close()
        self.scores, self.saved = iter(scores), []

    def save(self, to: Path) -> None:
        self.saved.append(to.name)

    def evaluate(self) -> tuple[float, dict[str, float]]:
        score = next(self.scores)
        return score, {"eval/return": score}

    def drive(self, updates: Iterator, **settings: object) -> Outcome:
        cfg = RunConfig(**{"steps": 100, "log_every": 30, "evaluate_every": 50} | settings)
        return Driver(cfg, self.folder, save=self.save, evaluate=self.evaluate).run(updates)


def test_rows_hold_the_mean_since_the_last_row(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "run", [1.0, 2.0])
    bench.drive(counting(100))
    rows = [row for row in read_rows(tmp_path / "run") if "loss/some" in row]
    assert [(row["global_step"], row["loss/some"]) for row in rows] == [
        (30, 20),
        (60, 50),
        (90, 80),
        (100, 100),
    ]


def test_evaluations_are_rows_and_the_best_is_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "run", [5.0, 3.0])
    outcome = bench.drive(counting(100))
    evaluated = [
        (r["global_step"], r["eval/return"]) for r in read_rows(tmp_path / "run") if "eval/return" in r
    ]
    assert evaluated == [(50, 5.0), (100, 3.0)]
    assert (outcome.step, outcome.score, outcome.best) == (100, 3.0, 5.0)
    assert bench.saved == ["best", "model"]


def test_the_end_is_evaluated_even_when_its_time_has_not_come(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "run", [5.0, 7.0])
    assert bench.drive(counting(70)).best == 7.0


def test_a_reached_score_stops_the_run(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "run", [5.0])
    assert bench.drive(counting(10_000), stop_at=5.0).step == 50


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_where_the_state_is_whole_and_saves(tmp_path: Path, number: int) -> None:
    def disturbed() -> Iterator[tuple[int, Metrics]]:
        for step, metrics in counting(100):
            if step == 20:
                os.kill(os.getpid(), number)
            yield step, metrics

    bench = Bench(tmp_path / "run", [])
    before = signal.getsignal(number)
    outcome = bench.drive(disturbed())
    assert (outcome.step, outcome.signal) == (20, number)
    assert bench.saved == ["model"]
    assert signal.getsignal(number) is before


def test_a_meter_counts_every_observation_of_an_array_once() -> None:
    meter = Meter()
    meter.add({"episode/return": np.array([1.0, 2.0, 3.0]), "loss/a": 1.0})
    meter.add({"episode/return": np.array([6.0])})
    assert meter.row() == {"episode/return": 3.0, "loss/a": 1.0}
    assert meter.row() == {}


def test_a_run_folder_is_never_overwritten(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", "some", {}).close()
    with pytest.raises(InputError, match="exists already"):
        RunFolder(tmp_path / "run", "some", {})
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="exists already"):
        RunFolder(tmp_path / "file", "some", {})


def test_rows_are_strict_json_and_a_cut_last_line_is_left_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "some", {})
    folder.close()
    folder.write(1, {"loss/a": float("nan"), "loss/b": 2.0})
    file = tmp_path / "run" / "metrics.jsonl"
    assert "NaN" not in file.read_text()
    with file.open("a") as rows:
        rows.write('{"global_step": 2, "lo')
    assert read_rows(tmp_path / "run") == [{"global_step": 1, "loss/a": None, "loss/b": 2.0}]


def test_config_tells_versions_and_what_was_asked(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", "some", {"a": 1}).close()
    found = read_config(tmp_path / "run")
    assert (found["kind"], found["config"]) == ("some", {"a": 1})
    assert found["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": 3, "config": {}}', json.dumps({"kind": "ppo"})])
def test_half_written_configs_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json"):
        read_config(tmp_path)


def test_folders_without_a_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        read_config(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_config(tmp_path / "nowhere")


def test_a_second_process_cannot_open_a_run(tmp_path: Path) -> None:
    first = RunFolder(tmp_path / "run", "some", {})
    with pytest.raises(InputError, match="in use by another process"):
        RunFolder.reopen(tmp_path / "run")
    first.close()
    RunFolder.reopen(tmp_path / "run").close()


def sick(at: int) -> Iterator[tuple[int, Metrics]]:
    for step, metrics in counting(100):
        yield step, metrics | ({"grad/norm": torch.tensor(float("nan"))} if step == at else {})


def test_a_number_that_is_not_finite_stops_the_run_at_the_next_row_and_saves_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "run", [])
    with pytest.raises(DivergenceError, match="grad/norm is not finite in the row of step 30"):
        bench.drive(sick(20))
    assert bench.saved == []
    assert read_rows(tmp_path / "run")[-1]["grad/norm"] is None


def test_a_number_that_is_not_finite_can_be_skipped(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "run", [1.0, 2.0])
    assert bench.drive(sick(40), if_nan="skip").step == 100


def test_a_signal_ends_an_evaluation_at_once_and_a_resumed_run_makes_up_for_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "run", [4.0, 6.0])
    played = bench.evaluate

    def disturbed() -> tuple[float, dict[str, float]]:
        os.kill(os.getpid(), signal.SIGINT)
        return played()

    bench.evaluate = disturbed
    cfg = RunConfig(steps=100, log_every=30, evaluate_every=50)
    first = Driver(cfg, bench.folder, save=bench.save, evaluate=disturbed)
    outcome = first.run(counting(100))
    assert (outcome.step, outcome.signal, outcome.score) == (50, signal.SIGINT, None)
    again = Driver(cfg, bench.folder, save=bench.save, evaluate=disturbed)
    again.load_state_dict(first.state_dict())
    assert (
        again.run(yielded for yielded in counting(100) if yielded[0] > 50).step == 50
    )  # no update before it
    second = Driver(cfg, bench.folder, save=bench.save, evaluate=played)
    second.load_state_dict(first.state_dict())
    rest = ((step, metrics) for step, metrics in counting(100) if step > 50)
    assert second.run(rest).best == 6.0
    evaluated = [
        (r["global_step"], r["eval/return"]) for r in read_rows(tmp_path / "run") if "eval/return" in r
    ]
    assert evaluated == [(50, 4.0), (100, 6.0)]


def test_patience_ends_a_run_and_the_best_becomes_its_model(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "run", [5.0, 7.0, 6.0, 7.0, 9.0])

    def save(to: Path) -> None:
        save_model(to, {"w": torch.tensor(float(len(bench.saved)))}, {"kind": "some"})
        bench.saved.append(to.name)

    bench.save = save
    outcome = bench.drive(counting(1_000), evaluate_every=50, patience=2)
    assert (outcome.step, outcome.score, outcome.best) == (200, 7.0, 7.0)
    assert bench.saved == ["best", "best"]
    best, model = (load_model(tmp_path / "run" / name) for name in ("best", "model"))
    assert best == model == ({"w": torch.tensor(1.0)}, {"kind": "some"})


class Walk:
    """A learner whose weight grows by one a step, and whose loss is NaN at the steps it is told."""

    def __init__(self, path: Path, wrong: set[int]) -> None:
        self.weight, self.step, self.wrong = 0, 0, wrong
        cfg = RunConfig(steps=100, log_every=10, evaluate_every=0, save_every_s=1e-9, if_nan="roll-back")
        folder = RunFolder(path, "some", {})
        folder.close()
        self.driver = Driver(
            cfg,
            folder,
            save=lambda to: None,
            state=lambda: {"weight": self.weight},
            roll_back=lambda tree: setattr(self, "weight", tree["weight"]),
        )

    def updates(self) -> Iterator[tuple[int, Metrics]]:
        while self.step < 100:
            self.step += 1
            self.weight += 1
            bad = self.step in self.wrong
            yield self.step, {"loss/some": torch.tensor(float("nan") if bad else 1.0)}


def test_rolling_back_returns_to_the_last_good_weights_and_goes_on(tmp_path: Path) -> None:
    walk = Walk(tmp_path / "run", wrong={44, 45})
    with pytest.warns(UserWarning, match="in the row of step 50: back to the weights of step 43"):
        outcome = walk.driver.run(walk.updates())
    assert outcome.step == 100
    assert walk.weight == 43 + 50  # steps 44 to 50 are undone
    steps = {int(folder.name[5:]) for folder in (tmp_path / "run/resume").iterdir()}
    assert steps == {99, 100}


def test_rolling_back_gives_up_when_it_does_not_help(tmp_path: Path) -> None:
    walk = Walk(tmp_path / "run", wrong=set(range(40, 100)))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(DivergenceError, match="3 times did not help"):
            walk.driver.run(walk.updates())
    assert [str(w.message).rpartition(" ")[2] for w in told] == ["39", "40", "50"]
    steps = {int(folder.name[5:]) for folder in (tmp_path / "run/resume").iterdir()}
    assert steps == {50, 60}
    assert load_checkpoint(tmp_path / "run")["run"]["weight"] == 39, "only good weights are ever saved"


def test_rolling_back_needs_a_checkpoint(tmp_path: Path) -> None:
    walk = Walk(tmp_path / "run", wrong={1})
    with pytest.raises(DivergenceError, match="there is no checkpoint yet"):
        walk.driver.run(walk.updates())


def test_diagnoses_stand_in_rows_that_fall_on_an_update(tmp_path: Path) -> None:
    def updates() -> Iterator[tuple[int, Metrics]]:
        for step in range(1, 31):
            yield step, {"grad/norm": 1.0} if step != 20 else {"loss/other": 1.0}

    folder = RunFolder(tmp_path / "run", "some", {})
    folder.close()
    cfg = RunConfig(steps=30, log_every=10, evaluate_every=0)
    Driver(cfg, folder, save=lambda to: None, diagnose=lambda: {"gradient/a": 2.0}).run(updates())
    assert [row.get("gradient/a") for row in read_rows(tmp_path / "run")] == [2.0, None, 2.0]


@pytest.mark.parametrize(("every", "steps"), [(0, [50, 100, 150, 200, 200]), (80, [80, 160, 200])])
def test_evaluations_bring_checkpoints_unless_these_fall_on_fixed_steps(
    every: int, steps: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.driver, "LEAST_BETWEEN_S", -1.0)
    bench, kept = Bench(tmp_path / "run", [1.0, 2.0, 3.0, 4.0]), []
    driver = Driver(
        RunConfig(steps=200, evaluate_every=50),
        bench.folder,
        save=bench.save,
        evaluate=bench.evaluate,
        state=lambda: kept.append(driver.step) or {},
        checkpoint_every=every,
    )
    driver.run(counting(200))
    assert kept == steps  # the last at the end of the run
