"""Text as tokens, by these rules, and the tokens that the fitted rows know.

    date      2024-05-31, 2024/05/31, with a time of day or without; or a time of day alone, 18:45:00,123
    address   10.0.0.7
    uuid      8-4-4-4-12 of 0-9 a-f
    hex       0x and digits; four or more of 0-9 a-f in a row, both digits and letters among them
    number    digits in a row
    word      letters in a row, upper and lower case apart; of scripts without spaces, each letter
    sign      every other character; white space only separates

Other runs of letters and digits are cut where one follows the other: node12 is node and 12. Known are the
words and signs of two rows or more, and the numbers and addresses of one row in a hundred (COMMON): a code
such as 404 says something, the number of a process does not; of all these the WORDS that most rows have. All
others are seen by their shape: <word> <Word> <WORD> <wOrd>, <1> <2-3> <4-7> <8-15> <16+> for as many digits,
<date> <address> <uuid> <hex> <sign>. So words of a single row are to a model what words will be that it never
saw (Good, 1953, doi:10.2307/2333344).

A text is read up to TOKENS tokens, and CHARACTERS characters: what is longer ends with <cut>.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from training.errors import InputError

TOKENS, CHARACTERS = 100, 4_000  # that are read of a text
WORDS = 1_000  # known, signs, numbers and addresses among them
LEAST, SHARE = 10, 0.005
COMMON = 0.03  # the share of rows that a known number is in
MEMO = 65_536  # runs of letters whose numbers are remembered
ALONE = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff"  # Thai, Lao, Kana, Han
DAY = r"[0-9]{4}(?:-[0-9]{2}-[0-9]{2}|/[0-9]{2}/[0-9]{2})"
CLOCK = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?"
DATE = rf"{DAY}(?:[T ]{CLOCK}(?:Z|[+-][0-9]{{2}}:?[0-9]{{2}})?)?|{CLOCK}"
ADDRESS = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
HEX = r"0[xX][0-9a-fA-F]+|(?=[a-fA-F]*[0-9])(?=[0-9]*[a-fA-F])[0-9a-fA-F]{4,}"
STANDS = r"(?<![\w.])(?<!\d:)"  # what these begin after: no part of a longer one
FOUND = re.compile(
    rf"{STANDS}(?:(?:{DATE}|{UUID})(?!\w|:\w)|{ADDRESS}(?!\w|\.\d))|[^\W_{ALONE}]+|[{ALONE}]|[^\w\s]|_"
)
RUN = re.compile(rf"(?:{HEX})$")
PARTS = re.compile(r"\d+|\D+")
END, CUT = "", "<cut>"  # END is also what a text begins with
END_TOLD = "the end"  # END for readers
DIGITS = tuple(f"<{i} digits>" for i in range(1, 17))
CASES = ("<word>", "<Word>", "<WORD>", "<wOrd>")
OTHERS = {"<date>": re.compile(DATE), "<address>": re.compile(ADDRESS), "<uuid>": re.compile(UUID)}
SHAPES = (END, CUT, *CASES, *DIGITS, *OTHERS, "<hex>", "<sign>")
COUNTED = (*DIGITS, "<address>")  # that are known only where COMMON
UNKNOWN = ("<date>", "<uuid>", "<hex>")  # that never are


def tokens(text: str) -> list[str]:
    """The tokens of a text, as they are written; CUT is the last of one that is longer than is read."""
    found: list[str] = []
    for run in FOUND.findall(text[:CHARACTERS]):
        found += _parts(run)
    if len(found) > TOKENS:
        return [*found[:TOKENS], CUT]
    return [*found, CUT] if len(text) > CHARACTERS else found


def _parts(run: str) -> list[str]:
    """The tokens of what stands together."""
    mixed = len(run) > 1 and run.isalnum() and not (run.isalpha() or run.isdecimal())
    return PARTS.findall(run) if mixed and not RUN.match(run) else [run]


def shape(token: str) -> str:
    """What stands for a token that is not known."""
    if token in (END, CUT):
        return token
    if token.isdecimal():
        return DIGITS[min(len(token), len(DIGITS)) - 1]
    if token.isalpha():
        upper, lower = token.upper() == token, token.lower() == token
        if lower or (upper and len(token) > 1):
            return CASES[0] if lower else CASES[2]
        return CASES[1] if token[1:].lower() == token[1:] else CASES[3]
    for name, rule in OTHERS.items():
        if rule.fullmatch(token):
            return name
    return "<hex>" if RUN.match(token) else "<sign>"


class Vocabulary:
    """The known tokens; a token's number is its place among SHAPES and then them.

    Raises:
        InputError: for more than WORDS words, one that is no text, or is there twice.
    """

    def __init__(self, words: Sequence[Any]) -> None:
        self.words = tuple(words)
        self._number = {word: i for i, word in enumerate((*SHAPES, *self.words)) if isinstance(word, str)}
        if len(self.words) > WORDS or len(self._number) < len(self):
            raise InputError(f"a vocabulary has {len(words)} words, expected up to {WORDS:,} that differ")
        self._memo: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(SHAPES) + len(self.words)

    @staticmethod
    def of(texts: Iterable[Sequence[str]]) -> "Vocabulary":
        """What is known of fitted texts, the most frequent first."""
        rows, inside = 0, Counter[str]()
        for text in texts:
            rows += 1
            inside.update(set(text))
        least = max(2.0, min(LEAST, SHARE * rows))
        often = max(least, COMMON * rows)
        known = [
            (-count, token)
            for token, count in inside.items()
            if count >= least and (kind := shape(token)) not in UNKNOWN and token not in SHAPES
            if count >= often or kind not in COUNTED
        ]
        return Vocabulary([token for _, token in sorted(known)[:WORDS]])

    def numbers(self, text: str) -> tuple[int, ...]:
        """The numbers of the `tokens` of a text, and of their end."""
        found: list[int] = []
        memo = self._memo
        for run in FOUND.findall(text[:CHARACTERS]):
            found += memo[run] if run in memo else self._remembered(run)
        whole = len(found) <= TOKENS and len(text) <= CHARACTERS
        return (*found[:TOKENS], self._number[END if whole else CUT])

    def _remembered(self, run: str) -> list[int]:
        """The numbers of the tokens of what stands together."""
        found = [self._number.get(token) or self._number[shape(token)] for token in _parts(run)]
        if len(self._memo) >= MEMO:
            self._memo.clear()
        self._memo[run] = found
        return found

    def shapes(self) -> list[int]:
        """The number of the shape of each."""
        return [self._number[shape(token)] for token in (*SHAPES, *self.words)]

    def written(self, number: int) -> str:
        """A token, for readers."""
        return (*SHAPES, *self.words)[number] or END_TOLD
