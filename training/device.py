"""Where tensors live and how functions of tensors are run: the only file that knows device names."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Literal, ParamSpec, TypeVar

import torch
from torch import Tensor

from training.errors import InputError

Mode = Literal["eager", "compile"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]

P = ParamSpec("P")
R = TypeVar("R")


def pick(name: str = "auto") -> torch.device:
    """The device called `name`; `auto` takes a CUDA GPU, else the CPU.

    Apple's is taken by its name alone: it has no numbers of 64 bits, in which running statistics are kept.
    Of several processes on one machine each takes a GPU of its own.

    Raises:
        InputError: for a name torch does not know and for a device this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
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


def fast(function: Callable[P, R], mode: Mode, precision: Precision = "fp32") -> Callable[P, R]:
    """A function of tensors as it is, or compiled; in bf16 or fp16 its matrix products are of that kind.

    Functions are compiled and modules never: `torch.compile(module)` renames every weight in its state.
    Compiling costs 6-12 s when nothing is cached, so short runs stay eager. Weights, optimizer and losses
    stay in fp32 at every precision; tf32 is a switch of the whole process, `set_process`.
    """
    if precision in ("bf16", "fp16"):
        function = _autocast(function, torch.bfloat16 if precision == "bf16" else torch.float16)
    return torch.compile(function) if mode == "compile" else function


def _autocast(function: Callable[P, R], dtype: torch.dtype) -> Callable[P, R]:
    @wraps(function)
    def cast(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next(_tensors(args)).device.type
        with torch.autocast(device, dtype):
            return function(*args, **kwargs)

    return cast


def _tensors(values: Iterable[object]) -> Iterator[Tensor]:
    """The tensors among values, and in the tuples among them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple):
            yield from _tensors(value)


@contextmanager
def on_one_thread() -> Iterator[None]:
    """For what is made of many small products, for which several threads wait longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def set_process(threads: int = 1, precision: Precision = "fp32") -> None:
    """How the whole process reckons from now on: with how many threads, and whether GPUs may use tf32.

    Subnormal numbers become zero: Adam's averages fade through them wherever a gradient has become zero, at a
    dead ReLU for one, and many CPUs take ten times as long for them.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
