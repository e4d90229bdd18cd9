"""Where tensors live and how functions of tensors are run: the only file that knows device names."""

import os
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

import torch
from torch import Tensor

from training.errors import InputError

Mode = Literal["eager", "compile"]

P = ParamSpec("P")
R = TypeVar("R")


def pick(name: str = "auto") -> torch.device:
    """The device called `name`; `auto` takes a CUDA GPU, then Apple's, then the CPU.

    Of several processes on one machine each takes a GPU of its own.

    Raises:
        InputError: for a name torch does not know and for a device this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError("cpu, cuda and mps are supported")
        if name == "cuda" and "LOCAL_RANK" in os.environ:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device is {name!r}, expected one this machine has ({reason})") from None
    return device


def collectives() -> str:
    """The library by which processes exchange tensors here: NCCL between GPUs, else gloo."""
    return "nccl" if pick("auto").type == "cuda" else "gloo"


def generator_states() -> list[Tensor]:
    """The states of torch's own generators: the CPU's, then every GPU's."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *gpus]


def set_generator_states(states: list[Tensor]) -> None:
    """Puts back what `generator_states` gave."""
    torch.set_rng_state(states[0])
    if states[1:]:
        torch.cuda.set_rng_state_all(states[1:])


def fast(function: Callable[P, R], mode: Mode) -> Callable[P, R]:
    """`function` as it is, or compiled.

    Functions are compiled and modules never: `torch.compile(module)` renames every weight in its state.
    Compiling costs 6-12 s when nothing is cached, so short runs stay eager.
    """
    return torch.compile(function) if mode == "compile" else function
