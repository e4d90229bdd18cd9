import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from generative.data import load
from training.errors import InputError

PIXELS = np.arange(3 * 2 * 4, dtype=np.uint8)
IMAGES = struct.pack(">IIII", 0x803, 3, 2, 4) + PIXELS.tobytes()  # three pictures of 2 × 4
LABELS = struct.pack(">II", 0x801, 3) + bytes([7, 1, 7])
NAME, BESIDE = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def written(folder: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return str(folder / next(iter(files)))


def test_idx_files_are_read_with_their_labels_and_test_rows(tmp_path: Path) -> None:
    kept = {"t10k-images-idx3-ubyte": IMAGES, "t10k-labels-idx1-ubyte": LABELS}
    table = load(written(tmp_path, {NAME: IMAGES, BESIDE: LABELS} | kept))
    assert table.x.tolist() == PIXELS.reshape(3, 8).tolist()
    assert (table.x.dtype, table.shape) == (np.uint8, (1, 2, 4))
    assert table.x.flags.writeable  # torch warns of arrays that are not
    assert table.y is not None
    assert (table.y.tolist(), table.labels) == ([1, 0, 1], ("1", "7"))
    assert table.test is not None
    assert table.test.x.tolist() == table.x.tolist()


def test_packed_idx_files_are_read_without_labels_too(tmp_path: Path) -> None:
    table = load(written(tmp_path, {NAME + ".gz": gzip.compress(IMAGES)}))
    assert (len(table.x), table.y, table.test) == (3, None, None)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({NAME: IMAGES[:-1]}, "has 23 bytes of data, expected 24"),
        ({NAME: IMAGES + b"1"}, "has more than 24 bytes of data, expected 24"),
        ({NAME: IMAGES[:9]}, "cannot be read as an IDX file"),
        ({NAME: LABELS + bytes(8)}, "begins with 00000801, expected 00000803: bytes, 3 axes"),
        ({NAME: IMAGES, BESIDE: struct.pack(">II", 0x801, 2) + b"ab"}, "has 2 labels, expected 3 as"),
        ({NAME: IMAGES, BESIDE: LABELS[:-1]}, "has 2 bytes of data, expected 3"),
        ({NAME + ".gz": gzip.compress(IMAGES)[:-12]}, "cannot be read as an IDX file"),
        ({NAME + ".gz": gzip.compress(IMAGES)[:10] + b"\xff" * 30}, "cannot be read as an IDX file"),
        ({NAME + ".gz": IMAGES}, "cannot be read as an IDX file"),
    ],
)
def test_damaged_idx_files_are_refused(files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load(written(tmp_path, files))
