"""The loop round every algorithm: it consumes the algorithm's generator, and owns everything else.

Rows, progress bar, evaluations, saved models, checkpoints, stopping and signals are here, once; an algorithm
only yields `(step, metrics)` wherever its state is whole. What the driver itself must remember to go on bit
by bit is in its `state_dict`.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training import distributed
from training.checkpoint import copy_model, load_checkpoint, save_checkpoint
from training.errors import DivergenceError
from training.folder import RunFolder, score_text
from training.metrics import Meter, Metrics
from training.run import RunConfig
from training.signals import Interrupted, Signals
from training.state import Tree, capture, global_generators, restore, set_global_generators
from training.wandb_log import WandbLog

Evaluate = Callable[[], tuple[float, Mapping[str, float]]]
"""Gives a score, higher is better, and metrics."""

Show = Callable[[Path, int], Mapping[str, Path]]
"""Writes pictures of what was learned into the run's folder, told the step; gives their files by name."""

LEAST_BETWEEN_S = 5.0  # evaluations bring a checkpoint with them, unless the last is younger than this
ROLL_BACKS = 3  # weights that diverge this often have a cause that does not go away


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    seconds: float  # wall time, evaluations included
    score: float | None  # of the last evaluation
    best: float | None  # the best evaluation's score
    signal: int | None = None  # the signal that ended it early


