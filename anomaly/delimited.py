"""Delimited text and plain lines, read piece by piece; every way in which they break is told in one line."""

import codecs
import csv as plain_csv
import gzip
import io
import re
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow as pa

from anomaly.amounts import regular
from generative.data import no_header
from training.errors import InputError

Bytes = gzip.GzipFile | io.BufferedReader | codecs.StreamRecoder
MAX_COLUMNS = 10_000  # of text
LISTED = 8  # columns in a message
BYTES = 4 << 20  # of text parsed at once; no line may be longer
PATIENCE = 10_000  # milliseconds at most that a file waits for Arrow's thread
END = b"\r\n"  # what lines end with
AHEAD = 4_096  # bytes read at least, to see whether more follows
TWICE = b"\r\r\n"  # and with what some Windows programs end them
BLANK = re.compile(rb"\n\r?\n")
SEPARATORS = ",;\t|"
MARK = codecs.BOM_UTF8
LINE = "line"  # the one column of a file of plain lines


def header(path: Path) -> tuple[tuple[str, ...], str, int]:
    """The columns, the separator, and how many lines come before the rows: a header, and blank ones."""
    must_be_file(path)
    try:
        with _open(path) as file:
            start = file.read(BYTES)
        text = start.decode("utf-8-sig", errors="ignore" if len(start) == BYTES else "strict")
        lines = io.StringIO(text, newline="")
        first = next((line for line in text.splitlines() if line.strip()), "")
        if not first:
            raise InputError(f"{path} is empty, expected a header and rows")
        outside = re.sub(r'"[^"]*"', "", first)
        separator = max(SEPARATORS, key=outside.count)
        with _long_fields():
            rows = plain_csv.reader(lines, delimiter=separator)
            cells = next(row for row in rows if any(map(str.strip, row)))
    except UnicodeDecodeError:
        raise InputError(_undecoded(path)) from None
    except (OSError, EOFError, plain_csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}") from None
    if len(cells) > MAX_COLUMNS:
        raise InputError(f"{path} has {len(cells):,} columns, expected at most {MAX_COLUMNS:,}")
    headless = no_header(cells)
    names = tuple(f"x{i}" for i in range(len(cells))) if headless else tuple(cells)
    _must_differ(names, path)
    return names, separator, rows.line_num - headless


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lets the csv module read long fields here: it has one limit for the whole process."""
    before = plain_csv.field_size_limit(BYTES)
    try:
        yield
    finally:
        plain_csv.field_size_limit(before)


def tables(path: Path, wanted: tuple[str, ...] | None) -> Iterator[pa.Table]:
    """The rows of a file in pieces, all cells text; `wanted` are the columns, by default all."""
    from pyarrow import csv

    names, separator, before = header(path)
    chosen = chosen_columns(names, wanted, path)
    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, include_columns=chosen
    )
    options = csv.ReadOptions(use_threads=False, block_size=BYTES, column_names=names, skip_rows=before)
    parse = csv.ParseOptions(delimiter=separator, newlines_in_values=True, ignore_empty_lines=False)
    file, reader = _Watched(path, before, gaps=len(names) == 1, quoted=True), None
    held = sys.getrefcount(file)
    try:
        with csv.open_csv(file, options, parse, convert) as reader:
            for batch in reader:
                table = pa.Table.from_batches([batch])
                yield regular(table, commas=separator == ";")
    except pa.ArrowInvalid as error:
        raise InputError(file.problem or _told(path, str(error), before + 1)) from None
    finally:
        # Arrow's thread, which reads ahead, must let go of the file: a thread that comes back to Python when
        # the interpreter has ended takes the process down with it.
        del reader
        for _ in range(PATIENCE):
            if sys.getrefcount(file) <= held:
                break
            time.sleep(0.001)
        file.close()
    if file.problem:
        raise InputError(file.problem)


def lines(path: Path, wanted: tuple[str, ...] | None) -> Iterator[pa.Table]:
    """The lines of a file in pieces, as the column LINE: whatever is in a line is its cell."""
    must_be_file(path)
    chosen = chosen_columns((LINE,), wanted, path)
    begun, held = False, b""  # held: the line whose end is not read yet
    with closing(_Watched(path, 0, gaps=True, quoted=False)) as file:
        while data := file.read(BYTES):
            if not begun:
                begun, data = True, data.removeprefix(MARK)
            whole, end, rest = data.rpartition(b"\n")
            held, data = (rest, held + whole + end) if end else (held + rest, b"")
            if len(held) > BYTES:
                raise InputError(f"{path} has a line of more than {BYTES:,} letters, expected lines of text")
            if data:
                yield pa.table({LINE: _split(data, path)}).select(chosen)
        if file.problem:
            raise InputError(file.problem)
    if held:
        yield pa.table({LINE: _split(held, path)}).select(chosen)


def _split(data: bytes, path: Path) -> pa.Array:
    """The lines, without their ends."""
    try:
        found = data.removesuffix(b"\n").decode().split("\n")
    except UnicodeDecodeError:
        raise InputError(_undecoded(path)) from None
    if len(max(found, key=len)) > BYTES:
        raise InputError(f"{path} has a line of more than {BYTES:,} letters, expected lines of text")
    return pa.array([line.removesuffix("\r") for line in found], pa.string())


def chosen_columns(names: tuple[str, ...], wanted: tuple[str, ...] | None, path: Path) -> list[str]:
    """The wanted columns of those that a file has; raises InputError when one lacks or is there twice."""
    _must_differ(names, path)
    known = set(names)
    for name in wanted or ():
        if name not in known:
            more = f" and {len(wanted or ()) - LISTED:,} more" if len(wanted or ()) > LISTED else ""
            listed = ", ".join((wanted or ())[:LISTED])
            raise InputError(f"{path} lacks the column {name!r}, expected {listed}{more}")
    return list(names if wanted is None else wanted)


def must_be_file(path: Path) -> None:
    """Raises InputError when there is no such file."""
    if not path.is_file():
        raise InputError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}, expected a file")


def _must_differ(names: tuple[str, ...], path: Path) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} has the column {twice!r} twice, expected names that differ")


def _told(path: Path, error: str, first: int) -> str:
    """What Arrow or the system said of a CSV file, in our words; row 0 is number `first` to Arrow."""
    if "invalid UTF8" in error:
        return _undecoded(path)
    if ragged := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", error):
        row, wanted, found = map(int, ragged.groups())
        return f"{path}: row {row - first} has {found} cells, expected {wanted}"
    if "straddling" in error:
        return f"{path} has a line of more than {BYTES:,} bytes (a quote that is never closed?)"
    return f"{path} cannot be read as CSV: {' '.join(error.split())}"


def _undecoded(path: Path) -> str:
    """Names the first line that is not UTF-8, and what helps."""
    with _open(path) as file:
        if isinstance(file, codecs.StreamRecoder):
            return f"{path} is damaged, expected UTF-16 as its first bytes say"
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                bad = line[error.start]
                return (
                    f"{path}, line {number} has the byte 0x{bad:02x}, expected UTF-8: if it is Latin-1,"
                    " `iconv -f cp1252 -t utf-8 FILE > NEW` mends it"
                )
    return f"{path} is not UTF-8"


class _Watched(io.RawIOBase):
    """The bytes of a file up to its first `problem`: a NUL, an open quote, a blank line, damage.

    It is kept instead of raised: a traceback would hold the file, and Arrow's thread raises nothing. A blank
    line is none before the rows or at the end, nor where it is a gap in the one column of the file.
    """

    def __init__(self, path: Path, before: int, gaps: bool, quoted: bool) -> None:
        super().__init__()
        self.path, self.file, self.before, self.gaps, self.quoted = path, _open(path), before, gaps, quoted
        self.lines, self.quotes, self.problem, self.ended = 0, 0, "", False
        self.held = b""  # what was read and not yet given

    def readable(self) -> bool:
        return True

    def read(self, size: int = BYTES) -> bytes:
        """The next bytes; the ends of lines are given when it is known whether more follows."""
        if self.problem or not size:
            return b""
        while not self.ended and not self.held[size:].rstrip(END):
            self._fill(max(size + 1 - len(self.held), AHEAD))
        data = self.held[:size]
        if len(self.held) > size:
            data = data.rstrip(END) or data  # so that blank lines are looked at together
        self.held = self.held[len(data) :]
        if b"\r" in data:
            data = data.replace(TWICE, END)
        self._look(data)
        return b"" if self.problem else data

    def _fill(self, size: int) -> None:
        """Reads on; of the blank lines at the end of the file, one is left out, or all."""
        try:
            data = self.file.read(size)
        except (OSError, EOFError, zlib.error, UnicodeError) as error:
            kind = "CSV" if self.quoted else "text"
            self.problem, data = f"{self.path} cannot be read as {kind}: {error}", b""
        self.held += data
        self.ended = not data
        if self.ended and isinstance(self.file, codecs.StreamRecoder) and self.file.reader.bytebuffer:
            self.problem = f"{self.path} ends within a letter, expected whole UTF-16"
        if self.ended:
            text = self.held.rstrip(END)
            ends = len(self.held[len(text) :].replace(TWICE, END).splitlines())
            self.held = text + b"\n" * (max(ends - 1, min(ends, 1)) if self.gaps else min(ends, 1))

    def _look(self, data: bytes) -> None:
        """Counts lines and quotes, and finds what is wrong with them."""
        at = data.find(b"\0")
        if at >= 0:
            line = self.lines + data.count(b"\n", 0, at) + 1
            self.problem = f"{self.path}, line {line} has a NUL byte, expected text"
        elif not self.gaps:
            self._look_for_blanks(data)
        self.lines += data.count(b"\n")
        self.quotes += data.count(b'"')
        if self.quoted and not data and self.quotes % 2:
            self.problem = f"{self.path} has a quote that is never closed, expected them in pairs"

    def _look_for_blanks(self, data: bytes) -> None:
        quotes, begin = self.quotes, 0
        for found in BLANK.finditer(data):
            quotes += data.count(b'"', begin, found.start())
            begin = found.start()
            line = self.lines + data.count(b"\n", 0, found.end())
            if line > self.before and not quotes % 2:
                self.problem = f"{self.path}, line {line} is blank, expected a row"
                return

    def close(self) -> None:
        self.file.close()
        super().close()


def _open(path: Path) -> Bytes:
    return _as_utf_8(gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


def _as_utf_8(file: gzip.GzipFile | io.BufferedReader) -> Bytes:
    """The file, or one that turns it into UTF-8 when its first two bytes say that it is UTF-16."""
    try:
        wide = file.peek(2).startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    except (OSError, EOFError, zlib.error):  # whoever reads on meets it again
        return file
    return codecs.EncodedFile(file, "utf-8", "utf-16") if wide else file
