"""How anything learns: the learner, its run folder, its driver; for a new run and for one that goes on."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import agents.registry
import generative.registry
from agents.evaluation import evaluate
from envs import make
from generative import data
from training import distributed
from training.checkpoint import forget_after, load_checkpoint
from training.config import from_dict
from training.diagnostics import Diagnostics, dead_units
from training.driver import Driver, Evaluate, Outcome, resume
from training.errors import InputError
from training.folder import RunFolder, read_config
from training.metrics import Metrics
from training.networks import evaluating
from training.optim import Descent
from training.seeds import seed_global, stream
from training.state import Tree, capture, restore
from training.wandb_log import WandbLog

EVALUATION_EPISODES = 20
DEAD_ROWS = 2_048  # rows of the last evaluation on which a unit must move to be alive
TOGETHER = ("ppo", "autoencoder", "vae")  # what several processes can learn as one


@dataclass(frozen=True)
class Work:
    """A learner and what drives it: the same for a new run and for one that goes on."""

    updates: Iterator[tuple[int, Metrics]]
    save: Callable[[Path], None]
    evaluate: Evaluate
    subject: str  # what is learned: an environment or data
    state: Callable[[], Tree] | None = None  # without it the run cannot be resumed
    put_back: Callable[[Tree], None] | None = None
    roll_back: Callable[[Tree], None] | None = None
    diagnose: Callable[[], Mapping[str, float]] | None = None
    about: str = ""  # more to say about it


def agent_work(kind: str, cfg: Any) -> Work:
    """A new agent and its environments."""
    num_envs = _share(cfg.num_envs, "num_envs")
    envs = make(cfg.env, num_envs, stream(cfg.run.seed, distributed.own("envs")) % 2**31)
    module = agents.registry.MODULES[kind]
    learner = module.Learner(cfg, envs.spaces)
    envs.to(learner.device)

    def put_back(tree: Tree) -> None:
        restore(learner, tree["learner"])
        envs.load_state_dict(tree["envs"])

    return Work(
        updates=module.train(cfg, learner, envs),
        save=lambda to: agents.registry.save(to, kind, learner),
        evaluate=partial(_judge, learner, cfg),
        subject=cfg.env,
        state=lambda: {"learner": capture(learner, learner.STATE), "envs": envs.state_dict()},
        put_back=put_back,
        roll_back=partial(_roll_back, learner),
        diagnose=Diagnostics(learner),
    )


def engine_work(kind: str, cfg: Any) -> Work:
    """A new agent of another library, which keeps its state and its environments to itself."""
    learner = agents.registry.ENGINES[kind].Learner(cfg)
    return Work(
        updates=learner.updates(),
        save=lambda to: agents.registry.save(to, kind, learner),
        evaluate=partial(_judge, learner, cfg),
        subject=cfg.env,
        about=f"{cfg.algo} of another library: its runs cannot be resumed",
    )


def _judge(learner: Any, cfg: Any) -> tuple[float, Mapping[str, float]]:
    """The mean return of what an agent has learned so far, and its metrics."""
    seed = stream(cfg.run.seed, "evaluation")
    episodes = evaluate(learner.model.act, cfg.env, EVALUATION_EPISODES, seed, learner.device)
    score = float(episodes.returns.mean())
    seen = torch.from_numpy(episodes.obs[:: max(1, len(episodes.obs) // DEAD_ROWS)])
    with dead_units(learner.model) as dead:
        learner.model.act(seen.to(learner.device))
    return score, {"eval/return": score, "eval/length": float(episodes.length.mean()), **dead}


def model_work(kind: str, cfg: Any) -> Work:
    """A new generative model and its data: 70 % of the rows to fit, 15 % to select, the rest for tests."""
    table = data.load(cfg.data)
    fit, select, test = generative.registry.parts(table, cfg.run.seed)
    _share(getattr(cfg, "batch", 0), "batch")
    module = generative.registry.module(kind)
    learner = module.Learner(cfg, torch.from_numpy(table.x[fit]))
    selection = torch.from_numpy(table.x[select]).to(learner.device)
    fingerprint = table.fingerprint()

    def evaluation() -> tuple[float, Mapping[str, float]]:
        with torch.no_grad(), evaluating(learner.model), dead_units(learner.model) as dead:
            score = float(learner.model.score(selection).mean())
            error = float(learner.model.reconstruction_error(selection).mean())
        return -score, {"eval/score": score, "eval/reconstruction_error": error, **dead}

    def put_back(tree: Tree) -> None:
        if tree["fingerprint"] != fingerprint:
            raise InputError(f"{cfg.data} has changed since the run began, expected the same rows")
        restore(learner, tree["learner"])

    return Work(
        updates=module.train(cfg, learner),
        save=lambda to: generative.registry.save(to, kind, learner, table),
        evaluate=evaluation,
        subject=Path(cfg.data).stem,
        state=lambda: {"learner": capture(learner, learner.STATE), "fingerprint": fingerprint},
        put_back=put_back,
        roll_back=partial(_roll_back, learner),
        diagnose=Diagnostics(learner),
        about=f"{len(fit)} rows to fit, {len(select)} to select, {len(test)} kept for tests",
    )


def _roll_back(learner: object, tree: Tree) -> None:
    """Puts back what a step of an optimizer changes, and nothing else: batches and noise go on."""
    state = tree["learner"]
    restore(learner, {k: v for k, v in state.items() if isinstance(getattr(learner, k), nn.Module | Descent)})


def _share(count: int, name: str) -> int:
    """This process's part of what all processes share evenly."""
    world = distributed.world()
    if count % world:
        raise InputError(f"{name} is {count}, expected a multiple of the {world} processes that share it")
    return count // world


