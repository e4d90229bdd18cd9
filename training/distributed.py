"""Several processes that learn as one: `torchrun --nproc-per-node 2 -m lab train ...`.

Every process holds the same weights and plays its own environments, or computes its own rows of a batch;
gradients are averaged before each step, so that the weights stay the same everywhere. What is decided from a
clock, a signal or an evaluation is decided for all. Outside torchrun there is one process, and
nothing here costs more than a look at a flag.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from training.device import collectives, pick


@contextmanager
def joined() -> Iterator[None]:
    """Joins the processes that torchrun started, if it did."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    store, number, count = next(dist.rendezvous("env://"))
    # Restarted processes must not read the addresses that dead ones left in the store: they would wait.
    attempt = dist.PrefixStore(f"attempt_{os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    dist.init_process_group(collectives(), store=attempt, rank=number, world_size=count)
    try:
        yield
    finally:
        dist.destroy_process_group()


def world() -> int:
    """How many processes learn together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is; number 0 logs, evaluates and decides."""
    return dist.get_rank() if dist.is_initialized() else 0


def restarts() -> bool:
    """Whether torchrun will start the processes again when one of them dies."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0


def restarted() -> bool:
    """Whether it has done so."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def own(name: str) -> str:
    """The name of a random stream that differs from process to process; the first keeps `name`."""
    return f"{name}@{rank()}" if rank() else name


def mine(rows: Tensor) -> Tensor:
    """This process's share of what all of them hold alike: every `world()`-th row from its own on."""
    return rows[rank() :: world()] if dist.is_initialized() else rows


def total(value: Tensor) -> Tensor:
    """The sum over all processes; the same bits in each."""
    if dist.is_initialized():
        value = value.clone()
        dist.all_reduce(value)
    return value


def mean(value: Tensor) -> Tensor:
    """The mean over all processes; the same bits in each."""
    return total(value) / world() if dist.is_initialized() else value


def least(value: float) -> float:
    """The least value of any process."""
    return _agreed(value, dist.ReduceOp.MIN) if dist.is_initialized() else value


def most(value: float) -> float:
    """The greatest value of any process."""
    return _agreed(value, dist.ReduceOp.MAX) if dist.is_initialized() else value


def _agreed(value: float, how: dist.ReduceOp.RedOpType) -> float:
    found = torch.tensor(value, dtype=torch.float64, device=_device())
    dist.all_reduce(found, how)
    return float(found)


def first(values: list[float]) -> list[float]:
    """What the first process has in this place."""
    if not dist.is_initialized():
        return values
    found = torch.tensor(values, dtype=torch.float64, device=_device())
    dist.broadcast(found, 0)
    return found.tolist()


def same(value: Tensor) -> Tensor:
    """The first process's tensor, put into the place of everybody's own."""
    if dist.is_initialized():
        dist.broadcast(value, 0)
    return value


def first_text(text: str) -> str:
    """What the first process says in this place."""
    said = list(map(float, text.encode()))
    size = int(first([float(len(said))])[0])
    return bytes(map(int, first(said if rank() == 0 else [0.0] * size))).decode()


def wait() -> None:
    """Goes on when every process has come here."""
    if dist.is_initialized():
        dist.barrier()


def _device() -> torch.device:
    return torch.device("cpu") if dist.get_backend() == "gloo" else pick("auto")
