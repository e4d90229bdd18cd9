"""A learner in a run folder: a new run, or one that goes on; in one process or in several."""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from training import distributed
from training.checkpoint import forget_after, load_checkpoint
from training.config import from_dict
from training.device import set_process
from training.diagnostics import Diagnostics
from training.driver import Driver, Evaluate, Outcome, Show, resume
from training.errors import InputError
from training.folder import RunFolder, score_text
from training.metrics import Metrics
from training.optim import Descent
from training.state import Tree, capture, restore
from training.transfer import freeze, take_over, within
from training.wandb_log import WandbLog


@dataclass(frozen=True)
class Work:
    """A learner and what drives it: the same for a new run and for one that goes on."""

    updates: Iterator[tuple[int, Metrics]]
    save: Callable[[Path], None]
    evaluate: Evaluate
    subject: str  # what is learned: an environment or data
    start: Callable[[], str] = str  # what a run does that begins, and not one that goes on; says what it did
    state: Callable[[], Tree] | None = None  # without it the run cannot be resumed
    put_back: Callable[[Tree], None] | None = None
    roll_back: Callable[[Tree], None] | None = None
    diagnose: Callable[[], Mapping[str, float]] | None = None
    show: Show | None = None
    about: str = ""  # more to say about it
    checkpoint_every: int = 0  # steps between checkpoints where one changes what follows
    close: Callable[[], None] = lambda: None  # frees what the work holds, such as environments

    @staticmethod
    def of(
        learner: Any,
        updates: Iterator[tuple[int, Metrics]],
        *,
        save: Callable[[Path], None],
        evaluate: Evaluate,
        subject: str,
        state: Callable[[], Tree] = dict,
        put_back: Callable[[Tree], None] = lambda tree: None,
        own: Collection[str] = (),
        renamed: Mapping[str, str] = MappingProxyType({}),
        alike: Mapping[str, str] = MappingProxyType({}),
        show: Show | None = None,
        about: str = "",
        checkpoint_every: int = 0,
        close: Callable[[], None] = lambda: None,
    ) -> "Work":
        """The work of a learner that has its settings in `cfg` and lists what it must remember in `STATE`.

        `state` and `put_back` are for what must be remembered beside it, such as environments; `own`,
        `renamed` and `alike` say how it takes over the weights of another run.
        """
        frozen: list[str] = []

        def start() -> str:
            run = learner.cfg.run
            if run.init_from is None:
                return ""
            found = take_over(learner, Path(run.init_from), own, renamed, alike)
            frozen[:] = within(found.taken, run.freeze)
            freeze(learner, frozen)
            return str(found)

        if learner.cfg.run.precision == "fp16":
            for optimizer in (part for part in vars(learner).values() if isinstance(part, Descent)):
                optimizer.scale_losses()

        def put_all_back(tree: Tree) -> None:
            put_back(tree)
            frozen[:] = tree["frozen"]
            freeze(learner, frozen)
            restore(learner, tree["learner"])

        return Work(
            updates,
            save,
            evaluate,
            subject,
            start=start,
            state=lambda: {**state(), "frozen": frozen, "learner": capture(learner, learner.STATE)},
            put_back=put_all_back,
            roll_back=partial(_roll_back, learner),
            diagnose=Diagnostics(learner),
            show=show,
            about=about,
            checkpoint_every=checkpoint_every,
            close=close,
        )


def _roll_back(learner: object, tree: Tree) -> None:
    """Puts back what a step of an optimizer changes, and nothing else: batches and noise go on."""
    parts = {name: getattr(learner, name) for name in tree["learner"]}
    weights = [name for name, part in parts.items() if isinstance(part, nn.Module | Descent)]
    restore(learner, {name: tree["learner"][name] for name in weights})


def begin(path: Path, kind: str, cfg: Any, work: Work, said: str = "") -> Outcome:
    """Learns in the new run folder `path`; `cfg` is a dataclass with a RunConfig in `cfg.run`.

    Prints `said` when all is ready.

    Raises:
        InputError: when there is something at `path` already.
    """
    with closing(work):
        started = work.start()
        if distributed.rank():
            distributed.wait()
        folder = RunFolder(_place(path), kind, asdict(cfg))
        if not distributed.rank():
            distributed.wait()
        if said:
            say("\n".join(filter(None, (said, work.about, started))))
        try:
            return _drive(kind, cfg, folder, work, None)
        except InputError:  # a setting that only learning could refuse
            folder.discard()
            raise


