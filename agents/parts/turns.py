"""Turns a callback-driven loop into a generator."""

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Any


def turns(push: Callable[[Callable[[Any], bool]], None]) -> Iterator[Any]:
    """All that `push` hands to its argument, one by one.

    `push` runs in a thread that stands still while nobody asks, so that only one of the two ever runs. Its
    argument returns false when nobody will ask again: `push` should then return.
    """
    asked: SimpleQueue[bool] = SimpleQueue()
    given: SimpleQueue[tuple[str, Any]] = SimpleQueue()

    def hand_over(item: Any) -> bool:
        given.put(("item", item))
        return asked.get()

    def work() -> None:
        try:
            if asked.get():
                push(hand_over)
            given.put(("end", None))
        except BaseException as error:  # raised again where the items are asked for
            given.put(("error", error))

    thread = Thread(target=work, daemon=True)
    thread.start()
    stands = True
    try:
        while True:
            asked.put(True)
            stands = False
            what, item = given.get()
            stands = True
            if what == "error":
                raise item
            if what == "end":
                return
            yield item
    finally:
        asked.put(False)
        if stands:  # else something ended the wait for a thread that may never come back
            thread.join()