class Driver:
    """Runs an algorithm's generator in a run folder.

    `save` writes what was learned to a folder: `model/` holds the last, `best/` the best evaluated. `state`
    gives all that the learner and its environments remember; without it there are no checkpoints. `diagnose`
    tells about the last update, at every row that falls on one; `show` draws at every evaluation;
    `roll_back` takes the weights out of what `state` gave. Where asking for `state` changes what follows,
    as environments begin again, it is asked every `checkpoint_every` steps and at no other time, neither by
    the clock nor at a signal: a run that was stopped goes on as it went before.

    Of several processes that learn together each has a driver and a folder; the first one evaluates.
    """

    STATE = (
        "step",
        "score",
        "best",
        "stale",
        "rolled_back",
        "evaluated_at",
        "evaluating",
        "elapsed",
        "finished",
        "meter",
        "rows",
        "evaluations",
        "checkpoints",
    )

    def __init__(
        self,
        cfg: RunConfig,
        folder: RunFolder,
        *,
        save: Callable[[Path], None],
        evaluate: Evaluate | None = None,
        state: Callable[[], Tree] | None = None,
        diagnose: Callable[[], Mapping[str, float]] | None = None,
        show: Show | None = None,
        roll_back: Callable[[Tree], None] | None = None,
        log: WandbLog | None = None,
        checkpoint_every: int = 0,
    ) -> None:
        self.cfg, self.folder, self.checkpoint_every = cfg, folder, checkpoint_every
        self.save, self.evaluate, self.state, self.log = save, evaluate, state, log
        self.diagnose, self.show, self.roll_back = diagnose, show, roll_back
        self.meter = Meter()
        self.rows, self.evaluations = Every(cfg.log_every), Every(cfg.evaluate_every)
        self.checkpoints = Every(checkpoint_every)
        self.step, self.evaluated_at, self.elapsed = 0, 0, 0.0
        self.evaluating = self.finished = False
        self.score: float | None = None
        self.best: float | None = None
        self.stale = self.rolled_back = 0  # evaluations since the best; how often weights were taken back

    def run(self, updates: Iterator[tuple[int, Metrics]]) -> Outcome:
        """Runs `updates` to their end, to `cfg.stop_at`, or to the first SIGINT or SIGTERM."""
        started = saved = time.perf_counter()
        before = self.elapsed
        with Signals() as signals, _progress(self.cfg.steps) as bar:
            if self.evaluating:  # a signal cut this evaluation short
                self._evaluate(signals)
            ended = signals.agreed()
            if self._reached() or ended is not None:
                updates = iter(())
            for self.step, metrics in updates:
                now = time.perf_counter()
                self.elapsed = before + now - started
                self.meter.add(metrics)
                if self.rows.due(self.step):
                    self._write_row(learned=any(name.startswith("grad/") for name in metrics))
                if self.evaluations.due(self.step):
                    self._evaluate(signals)
                ended = signals.agreed()
                if self._reached() or ended is not None:
                    break
                if self._checkpoint_due(now - saved):
                    self._keep()
                    saved = now
                bar(self.step, self.score)
            if ended is None and self.evaluated_at != self.step:
                self._evaluate(signals)
                ended = signals.agreed()
            self.finished = ended is None
            if self.finished and self.meter:
                self._write_row()
            self.elapsed = before + time.perf_counter() - started
            self._keep(checkpoint=self.finished or not self.checkpoint_every)
        return Outcome(self.step, self.elapsed, self.score, self.best, ended)

    def state_dict(self) -> dict[str, Tree]:
        """What `load_state_dict` needs."""
        return {
            **capture(self, self.STATE),
            "written": self.folder.size(),
            "wandb": self.log.id if self.log is not None else None,
        }

    def load_state_dict(self, state: dict[str, Tree]) -> None:
        """Puts back what `state_dict` gave; rows that were written later are taken away again."""
        self.folder.cut(state["written"])
        restore(self, {name: state[name] for name in self.STATE})

    def _checkpoint_due(self, age: float) -> bool:
        if self.checkpoint_every:
            return self.checkpoints.due(self.step)
        enough = LEAST_BETWEEN_S if self.evaluated_at == self.step else self.cfg.save_every_s
        return bool(distributed.first([age > enough])[0])

    def _reached(self) -> bool:
        if self.cfg.patience and self.stale >= self.cfg.patience:
            return True
        return self.cfg.stop_at is not None and self.score is not None and self.score >= self.cfg.stop_at

    def _write_row(self, learned: bool = False) -> None:
        """Writes what was gathered; `learned` says whether the last yield had an update to tell about."""
        row = self.meter.row()
        wrong = [name for name, value in row.items() if not math.isfinite(value)]
        if learned and self.diagnose is not None:
            row |= self.diagnose()
        times = {"time/elapsed_s": self.elapsed, "time/steps_per_s": self.step / self.elapsed}
        self._write(row | times)
        if distributed.most(len(wrong)) and self.cfg.if_nan != "skip":
            self._diverged(wrong[0] if wrong else "a metric of another process")

    def _diverged(self, name: str) -> None:
        """Takes the weights of the last checkpoint back, or stops the run."""
        found = f"{name} is not finite in the row of step {self.step:,}"
        if self.cfg.if_nan == "stop":
            raise DivergenceError(
                f"{found}: the run stops, and its last checkpoint stays; `--if-nan skip` leaves such"
                " updates out, `--if-nan roll-back` returns to the weights of the last checkpoint"
            )
        tree = load_checkpoint(self.folder.path)
        if tree is None or self.roll_back is None or self.rolled_back == ROLL_BACKS:
            why = "there is no checkpoint yet" if tree is None else f"{ROLL_BACKS} times did not help"
            raise DivergenceError(f"{found}, and weights cannot be rolled back: {why}")
        self.roll_back(tree["run"])
        self.rolled_back += 1
        warnings.warn(f"{found}: back to the weights of step {tree['driver']['step']:,}", stacklevel=2)

    def _write(self, row: Mapping[str, float]) -> None:
        self.folder.write(self.step, row)
        if self.log is not None:
            self.log.write(self.step, row)

    def _evaluate(self, signals: Signals) -> None:
        """Evaluates; a signal ends it at once, and then a resumed run evaluates first."""
        if self.evaluate is None:
            return
        self.evaluating = True
        before = global_generators()
        score, done = math.nan, False
        found: Mapping[str, float] = {}
        pictures: Mapping[str, Path] = {}
        try:
            if distributed.rank() == 0:
                with signals.raised():
                    score, found = self.evaluate()
                    if self.show is not None:
                        pictures = self.show(self.folder.path, self.step)
                done = True
        except Interrupted:
            pass
        finally:
            set_global_generators(before)  # environments that draw from them learn nothing of evaluations
        score, whole = distributed.first([score, done])
        if not whole:
            return
        self.evaluating, self.evaluated_at, self.score = False, self.step, score
        if found:
            self._write(found)
        if self.log is not None:
            self.log.show(self.step, pictures)
        self.stale += 1
        if not math.isnan(score) and (self.best is None or score > self.best):
            self.best, self.stale = score, 0
            self.save(self.folder.path / "best")

    def _keep(self, checkpoint: bool = True) -> None:
        """Writes the model, and a checkpoint from which the run goes on; never those that have diverged."""
        diverged = self.cfg.if_nan != "skip" and not self.meter.finite()
        if distributed.most(diverged):
            return
        best = self.folder.path / "best"
        if self.finished and self.cfg.patience and best.exists():
            copy_model(best, self.folder.path / "model")
        else:
            self.save(self.folder.path / "model")
        if self.state is not None and checkpoint:
            tree = {"run": self.state(), "driver": self.state_dict(), "generators": global_generators()}
            save_checkpoint(self.folder.path, self.step, tree)


def resume(driver: Driver, tree: Tree, put_back: Callable[[Tree], None]) -> None:
    """Puts a checkpoint's tree back into the driver, and what `state` gave through `put_back`."""
    put_back(tree["run"])
    driver.load_state_dict(tree["driver"])
    set_global_generators(tree["generators"])


class Every:
    """True whenever another `period` steps have passed; never for a period of 0."""

    def __init__(self, period: int) -> None:
        self._period = period
        self._passed = 0

    def due(self, step: int) -> bool:
        """Whether a multiple of the period lies between the last call and this one."""
        passed = step // self._period if self._period else 0
        due, self._passed = passed > self._passed, passed
        return due

    def state_dict(self) -> dict[str, int]:
        """How many periods have passed."""
        return {"passed": self._passed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Puts back what `state_dict` gave."""
        self._passed = state["passed"]


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
        text = "" if score is None else f"score {score_text(score)}"
        self._bar.update(self._task, completed=step, description=text)

    def __exit__(self, *error: object) -> None:
        self._bar.stop()
