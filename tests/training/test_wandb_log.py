import warnings
from pathlib import Path
from typing import Any

import pytest
import wandb

from training import wandb_log
from training.run import RunConfig
from training.wandb_log import WandbLog


class Broken:
    """A W&B run whose every method raises."""

    def __getattr__(self, name: str) -> Any:
        def fail(*args: object, **kwargs: object) -> None:
            raise RuntimeError(f"{name} is broken")

        return fail


@pytest.fixture(autouse=True)
def _no_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)


def log(tmp_path: Path, **settings: Any) -> WandbLog:
    return WandbLog(RunConfig(**settings), tmp_path, {"a": 1}, "ppo/CartPole-v1")


def write_three(tmp_path: Path) -> None:
    found = log(tmp_path)
    for step in range(3):
        found.write(step, {"loss/a": 1.0})
    found.close()


def test_a_run_without_an_account_goes_on_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb, "init", Broken().init)
    with pytest.warns(UserWarning, match="init is broken") as told:
        write_three(tmp_path)
    assert len(told) == 1


def test_methods_that_raise_are_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "init", lambda **kwargs: Broken())
    with pytest.warns(UserWarning, match="define_metric is broken") as told:
        write_three(tmp_path)
    assert len(told) == 1


def test_disabled_means_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "init", Broken().init)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log(tmp_path, wandb="disabled").write(1, {})
        monkeypatch.setenv("WANDB_MODE", "disabled")
        log(tmp_path, wandb="online").write(1, {})
    assert not list(tmp_path.iterdir())


def test_rows_arrive_with_their_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, rows = {}, []

    class Run:
        id, dir = "abc", tmp_path

        def define_metric(self, *args: object, **kwargs: object) -> None:
            asked["metric"] = (args, kwargs)

        def log(self, row: dict) -> None:
            rows.append(row)

        def finish(self) -> None:
            asked["finished"] = True

    monkeypatch.setattr(wandb, "init", lambda **kwargs: asked.update(kwargs) or Run())
    found = log(tmp_path, project="p", tags=("t",))
    found.write(7, {"loss/a": 1.0})
    found.close()
    assert rows == [{"global_step": 7, "loss/a": 1.0}]
    assert asked["metric"] == (("*",), {"step_metric": "global_step"})
    assert (asked["mode"], asked["dir"], asked["project"], asked["tags"]) == ("offline", tmp_path, "p", ["t"])
    assert asked["finished"]
    assert found.id == "abc"


def test_a_disk_that_is_full_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []

    class Run:
        id, dir = "abc", tmp_path

        def define_metric(self, *args: object, **kwargs: object) -> None:
            pass

        def log(self, row: dict) -> None:
            rows.append(row)

    monkeypatch.setattr(wandb, "init", lambda **kwargs: Run())
    found = log(tmp_path)
    found.write(1, {"loss/a": 1.0})
    monkeypatch.setattr(wandb_log, "LEAST_FREE", 1 << 80)
    with pytest.warns(UserWarning, match=r"stopped \(its disk is full: .* bytes are left\)"):
        found.write(2, {"loss/a": 1.0})
    found.write(3, {"loss/a": 1.0})
    assert [row["global_step"] for row in rows] == [1]


def test_a_resumed_run_keeps_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    monkeypatch.setattr(wandb, "init", lambda **kwargs: asked.update(kwargs))
    with pytest.warns(UserWarning, match="stopped"):
        WandbLog(RunConfig(), tmp_path, {}, "group", "abc")
    assert (asked["id"], asked["resume"]) == ("abc", "allow")
