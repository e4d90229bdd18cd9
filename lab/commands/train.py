"""`lab train ALGORITHM|MODEL`: learns, and leaves a run folder."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import agents.registry
import generative.registry
from envs.vector import split
from lab.arguments import parse, peek
from lab.learning import finish, go_on, learn
from lab.many import learn_seeds
from lab.trust import check_trust
from training import distributed
from training.config import check_positive, from_dict
from training.errors import InputError
from training.folder import new_path, read_config

C = TypeVar("C")


Backend = Literal["gymnasium", "processes", "envpool", "tensor"]


@dataclass(frozen=True)
class Train(Generic[C]):
    """What `lab train` is told beside the settings."""

    settings: C
    dir: Path | None = None  # the folder of the run, new; default: the next free one under runs/
    backend: Backend | None = None  # what steps an agent's environments
    config: Path | None = None  # start from the settings of a run folder or its config.json
    trust: bool = False  # import the class that --config names as the environment: its code runs
    seeds: int = 1  # train as many runs as this, from --seed on, side by side, each in DIR/seed_N

    def __post_init__(self) -> None:
        check_positive(self, "seeds")


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
    if told.config is not None and peek(words, "--env") != getattr(cfg, "env", None):
        check_trust(getattr(cfg, "env", None), told.trust, told.config)
    if told.backend is not None:
        cfg = _with_backend(kind, cfg, told.backend)
    subject = cfg.env if hasattr(cfg, "env") else cfg.data
    if told.dir is None and distributed.restarts():
        raise InputError("dir is not given, expected a folder to go on in when torchrun restarts the run")
    path = told.dir or Path(distributed.first_text(str(new_path(f"{kind}-{Path(subject).stem}"))))
    if told.seeds > 1:
        learn_seeds(kind, cfg, path, told.seeds)
        if hasattr(cfg, "env"):
            from lab.commands import compare  # brings Matplotlib, which a single run does without

            compare.main([str(path)])
        return
    if distributed.restarted() and (path / "config.json").exists():
        ours = read_config(path)["config"].get("env") == getattr(cfg, "env", None)
        outcome = go_on(path, told.trust or ours)
    else:
        outcome = learn(kind, cfg, path, f"{kind} on {subject}, {said}; seed {cfg.run.seed}; {path}")
    finish(path, kind, outcome)


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
    if kind in generative.registry.MODULES:
        source = peek(words, "--data") or config().data
        known = Path(source).stem in generative.registry.PRESETS[kind]
        said = "the preset of the pair" if known else "default settings"
        return generative.registry.preset(kind, source), said
    return agents.registry.preset(kind, peek(words, "--env") or config().env)
