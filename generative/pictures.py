"""Pictures from files: folders that Pillow reads, and the IDX files of MNIST and its kin."""

import gzip
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np

from training.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
IMAGES, LABELS = 0x00000803, 0x00000801  # first four bytes of IDX files: bytes in three axes, or in one


def files_of(path: Path) -> list[Path]:
    """The files of pictures below a folder, in the order of their names."""
    return sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)


def folder(path: Path) -> tuple[np.ndarray, list[str]]:
    """All pictures (N, C, H, W) below a folder in the order of their names, and each one's label.

    A label is the name of the sub-folder a picture is in; without sub-folders all labels are empty.

    Raises:
        InputError: when there are none, one cannot be read, or they differ in size.
    """
    from PIL import Image

    files = files_of(path)
    if not files:
        raise InputError(f"{path} has no pictures, expected some of {' '.join(SUFFIXES)}")
    found: list[np.ndarray] = []
    for file in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(file) as image:
                    grey = image.mode in ("1", "L", "I;16", "I")
                    pixels = np.asarray(image.convert("L" if grey else "RGB"))
        except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
            raise InputError(f"{file} cannot be read as a picture: {error}") from None
        if found and pixels.shape[:2] != found[0].shape[:2]:
            (h, w), (h0, w0) = pixels.shape[:2], found[0].shape[:2]
            raise InputError(f"{file} has {w} × {h} pixels and {files[0]} {w0} × {h0}, expected one size")
        found.append(pixels)
    if any(pixels.ndim == 3 for pixels in found):  # grey ones among coloured ones
        found = [np.repeat(p[..., None], 3, -1) if p.ndim == 2 else p for p in found]
    x = np.stack(found)
    labels = [file.parent.relative_to(path).as_posix() if file.parent != path else "" for file in files]
    return (x[:, None] if x.ndim == 3 else np.ascontiguousarray(x.transpose(0, 3, 1, 2))), labels


def is_idx(path: Path) -> bool:
    """Whether a file's name is one that IDX files have: `train-images-idx3-ubyte`, perhaps with `.gz`."""
    return path.name.removesuffix(".gz").endswith(("-ubyte", ".idx"))


def idx(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The pictures (N, 1, H, W) of an IDX file, and the labels (N,) of the file beside it, if there is one.

    Raises:
        InputError: when a file is no IDX file of bytes, is cut short, or labels and pictures differ in
            number.
    """
    pixels = _idx(path, IMAGES)
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if beside == path or not beside.is_file():
        return pixels[:, None], None
    labels = _idx(beside, LABELS)
    if len(labels) != len(pixels):
        raise InputError(f"{beside} has {len(labels)} labels, expected {len(pixels)} as {path.name} has")
    return pixels[:, None], labels


def idx_test(path: Path) -> Path | None:
    """The file of test pictures beside `train-images...`, if there is one."""
    beside = path.with_name(path.name.replace("train-", "t10k-"))
    return beside if beside != path and beside.is_file() else None


def _idx(path: Path, magic: int) -> np.ndarray:
    axes = magic & 0xFF
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * axes)
            found, *shape = struct.unpack(f">{1 + axes}I", head)
            if found != magic:
                raise InputError(f"{path} begins with {found:08x}, expected {magic:08x}: bytes, {axes} axes")
            size = int(np.prod([int(n) for n in shape], dtype=object))
            body = file.read(size + 1)  # no more than the head tells, however far the archive would grow
    except (OSError, EOFError, zlib.error, struct.error, MemoryError, OverflowError) as error:
        raise InputError(f"{path} cannot be read as an IDX file: {error}") from None
    if len(body) != size:
        found = f"{len(body):,}" if len(body) < size else f"more than {size:,}"
        raise InputError(f"{path} has {found} bytes of data, expected {size:,}")
    return np.frombuffer(body, np.uint8).reshape(shape).copy()  # a buffer cannot be written to
