"""The loop round every algorithm: it consumes the algorithm's generator, and owns everything else.

Rows, progress bar, evaluations, saved models, stopping and signals are here, once; an algorithm only yields
`(step, metrics)` wherever its state is whole.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.folder import RunFolder
from training.metrics import Meter, Metrics
from training.run import RunConfig
from training.wandb_log import WandbLog

Evaluate = Callable[[], tuple[float, Mapping[str, float]]]
"""Gives a score, higher is better, and metrics."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    seconds: float  # wall time, evaluations included
    score: float | None  # of the last evaluation
    best: float | None  # the best evaluation's score
    signal: int | None = None  # the signal that ended it early


def drive(
    updates: Iterator[tuple[int, Metrics]],
    cfg: RunConfig,
    folder: RunFolder,
    *,
    save: Callable[[Path], None],
    evaluate: Evaluate | None = None,
    log: WandbLog | None = None,
) -> Outcome:
    """Runs `updates` to their end, to `cfg.stop_at`, or to the first SIGINT or SIGTERM.

    `save` writes what was learned to a folder: `model/` holds the last and `best/` the best evaluated.
    """
    meter, start = Meter(), time.perf_counter()
    rows, evaluations = _Every(cfg.log_every), _Every(cfg.evaluate_every)
    saved_at, step, score, best = start, 0, None, None

    def write(row: Mapping[str, float]) -> None:
        folder.write(step, row)
        if log is not None:
            log.write(step, row)

    def judge() -> None:
        nonlocal score, best
        assert evaluate is not None
        score, found = evaluate()
        write(found)
        if best is None or score > best:
            best = score
            save(folder.path / "best")

    with _Signals() as signals, _progress(cfg.steps) as bar:
        evaluated_at = -1
        for step, metrics in updates:
            meter.add(metrics)
            now = time.perf_counter()
            if rows.due(step):
                elapsed = now - start
                write(meter.row() | {"time/elapsed_s": elapsed, "time/steps_per_s": step / elapsed})
            if evaluate is not None and evaluations.due(step):
                judge()
                evaluated_at = step
            if evaluated_at == step or now - saved_at > cfg.save_every_s:
                save(folder.path / "model")
                saved_at = now
            bar(step, score)
            reached = cfg.stop_at is not None and score is not None and score >= cfg.stop_at
            if signals.received or reached:
                break
        if evaluate is not None and evaluated_at != step and not signals.received:
            judge()
        save(folder.path / "model")
    return Outcome(step, time.perf_counter() - start, score, best, signals.received)


class _Every:
    """True whenever another `period` steps have passed; never for a period of 0."""

    def __init__(self, period: int) -> None:
        self._period = period
        self._passed = 0

    def due(self, step: int) -> bool:
        passed = step // self._period if self._period else 0
        due, self._passed = passed > self._passed, passed
        return due


class _Signals:
    """Remembers SIGINT and SIGTERM, so that a run stops where its state is whole."""

    def __enter__(self) -> "_Signals":
        self.received: int | None = None
        main = threading.current_thread() is threading.main_thread()  # elsewhere Python refuses handlers
        numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:  # the second one means now
            raise KeyboardInterrupt
        self.received = number

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class _progress:  # noqa: N801  (a context manager that reads as a function)
    """A progress bar on a terminal, nothing elsewhere; called with the step and the latest score."""

    def __init__(self, steps: int) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=steps)

    def __enter__(self) -> Callable[[int, float | None], None]:
        self._bar.start()
        return self._show

    def _show(self, step: int, score: float | None) -> None:
        text = "" if score is None else f"score {score:.4g}"
        self._bar.update(self._task, completed=step, description=text)

    def __exit__(self, *error: object) -> None:
        self._bar.stop()
