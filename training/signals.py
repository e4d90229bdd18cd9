"""SIGINT and SIGTERM, remembered until a run stands where its state is whole."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from training import distributed


class Interrupted(BaseException):
    """A signal came while an evaluation was played."""


class Signals:
    """Remembers SIGINT and SIGTERM, so that a run stops where its state is whole."""

    def __enter__(self) -> "Signals":
        self.received: int | None = None
        self._raising = False
        main = threading.current_thread() is threading.main_thread()  # elsewhere Python refuses handlers
        numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Signals are raised here: for work that may be left half done."""
        self._raising = True
        try:
            yield
        finally:
            self._raising = False

    def agreed(self) -> int | None:
        """The signal that any of the processes that learn together has received."""
        return int(distributed.most(self.received or 0)) or None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            if distributed.world() > 1:  # torchrun passes on what a terminal has sent already
                return
            raise KeyboardInterrupt  # the second one means now
        self.received = number
        if self._raising:
            raise Interrupted

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
