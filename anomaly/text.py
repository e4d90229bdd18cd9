"""How strange a text is: what its tokens say beyond what a language model expects them to.

    x_t = −log p′(w_t | before) − H_t,   H_t = −Σ_w p(w | before) log p(w | before)
    S = max over a ≤ b of  Σ_{a ≤ t ≤ b} (x_t − DRIFT),   0 at least
    p′(w) = p(w) + p(shape of w) · (how often a token of its shape is w)

Where anything may come, as names do, H_t is large and a rare token no news. S is Page's cumulative sum (1954,
doi:10.2307/2333009): one odd token in a long line is not lost, as it would be in a mean, and a stretch of a
few that are all a little odd, as of words in another order, counts as well. p′ lets a word stand wherever
words that nobody knows may. A gap is a text without a token.

Of the candidates mean, largest, mean of the largest three or five, log-mean-exp, sum of squares and S, with
and without H, S was best on made logs (`benchmarks/made_logs`, seeds 10 to 13, 5,000 lines): in percent,
average precision 98.4; by the root of the sum of squares 97.9, by the mean of −log p′ 85.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anomaly.language import Foretold, Language, expected, foretold, learned
from anomaly.tokens import END_TOLD, SHAPES, Vocabulary, tokens
from generative.data import split
from training.errors import InputError

DRIFT = 1.0  # nats
FEW = 20  # texts: too few to hold any back
SELECT = 0.2  # of the texts
AROUND = 24  # letters shown on both sides of a token


@dataclass(frozen=True)
class Oddity:
    """The strangest token of a text."""

    token: str  # as it is written; empty: the text ends
    instead: str  # what was expected most in its place
    p: float  # the probability of that
    where: str  # the token with what stands around it

    @property
    def told(self) -> str:
        """In a few words."""
        return f"{self.instead} instead of {printable(self.token) or END_TOLD}"


class Text:
    """A language model of one column."""

    def __init__(self, vocabulary: Vocabulary, net: Language, spelled: Float[Tensor, " V"]) -> None:
        self.vocabulary, self.net, self.spelled = vocabulary, net, spelled
        self._shapes = torch.tensor(vocabulary.shapes())

    @staticmethod
    def fit(cells: pa.Array, seed: int) -> "Text":
        """Learns from texts but those of `held`, which select."""
        written = [text or "" for text in cells.to_pylist()]
        vocabulary = Vocabulary.of(map(tokens, written))
        texts = [vocabulary.numbers(text) for text in written]
        held_back = held(len(texts), seed)
        fit = np.flatnonzero(~held_back) if len(texts) >= FEW else np.arange(len(texts))
        shapes = vocabulary.shapes()
        net = learned(texts, fit, np.flatnonzero(held_back), shapes, seed)
        count = np.bincount(np.concatenate(texts), minlength=len(vocabulary)).astype(np.float64)
        of_shape = np.bincount(shapes, count, len(vocabulary))[shapes]
        known = np.arange(len(vocabulary)) >= len(SHAPES)
        share = np.where(known, count / np.maximum(of_shape, 1), 0.0)
        return Text(vocabulary, net, torch.from_numpy(share).float())

    def score(self, cells: pa.Array) -> Float[np.ndarray, " B"]:
        """S of texts; equal ones are looked at once."""
        known = cells.fill_null("").dictionary_encode()
        different = [self.vocabulary.numbers(text) for text in known.dictionary.to_pylist()]
        order = {text: i for i, text in enumerate(dict.fromkeys(different))}
        found = [excess(one).max(initial=0.0) for one in self._foretold(list(order))]
        of_text = np.array([found[order[text]] for text in different])
        return of_text[known.indices.to_numpy(zero_copy_only=False)]

    def oddity(self, text: str) -> Oddity:
        """What is strange about a text: the first token of much news in the stretch that S is of.

        It is half of the most at least: what comes after an odd token is often odder still.
        """
        written = tokens(text)
        numbers = self.vocabulary.numbers(text)
        [one] = self._foretold([numbers])
        total, news = excess(one), one.surprise - one.usual
        end = int(total.argmax())
        begin = int(max(np.flatnonzero(total[:end] <= 0) + 1, default=0))
        stretch = news[begin : end + 1]
        at = begin + int((stretch >= stretch.max() / 2).argmax())
        token = written[at] if at < len(written) else ""
        likeliest, p = expected(self.net, numbers)
        instead = printable(self.vocabulary.written(int(likeliest[at])))
        return Oddity(token, instead, float(p[at]), _around(text, written, at))

    def arrays(self) -> dict[str, Tensor]:
        """Its numbers."""
        return {"spelled": self.spelled, **self.net.state_dict()}

    @staticmethod
    def of_arrays(arrays: Mapping[str, Tensor], words: Any, where: str) -> "Text":
        """Reads what `arrays` gave, and the words of its vocabulary.

        Raises:
            InputError: when they do not fit together.
        """
        if not isinstance(words, list):
            raise InputError(f"{where} has no words of a text, expected a list")
        vocabulary = Vocabulary(words)
        net, weights = Language(len(vocabulary), 0), dict(arrays)
        spelled = weights.pop("spelled", torch.zeros(0))
        try:
            net.load_state_dict(weights)
        except RuntimeError as error:
            told = str(error).splitlines()[-1].strip()
            raise InputError(f"{where}: the arrays do not fit a text: {told}") from None
        if spelled.shape != (len(vocabulary),):
            raise InputError(f"{where}: the arrays do not fit a text of {len(vocabulary)} tokens")
        return Text(vocabulary, net, spelled)

    def _foretold(self, texts: list[tuple[int, ...]]) -> list[Foretold]:
        return foretold(self.net, texts, self.spelled.log(), self._shapes)


def held(rows: int, seed: int) -> Bool[np.ndarray, " B"]:
    """Which of the rows a text selects by, and does not learn from; all of few."""
    found = np.zeros(rows, bool)
    if rows < FEW:
        return ~found
    _, select = split(rows, seed, 1 - SELECT, SELECT)
    found[select] = True
    return found


def excess(one: Foretold) -> Float[np.ndarray, " T"]:
    """Page's sums of x_t − DRIFT up to each token."""
    steps = np.cumsum((one.surprise - one.usual).astype(np.float64) - DRIFT)
    return steps - np.minimum.accumulate(np.concatenate([[0.0], steps[:-1]]))


def _around(text: str, written: list[str], at: int) -> str:
    """The token number `at` between angles, with the letters around it."""
    begin = end = 0
    for token in written[: at + 1]:
        begin = text.find(token, end) if token in text else end
        end = begin + len(token)
    if at >= len(written):
        begin = end = len(text)
    before, after = text[max(0, begin - AROUND) : begin], text[end : end + AROUND]
    parts = ("…" if begin > AROUND else "", before, "»", text[begin:end], "«", after)
    told = "".join((*parts, "…" if end + AROUND < len(text) else ""))
    return printable(told)


def printable(text: str) -> str:
    """Without what would move a terminal's cursor or change its colours."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


class Told:
    """What a `Text` said of rows: S is a feature of theirs already, and the score of this model."""

    def score(self, x: Float[Tensor, "B 1"]) -> Float[Tensor, " B"]:
        """S of rows."""
        return x[:, 0]

    def arrays(self) -> dict[str, Tensor]:
        """Nothing: the encoder has the text."""
        return {}

    @staticmethod
    def of_arrays(_: Mapping[str, Tensor]) -> "Told":
        """Reads what `arrays` gave."""
        return Told()