def learn(kind: str, cfg: Any, path: Path, said: str = "") -> Outcome:
    """Learns in the new run folder `path`, from the start to the end; prints `said` when all is ready."""
    work = _work(kind, cfg)
    if distributed.rank():
        distributed.wait()
    folder = RunFolder(_place(path), kind, asdict(cfg))
    if not distributed.rank():
        distributed.wait()
        print("\n".join(filter(None, (said, work.about))), end="\n" if said else "")
    try:
        return _drive(kind, cfg, folder, work, None)
    except InputError:  # a setting that only learning could refuse
        folder.discard()
        raise


def go_on(path: Path) -> Outcome | None:
    """Goes on with the run of `path` from its last checkpoint, or from its start; None if it is finished."""
    kind = read_config(path)["kind"]
    if kind in agents.registry.ENGINES:
        raise InputError(f"{path} is a run of {kind}, which cannot be resumed: train it again")
    folder = RunFolder.reopen(_place(path))
    modules = agents.registry.MODULES | generative.registry.MODULES
    if kind not in modules:
        raise InputError(f"{path} is a run of {kind!r}, expected one of {', '.join(modules)}")
    cfg = from_dict(modules[kind].Config, folder.config["config"], f"{path}/config.json")
    tree = _last_checkpoint(folder.path)
    if tree is not None and tree["driver"]["finished"]:
        _say(f"{path} is finished: {tree['driver']['step']:,} steps")
        return None
    if tree is None:
        _say(f"{path} has no checkpoint yet: it starts again")
    else:
        _say(f"{path} goes on after {tree['driver']['step']:,} steps")
    return _drive(kind, cfg, folder, _work(kind, cfg), tree)


def finish(path: Path, outcome: Outcome | None, resumable: bool = True) -> None:
    """Says how a run ended; a signal that ended it becomes the exit code."""
    if outcome is None:
        return
    how = "done"
    if outcome.signal is not None:
        how = f"interrupted (`lab resume {path}` goes on)" if resumable else "interrupted for good"
    scores = ""
    if outcome.score is not None and outcome.best is not None:
        scores = f"; score {outcome.score:.4g}, best {outcome.best:.4g}"
    _say(f"{path}: {how} after {outcome.step:,} steps in {outcome.seconds:.1f} s{scores}")
    if outcome.signal is not None:
        raise SystemExit(128 + outcome.signal)


def _work(kind: str, cfg: Any) -> Work:
    torch.set_num_threads(cfg.run.threads)
    seed_global(cfg.run.seed)
    if distributed.world() > 1 and kind not in TOGETHER:
        raise InputError(f"{kind} learns in one process, expected one of {', '.join(TOGETHER)} for more")
    if kind in agents.registry.ENGINES:
        return engine_work(kind, cfg)
    return agent_work(kind, cfg) if kind in agents.registry.MODULES else model_work(kind, cfg)


def _drive(kind: str, cfg: Any, folder: RunFolder, work: Work, tree: Tree) -> Outcome:
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
        roll_back=work.roll_back,
        log=log,
    )
    try:
        forget_after(folder.path, tree["driver"]["step"] if tree is not None else 0)
        if tree is None:
            folder.cut(0)
        else:
            _check_unchanged(folder.path, tree["run"], told)
            assert work.put_back is not None  # only runs with a state have checkpoints
            resume(driver, tree, work.put_back)
        return driver.run(work.updates)
    finally:
        if log is not None:
            log.close()
        folder.close()


def _check_unchanged(path: Path, state: Tree, told: str) -> None:
    if state["config"] != told:
        raise InputError(f"{path}/config.json has changed since the checkpoint: put it back")
    if state["world"] != distributed.world():
        there = state["world"]
        raise InputError(f"{path} was left by {there} processes, expected {distributed.world()} as now")


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


def _say(text: str) -> None:
    if not distributed.rank():
        print(text)
