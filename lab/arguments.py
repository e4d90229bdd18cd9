"""Flags from dataclasses, with errors that fit on one line."""

import contextlib
import io
import re
from itertools import pairwise
from typing import Any, TypeVar

import tyro

from training.errors import InputError

C = TypeVar("C")


def parse(cls: Any, words: list[str], prog: str, about: str, default: Any = None) -> Any:
    """A `cls` from the words of a command line; nested groups have no prefixes.

    Raises:
        InputError: for a wrong call, with tyro's explanation in one line.
    """
    said = io.StringIO()
    given = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                cls, prog=prog, description=about, args=words, config=(tyro.conf.OmitArgPrefixes,), **given
            )
    except SystemExit as end:
        if end.code in (0, None):  # --help
            raise
        raise InputError(f"{_one_line(said.getvalue())} (see {prog} --help)") from None


def peek(words: list[str], flag: str) -> str | None:
    """The last value of `flag` before the words are parsed, for defaults that depend on it."""
    found = None
    for word, after in pairwise([*words, ""]):
        if word == flag:
            found = after
        elif word.startswith(flag + "="):
            found = word[len(flag) + 1 :]
    return found


def _one_line(box: str) -> str:
    """The message in tyro's box: what stands between the frame and its first rule."""
    inside = [line.strip("│ ").rstrip() for line in box.splitlines() if line.startswith("│")]
    message = []
    for line in inside:
        if re.fullmatch("─+", line):
            break
        message.append(line)
    return " ".join(message) or " ".join(box.split())
