"""`lab train ALGORITHM|MODEL`: learns, and leaves a run folder."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

import agents.registry
import generative.registry
from agents.evaluation import evaluate
from envs import make
from generative import data
from lab.arguments import parse, peek
from training.checkpoint import forget_after
from training.config import from_dict
from training.driver import Driver, Evaluate, Outcome, resume
from training.errors import InputError
from training.folder import RunFolder, new_path, read_config
from training.metrics import Metrics
from training.networks import evaluating
from training.seeds import seed_global, stream
from training.state import Tree, capture, restore
from training.wandb_log import WandbLog

C = TypeVar("C")

EVALUATION_EPISODES = 20
MOST_SELECTED = 5_000  # rows that an evaluation of a model looks at


@dataclass(frozen=True)
class Train(Generic[C]):
    """What `lab train` is told beside the settings."""

    settings: C
    dir: Path | None = None  # the folder of the run, new; default: the next free one under runs/
    config: Path | None = None  # start from the settings of a run folder or its config.json


def main(words: list[str]) -> None:
    """Parses and runs `lab train KIND ...`."""
    modules = agents.registry.MODULES | generative.registry.MODULES
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
    subject = cfg.env if hasattr(cfg, "env") else cfg.data
    path = told.dir or new_path(f"{kind}-{Path(subject).stem}")
    outcome = learn(kind, cfg, path, f"{kind} on {subject}, {said}; seed {cfg.run.seed}; {path}")
    print(ending(path, outcome))
    if outcome.signal is not None:
        raise SystemExit(128 + outcome.signal)


@dataclass(frozen=True)
class Work:
    """A learner and what drives it: the same for a new run and for one that goes on."""

    updates: Iterator[tuple[int, Metrics]]
    save: Callable[[Path], None]
    evaluate: Evaluate
    state: Callable[[], Tree]
    put_back: Callable[[Tree], None]
    subject: str  # what is learned: an environment or data
    about: str = ""  # more to say about it


def agent_work(kind: str, cfg: Any) -> Work:
    """A new agent and its environments."""
    envs = make(cfg.env, cfg.num_envs, stream(cfg.run.seed, "envs") % 2**31)
    module = agents.registry.MODULES[kind]
    learner = module.Learner(cfg, envs.spaces)
    envs.to(learner.device)

    def evaluation() -> tuple[float, Mapping[str, float]]:
        episodes = evaluate(
            learner.model.act,
            cfg.env,
            EVALUATION_EPISODES,
            stream(cfg.run.seed, "evaluation"),
            learner.device,
        )
        score = float(episodes.returns.mean())
        return score, {"eval/return": score, "eval/length": float(episodes.length.mean())}

    def put_back(tree: Tree) -> None:
        restore(learner, tree["learner"])
        envs.load_state_dict(tree["envs"])

    return Work(
        updates=module.train(cfg, learner, envs),
        save=lambda to: agents.registry.save(to, kind, learner),
        evaluate=evaluation,
        state=lambda: {"learner": capture(learner, learner.STATE), "envs": envs.state_dict()},
        put_back=put_back,
        subject=cfg.env,
    )


def model_work(kind: str, cfg: Any) -> Work:
    """A new generative model and its data, in disjoint parts to fit, to select and for tests."""
    table = data.load(cfg.data, missing=getattr(cfg, "missing", False))
    fit, select, test = generative.registry.parts(table, cfg.run.seed)
    module = generative.registry.module(kind)
    learner = generative.registry.new_learner(kind, cfg, table, fit)
    selection = torch.from_numpy(table.x[select[:MOST_SELECTED]]).to(learner.device)
    labels = None if table.y is None else torch.from_numpy(table.y[select[:MOST_SELECTED]]).to(learner.device)
    fingerprint = table.fingerprint()

    def evaluation() -> tuple[float, Mapping[str, float]]:
        with torch.no_grad(), evaluating(learner.model):
            return learner.model.measure(selection, labels)

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
        subject=Path(cfg.data).stem,
        about=f"{len(fit)} rows to fit, {len(select)} to select, {len(test)} kept for tests",
    )


def learn(kind: str, cfg: Any, path: Path, said: str = "") -> Outcome:
    """Learns in the new run folder `path`, from the start to the end; prints `said` when all is ready."""
    torch.set_num_threads(cfg.run.threads)
    seed_global(cfg.run.seed)
    work = _work(kind, cfg)
    folder = RunFolder(path, kind, asdict(cfg))
    if said:
        print("\n".join(filter(None, (said, work.about))))
    try:
        return _drive(kind, cfg, folder, work, None)
    except InputError:  # a setting that only learning could refuse
        folder.discard()
        raise


def go_on(kind: str, cfg: Any, folder: RunFolder, tree: Tree) -> Outcome:
    """Goes on in the run of `folder` from a checkpoint's tree; from the start when that is None."""
    torch.set_num_threads(cfg.run.threads)
    return _drive(kind, cfg, folder, _work(kind, cfg), tree)


def _work(kind: str, cfg: Any) -> Work:
    return agent_work(kind, cfg) if kind in agents.registry.MODULES else model_work(kind, cfg)


def _drive(kind: str, cfg: Any, folder: RunFolder, work: Work, tree: Tree) -> Outcome:
    run_id = tree["driver"]["wandb"] if tree is not None else None
    log = WandbLog(cfg.run, folder.path, folder.config, f"{kind}/{work.subject}", run_id)
    told = json.dumps(asdict(cfg))

    def state() -> Tree:
        return {**work.state(), "config": told}

    driver = Driver(cfg.run, folder, save=work.save, evaluate=work.evaluate, state=state, log=log)
    try:
        if tree is not None and tree["run"]["config"] != told:
            raise InputError(f"{folder.path}/config.json has changed since the checkpoint: put it back")
        forget_after(folder.path, tree["driver"]["step"] if tree is not None else 0)
        if tree is None:
            folder.cut(0)
        else:
            resume(driver, tree, work.put_back)
        return driver.run(work.updates)
    finally:
        log.close()
        folder.close()


def ending(path: Path, outcome: Outcome) -> str:
    """How a run ended, in a line."""
    how = f"interrupted (`lab resume {path}` goes on)" if outcome.signal is not None else "done"
    scores = ""
    if outcome.score is not None and outcome.best is not None:
        scores = f"; score {outcome.score:.4g}, best {outcome.best:.4g}"
    return f"{path}: {how} after {outcome.step:,} steps in {outcome.seconds:.1f} s{scores}"


def _defaults(kind: str, config: type, words: list[str]) -> tuple[Any, str]:
    """Where the settings start, and how to say so: a file, a preset, or the defaults."""
    if file := peek(words, "--config"):
        found = read_config(Path(file))
        if found["kind"] != kind:
            raise InputError(f"{file} configures {found['kind']!r}, expected {kind!r}")
        return from_dict(config, found["config"], file), f"settings of {file}"
    if kind in generative.registry.MODULES:
        source = peek(words, "--data") or config().data
        known = Path(source).stem in generative.registry.PRESETS[kind]
        return generative.registry.preset(
            kind, source
        ), "the preset of the pair" if known else "default settings"
    presets, default = agents.registry.PRESETS[kind], config()
    subject = peek(words, "--env") or default.env
    if subject in presets:
        return presets[subject], "the preset of the pair"
    return replace(default, env=subject), "default settings"
