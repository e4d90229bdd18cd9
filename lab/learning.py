"""What `lab train` and `lab resume` set to work: an agent, one of another library, a generative model."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

import agents.registry
import generative.registry
from agents.evaluation import evaluate
from envs import make
from envs.checking import check
from envs.drawing import drawing
from envs.vector import split
from generative import data
from generative.parts.rows import watched
from lab.snapshots import episode, snapshots
from lab.trust import check_trust
from training import distributed, session
from training.config import from_dict
from training.diagnostics import dead_units
from training.driver import Outcome
from training.errors import InputError
from training.folder import read_config
from training.networks import evaluating
from training.seeds import seed_global, stream
from training.session import Work, share
from training.state import Tree

EVALUATION_EPISODES = 20
MOST_SELECTED = 5_000  # rows that an evaluation of a model looks at
DEAD_ROWS = 2_048  # rows of the last evaluation on which a unit must move to be alive
TOGETHER = ("ppo", "autoencoder", "denoiser", "gan", "vae")  # what several processes can learn as one


def learn(kind: str, cfg: Any, path: Path, said: str = "") -> Outcome:
    """Learns in the new run folder `path`, from the start to the end; prints `said` when all is ready."""
    return session.begin(path, kind, cfg, _work(kind, cfg), said)


def go_on(path: Path, trust: bool = False) -> Outcome | None:
    """Goes on with the run of `path` from its last checkpoint, or from its start; None if it is finished.

    With `trust` the class that it may name as its environment is imported.
    """
    found = read_config(path)
    kind = found["kind"]
    if kind in agents.registry.ENGINES:
        raise InputError(f"{path} is a run of {kind}, which cannot be resumed: train it again")
    modules = agents.registry.MODULES | generative.registry.MODULES
    if kind not in modules:
        raise InputError(f"{path} is a run of {kind!r}, expected one of {', '.join(modules)}")
    cfg = from_dict(modules[kind].Config, found["config"], f"{path}/config.json")
    check_trust(getattr(cfg, "env", None), trust, path)
    return session.go_on(path, kind, cfg, partial(_work, kind, cfg))


def finish(path: Path, kind: str, outcome: Outcome | None) -> None:
    """Says how a run ended; a signal that ended it becomes the exit code."""
    resumable = kind not in agents.registry.ENGINES
    session.finish(path, outcome, f"`lab resume {path}` goes on" if resumable else "")


def _work(kind: str, cfg: Any) -> Work:
    seed_global(cfg.run.seed)
    if distributed.world() > 1 and kind not in TOGETHER:
        raise InputError(f"{kind} learns in one process, expected one of {', '.join(TOGETHER)} for more")
    if hasattr(cfg, "env") and cfg.run.video:
        drawing(cfg.env).close()  # refuses before anything is learned
    if kind in agents.registry.ENGINES:
        if cfg.run.init_from is not None:
            raise InputError(f"{kind} is another library, which cannot start from {cfg.run.init_from}")
        return engine_work(kind, cfg)
    return agent_work(kind, cfg) if kind in agents.registry.MODULES else model_work(kind, cfg)


def agent_work(kind: str, cfg: Any) -> Work:
    """A new agent and its environments."""
    num_envs = share(cfg.num_envs, "num_envs")
    envs = make(cfg.env, num_envs, stream(cfg.run.seed, distributed.own("envs")) % 2**31)
    check(split(cfg.env)[1])
    if envs.spaces.picture and kind not in (see := agents.registry.PICTURES):
        raise InputError(f"{cfg.env} shows pictures, expected one of {', '.join(see)} instead of {kind}")
    if (warm_up := getattr(cfg, "warm_up", 0)) >= cfg.run.steps:
        raise InputError(f"warm_up is {warm_up} of {cfg.run.steps} steps, expected less: nothing is learned")
    module = agents.registry.MODULES[kind]
    learner = module.Learner(cfg, envs.spaces)
    envs.to(learner.device)
    checkpoint_every = envs.checkpoint_every * cfg.num_envs
    about = f"a checkpoint every {checkpoint_every:,} steps, where all episodes begin again"
    return Work.of(
        learner,
        module.train(cfg, learner, envs),
        save=lambda to: agents.registry.save(to, kind, learner),
        evaluate=partial(_judge, learner, cfg),
        subject=cfg.env,
        state=lambda: {"envs": envs.state_dict()},
        put_back=lambda tree: envs.load_state_dict(tree["envs"]),
        renamed={"encoder": "net"},
        show=partial(_film, learner, cfg) if cfg.run.video else None,
        about=about if checkpoint_every else "",
        checkpoint_every=checkpoint_every,
        close=envs.close,
        alike={"smooth": "net"},
    )


def engine_work(kind: str, cfg: Any) -> Work:
    """A new agent of another library, which keeps its state and its environments to itself."""
    learner = agents.registry.ENGINES[kind].Learner(cfg)
    return Work(
        updates=learner.updates(),
        save=lambda to: agents.registry.save(to, kind, learner),
        evaluate=partial(_judge, learner, cfg),
        subject=cfg.env,
        show=partial(_film, learner, cfg) if cfg.run.video else None,
        about=f"{cfg.algo} of another library: its runs cannot be resumed",
        close=learner.close,
    )


def _film(learner: Any, cfg: Any, run: Path, step: int) -> Mapping[str, Path]:
    act, seed = learner.model.act, stream(cfg.run.seed, "evaluation")
    return episode(act, cfg.env, seed, learner.device, run, step)


def _judge(learner: Any, cfg: Any) -> tuple[float, Mapping[str, float]]:
    """The mean return of what an agent has learned so far, and its metrics."""
    seed = stream(cfg.run.seed, "evaluation")
    episodes = evaluate(learner.model.act, cfg.env, EVALUATION_EPISODES, seed, learner.device)
    score = float(episodes.returns.mean())
    told = {"eval/return": score, "eval/length": float(episodes.length.mean())}
    if not episodes.obs.shape[1]:  # pictures are not kept
        return score, told
    seen = torch.from_numpy(episodes.obs[:: max(1, len(episodes.obs) // DEAD_ROWS)])
    with dead_units(learner.model) as dead:
        learner.model.act(seen.to(learner.device))
    return score, {**told, **dead}


def model_work(kind: str, cfg: Any) -> Work:
    """A new generative model and its data, in disjoint parts to fit, to select and for tests."""
    table = data.load(cfg.data, missing=getattr(cfg, "missing", False))
    fit, select, test = generative.registry.parts(table, cfg.run.seed)
    share(getattr(cfg, "batch", 0), "batch")
    if distributed.world() > 1 and hasattr(cfg, "layer") and cfg.layer.norm == "batch":
        raise InputError("norm is batch, expected another: each process would normalise by its own rows")
    module = generative.registry.module(kind)
    learner = generative.registry.new_learner(kind, cfg, table, fit)
    select = select[watched(len(select), MOST_SELECTED).numpy()]
    selection = torch.from_numpy(table.x[select]).to(learner.device)
    labels = None if table.y is None else torch.from_numpy(table.y[select]).to(learner.device)
    fingerprint = table.fingerprint()

    def evaluation() -> tuple[float, Mapping[str, float]]:
        with torch.no_grad(), evaluating(learner.model), dead_units(learner.model) as dead:
            score, found = learner.model.measure(selection, labels)
        return score, {**found, **dead}

    def show(run: Path, step: int) -> Mapping[str, Path]:
        return snapshots(learner.model, selection, labels, table.shape, run, step)

    def check(tree: Tree) -> None:
        if tree["fingerprint"] != fingerprint:
            raise InputError(f"{cfg.data} has changed since the run began, expected the same rows")

    return Work.of(
        learner,
        module.train(cfg, learner),
        save=lambda to: generative.registry.save(to, kind, learner, table),
        evaluate=evaluation,
        subject=Path(cfg.data).stem,
        state=lambda: {"fingerprint": fingerprint},
        put_back=check,
        show=show if len(table.shape) == 3 else None,
        own=("form", "scale"),  # they belong to the data
        about=f"{len(fit)} rows to fit, {len(select)} to select, {len(test)} kept for tests",
    )
