"""Logs made with known anomalies, for `anomaly_text`: lines of templates with parameters, by seed.

unseen      a line of another template, of words that other lines have
order       two neighbouring parts of a line have changed places
kind        a parameter is of another kind: a word for a number, an address for a name, a hash for a path
broken      a part stands several times after itself, or the line ends too soon
word        one fixed word is another that the log has
size        a number is ten thousand times what it may be
"""

import re
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool

KINDS = ("unseen", "order", "kind", "broken", "word", "size")
WORDS = tuple(
    re.findall(
        r"\w+",
        """
    accepted allocated assigned backup balance block broker bucket cache channel checksum client closed
    cluster commit completed connection container controller copied daemon dataset deleted device disk
    driver edge endpoint engine entry event executor failed fetched file filter flushed frame from gateway
    group handler health host image index inode input instance interface job journal kernel key lease leader
    link listener loaded lock manager memory merged message metric mirror module mount namespace network
    node object opened output packet page partition peer pipeline pod policy pool port process profile proxy
    queue quota read ready received record region registered release removed renewed replica request
    resolved response restart retry role route rule scheduled schema segment sent server service session
    shard signal snapshot socket source started state status stopped storage stream switch sync table tag
    target task tenant thread timer token topic trace transfer unit updated upload user value verified
    version volume wait worker write zone
    """,
    )
)
LEVELS = ("INFO", "INFO", "INFO", "DEBUG", "WARN")


def _name(rng: np.random.Generator) -> str:
    syllables = (
        "an",
        "ber",
        "cor",
        "da",
        "el",
        "fi",
        "go",
        "ha",
        "im",
        "jo",
        "ka",
        "li",
        "mo",
        "ni",
        "ro",
        "sa",
    )
    return "".join(rng.choice(syllables, rng.integers(2, 4)))


PARAMETERS: dict[str, Callable[[np.random.Generator], str]] = {
    "number": lambda rng: str(int(10 ** rng.uniform(0, 3))),
    "size": lambda rng: str(rng.integers(100, 10_000)),
    "address": lambda rng: f"10.{rng.integers(4)}.{rng.integers(256)}.{rng.integers(256)}",
    "hash": lambda rng: f"{rng.integers(16**8):08x}{rng.integers(16**4):04x}",
    "name": _name,
    "path": lambda rng: (
        f"/srv/{rng.choice(['data', 'logs', 'tmp'])}/{_name(rng)}.{rng.choice(['db', 'log'])}"
    ),
    "time": lambda rng: f"{rng.uniform(0.1, 90):.2f}ms",
    "code": lambda rng: str(rng.choice([200, 200, 200, 204, 301, 404])),
}


class Log:
    """Templates, how often each is written, and lines of them."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        count = int(self.rng.integers(15, 60))
        self.templates = [self._template() for _ in range(count)]
        self.others = [self._template() for _ in range(10)]  # that no normal line is of
        weight = 1 / np.arange(1, count + 1)
        self.weight = weight / weight.sum()

    def normal(self, lines: int) -> list[str]:
        """Lines as they usually are."""
        return [self._line(self._parts()) for _ in range(lines)]

    def strange(self, kind: str) -> str:
        """A line that is strange in one of the ways of the module docstring."""
        rng, parts = self.rng, self._parts()
        if kind == "unseen":
            return self._line(self.others[rng.integers(len(self.others))])
        told = [self._told(part) for part in parts]
        held = [i for i, (part, _) in enumerate(parts) if part != "word"]
        fixed = [i for i, (part, _) in enumerate(parts) if part == "word"]
        at = int(rng.integers(len(told) - 1))
        if kind == "order":
            while told[at] == told[at + 1]:
                at = int(rng.integers(len(told) - 1))
            told[at], told[at + 1] = told[at + 1], told[at]
        elif kind == "kind":
            at = held[rng.integers(len(held))]
            told[at] = self._of_another_kind(parts[at][0])
        elif kind == "broken" and rng.random() < 0.5:
            told[at : at + 1] = [told[at]] * int(rng.integers(3, 12))
        elif kind == "broken":
            told = told[: max(1, at)]
        elif kind == "word":
            at = fixed[rng.integers(len(fixed))]
            told[at] = str(rng.choice([word for word in WORDS if word != told[at]]))
        else:
            numbers = [i for i in held if parts[i][0] in ("number", "size")]
            if not numbers:
                return self.strange(kind)
            told[numbers[rng.integers(len(numbers))]] += "0000"
        return self._head() + " ".join(told)

    def _of_another_kind(self, kind: str) -> str:
        alike = {"number", "size", "code", "time"}
        others = [k for k in PARAMETERS if k != kind and not {k, kind} <= alike]
        return PARAMETERS[others[self.rng.integers(len(others))]](self.rng)

    def _parts(self) -> list[tuple[str, str]]:
        return self.templates[self.rng.choice(len(self.templates), p=self.weight)]

    def _template(self) -> list[tuple[str, str]]:
        """Parts, each a kind and a word; the kind "word" is fixed."""
        rng = self.rng
        parts = [("word", str(rng.choice(WORDS)) + ":")]
        for _ in range(rng.integers(1, 5)):
            parts += [("word", str(word)) for word in rng.choice(WORDS, rng.integers(1, 5))]
            parts.append((str(rng.choice(list(PARAMETERS))), ""))
        return [*parts, *(("word", str(word)) for word in rng.choice(WORDS, rng.integers(0, 4)))]

    def _told(self, part: tuple[str, str]) -> str:
        kind, word = part
        return word if kind == "word" else PARAMETERS[kind](self.rng)

    def _head(self) -> str:
        clock = f"{self.rng.integers(24):02d}:{self.rng.integers(60):02d}:{self.rng.integers(60):02d}"
        return f"2024-05-{self.rng.integers(1, 29):02d} {clock} {self.rng.choice(LEVELS)} "

    def _line(self, parts: list[tuple[str, str]]) -> str:
        return self._head() + " ".join(self._told(part) for part in parts)


def made(
    seed: int, fit: int, test: int, each: int
) -> tuple[list[str], list[str], Bool[np.ndarray, " n"], list[str]]:
    """Lines to fit; `test` normal ones and `each` of every kind to judge; which are strange; their kind."""
    log = Log(seed)
    train, normal = log.normal(fit), log.normal(test)
    kinds = [kind for kind in KINDS for _ in range(each)]
    lines = normal + [log.strange(kind) for kind in kinds]
    strange = np.arange(len(lines)) >= test
    return train, lines, strange, [""] * test + kinds
