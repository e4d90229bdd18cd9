"""`lab train ALGORITHM|MODEL`: learns, and leaves a run folder."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import nn

import agents.registry
import generative.registry
from agents.evaluation import evaluate
from envs import make
from envs.vector import split
from generative import data
from lab.arguments import parse, peek
from training import distributed
from training.checkpoint import forget_after, load_checkpoint
from training.config import from_dict
from training.diagnostics import Diagnostics, dead_units
from training.driver import Driver, Evaluate, Outcome, resume
from training.errors import InputError
from training.folder import RunFolder, new_path, read_config
from training.metrics import Metrics
from training.networks import evaluating
from training.optim import Descent
from training.seeds import seed_global, stream
from training.state import Tree, capture, restore
from training.wandb_log import WandbLog

C = TypeVar("C")

EVALUATION_EPISODES = 20
TOGETHER = ("ppo", "autoencoder", "vae")  # what several processes can learn as one
DEAD_ROWS = 2_048  # rows of the last evaluation on which a unit must move to be alive


@dataclass(frozen=True)
class Train(Generic[C]):
    """What `lab train` is told beside the settings."""

    settings: C
    dir: Path | None = None  # the folder of the run, new; default: the next free one under runs/
    backend: Literal["gymnasium", "envpool", "tensor"] | None = None  # what steps an agent's environments
    config: Path | None = None  # start from the settings of a run folder or its config.json


def main(words: list[str]) -> None:
    """Parses and runs `lab train KIND ...`, in one process or in each of those that torchrun started."""
    with distributed.joined():
        _main(words)


def _main(words: list[str]) -> None:
    modules = agents.registry.MODULES | agents.registry.ENGINES | generative.registry.MODULES
    kinds = ", ".join(modules)
    if not words or words[0].startswith("-"):
        if "--help" in words or "-h" in words:
            print(f"usage: lab train KIND [OPTIONS], KIND being one of {kinds}")
            return
        raise InputError(f"lab train needs what to train first, expected one of {kinds}")
    kind, words = words[0], words[1:]
    if kind not in modules:
        raise InputError(f"lab train {kind}: expected one of {kinds}")
    module = modules[kind]
    start, said = _defaults(kind, module.Config, words)
    about = (module.__doc__ or "").split("\n\n")[0]
    told = parse(Train[module.Config], words, f"lab train {kind}", about, Train(start))  # type: ignore[name-defined]
    cfg = told.settings
    if told.backend is not None:
        cfg = _with_backend(kind, cfg, told.backend)
    subject = cfg.env if hasattr(cfg, "env") else cfg.data
    if told.dir is None and distributed.restarts():
        raise InputError("dir is not given, expected a folder to go on in when torchrun restarts the run")
    path = told.dir or Path(distributed.first_text(str(new_path(f"{kind}-{Path(subject).stem}"))))
    if distributed.restarted() and (path / "config.json").exists():
        finish(path, go_on(path))
    else:
        outcome = learn(kind, cfg, path, f"{kind} on {subject}, {said}; seed {cfg.run.seed}; {path}")
        finish(path, outcome, resumable=kind not in agents.registry.ENGINES)


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
        state=lambda: {"learner": capture(learner, learner.STATE), "envs": envs.state_dict()},
        put_back=put_back,
        roll_back=lambda tree: restore(learner, _weights(learner, tree["learner"])),
        diagnose=Diagnostics(learner),
        subject=cfg.env,
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
    some = episodes.obs[:: max(1, len(episodes.obs) // DEAD_ROWS)]
    with dead_units(learner.model) as dead:
        learner.model.act(torch.from_numpy(some).to(learner.device))
    score = float(episodes.returns.mean())
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
        state=lambda: {"learner": capture(learner, learner.STATE), "fingerprint": fingerprint},
        put_back=put_back,
        roll_back=lambda tree: restore(learner, _weights(learner, tree["learner"])),
        diagnose=Diagnostics(learner),
        subject=Path(cfg.data).stem,
        about=f"{len(fit)} rows to fit, {len(select)} to select, {len(test)} kept for tests",
    )


def _weights(learner: object, state: Tree) -> Tree:
    """The part of a learner's state that a step of an optimizer changes."""
    return {k: v for k, v in state.items() if isinstance(getattr(learner, k), nn.Module | Descent)}