def go_on(path: Path, kind: str, cfg: Any, work: Callable[[], Work]) -> Outcome | None:
    """Goes on with the run of `path` from its last checkpoint, or from its start; None if it is finished.

    Raises:
        InputError: when the settings or the number of processes have changed, or another has it open.
    """
    folder = RunFolder.reopen(_place(path))
    tree = _last_checkpoint(folder.path)
    if tree is not None and tree["driver"]["finished"]:
        say(f"{path} is finished: {tree['driver']['step']:,} steps")
        folder.close()
        return None
    if tree is None:
        say(f"{path} has no checkpoint yet: it starts again")
    else:
        say(f"{path} goes on after {tree['driver']['step']:,} steps")
    with closing(folder), closing(work()) as made:
        if tree is None:
            made.start()
        return _drive(kind, cfg, folder, made, tree)


def finish(path: Path, outcome: Outcome | None, how_to_go_on: str = "") -> None:
    """Says how a run ended; a signal that ended it becomes the exit code."""
    if outcome is None:
        return
    how = "done"
    if outcome.signal is not None:
        how = f"interrupted ({how_to_go_on})" if how_to_go_on else "interrupted for good"
    scores = ""
    if outcome.score is not None and outcome.best is not None:
        scores = f"; score {score_text(outcome.score)}, best {score_text(outcome.best)}"
    say(f"{path}: {how} after {outcome.step:,} steps in {outcome.seconds:.1f} s{scores}")
    if outcome.signal is not None:
        raise SystemExit(128 + outcome.signal)


def share(count: int, name: str) -> int:
    """This process's part of what all processes share evenly; `name` is for the message."""
    world = distributed.world()
    if count % world:
        raise InputError(f"{name} is {count}, expected a multiple of the {world} processes that share it")
    return count // world


def say(text: str) -> None:
    """Prints, in the first process only."""
    if not distributed.rank():
        print(text)


def _drive(kind: str, cfg: Any, folder: RunFolder, work: Work, tree: Tree) -> Outcome:
    set_process(cfg.run.threads, cfg.run.precision)
    run_id = tree["driver"]["wandb"] if tree is not None else None
    log = None
    if not distributed.rank():
        log = WandbLog(cfg.run, folder.path, folder.config, f"{kind}/{work.subject}", run_id)
    told, world = json.dumps(asdict(cfg)), distributed.world()
    remembered = work.state
    driver = Driver(
        cfg.run,
        folder,
        save=work.save,
        evaluate=work.evaluate,
        state=remembered and (lambda: {**remembered(), "config": told, "world": world}),
        diagnose=work.diagnose,
        show=work.show,
        roll_back=work.roll_back,
        log=log,
        checkpoint_every=work.checkpoint_every,
    )
    try:
        if tree is not None:
            _check_unchanged(folder.path, tree["run"], cfg)
        forget_after(folder.path, tree["driver"]["step"] if tree is not None else 0)
        if tree is None:
            folder.cut(0)
        else:
            assert work.put_back is not None  # only runs with a state have checkpoints
            resume(driver, tree, work.put_back)
        outcome = driver.run(work.updates)
        if log is not None and outcome.signal is None:
            log.keep(folder.path / "model")
        return outcome
    finally:
        if log is not None:
            log.close()
        folder.close()


def _check_unchanged(path: Path, state: Tree, cfg: Any) -> None:
    """Raises InputError where a run would go on with other settings; those that are newer than its checkpoint
    were their defaults then."""
    before = json.loads(state["config"])
    if before != json.loads(json.dumps(asdict(cfg))):
        found = _difference(from_dict(type(cfg), before, f"the checkpoint of {path}"), cfg)
        if found:
            raise InputError(f"{path}/config.json has changed since the checkpoint: {found}, put it back")
    if state["world"] != distributed.world():
        there = state["world"]
        raise InputError(f"{path} was left by {there} processes, expected {distributed.world()} as now")


def _difference(before: Any, now: Any, name: str = "it") -> str:
    """The first field in which two groups of settings differ, what it was and what it is; else nothing."""
    if is_dataclass(now):
        pairs = ((f.name, getattr(before, f.name), getattr(now, f.name)) for f in fields(now))
        return next(filter(None, (_difference(was, value, field) for field, was, value in pairs)), "")
    return "" if before == now else f"{name} was {before!r} and is {now!r}"


def _place(path: Path) -> Path:
    """Where this process writes: the first one to the run's folder, the others below it."""
    return path / f"rank_{distributed.rank()}" if distributed.rank() else path


def _last_checkpoint(path: Path) -> Tree:
    """The last checkpoint that every process has."""
    at_most = math.inf
    while True:
        tree = load_checkpoint(path, at_most)
        step = tree["driver"]["step"] if tree is not None else 0
        at_most = distributed.least(step)
        if distributed.most(step) == at_most:
            return tree
