"""Which token makes a text of a row strange, and what was expected in its place."""

import pyarrow as pa

from anomaly.cells import Place, texts
from anomaly.detector import Detector
from anomaly.text import Oddity

BYTES = 80  # that are kept of what is told of a row


def oddity(detector: Detector, block: pa.Table, at: int, column: str) -> Oddity | None:
    """What is strange about the text of row number `at` of a block; None where there is no text."""
    reader = detector.encoder.texts.get(column)
    if reader is None:
        return None
    text = texts(block[column].slice(at, 1), Place("the rows", column, at))[0].as_py()
    return reader.oddity(text) if text else None


def kept(found: Oddity | None) -> bytes:
    """What a file of scores tells of it, in BYTES at most; nothing where there is no text."""
    return found.told.encode()[:BYTES] if found else b""


def read(told: bytes) -> str:
    """What `kept` gave, without a letter that was cut in two."""
    return told.decode(errors="ignore")
