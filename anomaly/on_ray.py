"""Work on blocks through Ray (Moritz et al., 2018, arXiv:1712.05889): many processes, on one machine or more.

The blocks are those of the reader, each handed whole to a process, and results are taken in order. Ray Data
cuts batches by bytes; here nobody cuts but the reader, so that results are the same bit by bit.

RAY_ADDRESS names a cluster, whose machines need the lab installed; without it Ray is started here for as
long as the work takes. Only the calling process reads data and writes files.
"""

import os
import shutil
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from training.device import set_process
from training.errors import InputError

Result = TypeVar("Result")
AHEAD = 3  # blocks handed out for each core: enough that none is idle, few enough for fixed memory
STORE = 256 << 20  # bytes for blocks on their way; Ray would take a third of the memory


def mapped(work: Callable[..., Result], blocks: Iterator[tuple[Any, ...]]) -> Iterator[Result]:
    """`work(*block)` of each block, in order; `work` travels once to every process.

    Raises:
        InputError: when Ray is not installed or cannot start, and what reading or `work` raises.
    """
    try:
        import ray
    except ImportError:
        raise InputError("Ray is not installed, expected: pip install 'rl-generative-lab[ray]'") from None
    with _running(ray):
        task, known = ray.remote(_run), [ray.put(work)]  # in a list, so that each process fetches it but once
        most = AHEAD * int(ray.cluster_resources()["CPU"])
        waiting: deque[Any] = deque()
        for block in blocks:
            waiting.append(task.remote(known, *block))
            if len(waiting) == most:
                yield _taken(ray, waiting.popleft())
        while waiting:
            yield _taken(ray, waiting.popleft())


def _run(known: list[Any], *block: Any) -> Any:
    """In a process of Ray's, which runs it again elsewhere when the process dies: the work is the same."""
    return _fetched(known[0])(*block)


@lru_cache(maxsize=1)
def _fetched(known: Any) -> Callable[..., Any]:
    import ray

    set_process()
    return ray.get(known)


def _taken(ray: Any, result: Any) -> Any:
    try:
        return ray.get(result)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, InputError) else error) from None


def _answers(address: str) -> None:
    """Raises InputError at once where nobody listens at HOST:PORT: Ray itself waits for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:  # `auto`, `ray://...`
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise InputError(f"RAY_ADDRESS is {address!r}, expected a cluster that answers ({error})") from None


@contextmanager
def _running(ray: Any) -> Iterator[None]:
    """Ray, silent, and whatever was started is stopped at the end."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _answers(address)
    files = None if address else tempfile.mkdtemp(prefix="lab-ray-")
    here = {"include_dashboard": False, "object_store_memory": STORE, "_temp_dir": files}
    try:
        ray.init(**({} if address else here), logging_level="error", log_to_driver=False)
        yield
    except (ConnectionError, RuntimeError) as error:
        if ray.is_initialized():
            raise
        raise InputError(f"Ray cannot start: {' '.join(str(error).split())[:300]}") from None
    finally:
        ray.shutdown()
        if files:
            shutil.rmtree(files, ignore_errors=True)