def _share(count: int, name: str) -> int:
    """This process's part of what all processes share evenly."""
    world = distributed.world()
    if count % world:
        raise InputError(f"{name} is {count}, expected a multiple of the {world} processes that share it")
    return count // world


def learn(kind: str, cfg: Any, path: Path, said: str = "") -> Outcome:
    """Learns in the new run folder `path`, from the start to the end; prints `said` when all is ready."""
    torch.set_num_threads(cfg.run.threads)
    seed_global(cfg.run.seed)
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
    kind = read_config(_place(path))["kind"]
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
    torch.set_num_threads(cfg.run.threads)
    seed_global(cfg.run.seed)
    return _drive(kind, cfg, folder, _work(kind, cfg), tree)


def finish(path: Path, outcome: Outcome | None, resumable: bool = True) -> None:
    """Says how a run ended; a signal that ended it becomes the exit code."""
    if outcome is None:
        return
    _say(ending(path, outcome, resumable))
    if outcome.signal is not None:
        raise SystemExit(128 + outcome.signal)


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


def _work(kind: str, cfg: Any) -> Work:
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
    told = json.dumps(asdict(cfg))
    world = distributed.world()

    remembered = work.state
    state = remembered and (lambda: {**remembered(), "config": told, "world": world})
    driver = Driver(
        cfg.run,
        folder,
        save=work.save,
        evaluate=work.evaluate,
        state=state,
        diagnose=work.diagnose,
        roll_back=work.roll_back,
        log=log,
    )
    try:
        if tree is not None and tree["run"]["config"] != told:
            raise InputError(f"{folder.path}/config.json has changed since the checkpoint: put it back")
        if tree is not None and tree["run"]["world"] != world:
            there = tree["run"]["world"]
            raise InputError(f"{folder.path} was left by {there} processes, expected {world} as now")
        forget_after(folder.path, tree["driver"]["step"] if tree is not None else 0)
        if tree is None:
            folder.cut(0)
        else:
            assert work.put_back is not None  # only runs with a state have checkpoints
            resume(driver, tree, work.put_back)
        return driver.run(work.updates)
    finally:
        if log is not None:
            log.close()
        folder.close()


def ending(path: Path, outcome: Outcome, resumable: bool = True) -> str:
    """How a run ended, in a line."""
    how = "done"
    if outcome.signal is not None:
        how = f"interrupted (`lab resume {path}` goes on)" if resumable else "interrupted for good"
    scores = ""
    if outcome.score is not None and outcome.best is not None:
        scores = f"; score {outcome.score:.4g}, best {outcome.best:.4g}"
    return f"{path}: {how} after {outcome.step:,} steps in {outcome.seconds:.1f} s{scores}"


def _with_backend(kind: str, cfg: Any, backend: str) -> Any:
    """The settings with another backend, which is part of the name of the environment."""
    if kind not in agents.registry.MODULES:
        raise InputError(f"backend is {backend}, expected none: {kind} has no environments of ours")
    name = split(cfg.env)[1]
    return replace(cfg, env=name if backend == "gymnasium" else f"{backend}/{name}")


def _defaults(kind: str, config: type, words: list[str]) -> tuple[Any, str]:
    """Where the settings start, and how to say so: a file, a preset, or the defaults."""
    if file := peek(words, "--config"):
        found = read_config(Path(file))
        if found["kind"] != kind:
            raise InputError(f"{file} configures {found['kind']!r}, expected {kind!r}")
        return from_dict(config, found["config"], file), f"settings of {file}"
    presets = (agents.registry.PRESETS | generative.registry.PRESETS).get(kind, {})
    default = config()
    flag = "env" if hasattr(default, "env") else "data"
    subject = peek(words, f"--{flag}") or getattr(default, flag)
    name = split(subject)[1] if flag == "env" else subject
    if name in presets:
        return replace(presets[name], **{flag: subject}), "the preset of the pair"
    return replace(default, **{flag: subject}), "default settings"
