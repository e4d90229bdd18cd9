"""What comes next in a text: an LSTM over tokens.

    p(w_t | w_1 .. w_t−1) = softmax(A h_t + b),   h_t = LSTM(E w_t−1, h_t−1),   w_0 = END

(Mikolov et al., 2010, doi:10.21437/Interspeech.2010-343, with the cell of Hochreiter and Schmidhuber, 1997.)
A share HIDDEN_WORDS of the words that it reads are told by their shape alone, so that it knows what to make
of a word that nobody saw. It learns from texts that are drawn, and keeps the weights of the update which
foretold the texts that select best.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from training.affine import Linear
from training.networks import recurrent
from training.optim import Adam
from training.schedules import one_cycle
from training.seeds import numpy_generator, stream, torch_generator

EMBEDDED, HIDDEN = 32, 128  # numbers of a token, and of what is remembered
BATCH, DRAWN = 64, 1_024  # texts of an update, and those that are drawn and sorted by length at once
STEPS = 1_500  # updates
LR, MAX_NORM = 1e-2, 1.0
HIDDEN_WORDS = 0.05
EVERY, SELECT = 100, 1_000  # updates from one look at the rows that select to the next, and those rows
AT_ONCE, CELLS = 64, 1 << 20  # texts, and numbers of their predictions, that are in memory at once
PADDING = -1
Text = tuple[int, ...]  # the numbers of its tokens, the last of them END or CUT


class Language(nn.Module):
    """The network: texts (T, B) that begin with END -> logits of what comes next (T, B, V)."""

    def __init__(self, size: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(seed, "weights"))
            self.embedding = nn.Parameter(0.3 * torch.randn(size, EMBEDDED))
            self.lstm = recurrent("lstm", EMBEDDED, HIDDEN)
            self.head = Linear(HIDDEN, size)

    def forward(self, read: Int[Tensor, "T B"]) -> Float[Tensor, "T B V"]:
        return self.head(self.lstm(self.embedding[read])[0])


@dataclass(frozen=True)
class Foretold:
    """What a model thinks of the tokens of one text."""

    surprise: Float[np.ndarray, " T"]  # −log p of each, in nats
    usual: Float[np.ndarray, " T"]  # what the surprise is in the mean at this place: the entropy of p


def learned(
    texts: Sequence[Text],
    fit: Int[np.ndarray, " f"],
    select: Int[np.ndarray, " s"],
    shapes: Sequence[int],
    seed: int,
) -> Language:
    """A model of the texts `fit`, selected by those of `select`; `shapes` is the shape of each token."""
    net, generator = Language(len(shapes), seed), torch_generator(seed, "hidden words")
    optimizer, shape = Adam(net.parameters(), LR), torch.tensor(shapes)
    judges = [texts[i] for i in select[:SELECT]]
    least, best = np.inf, net.state_dict()
    for step, words in zip(range(1, STEPS + 1), _drawn(texts, fit, seed), strict=False):
        read = _before(words)
        hidden = torch.rand(read.shape, generator=generator) < HIDDEN_WORDS
        logits = net(torch.where(hidden, shape[read], read))
        loss = functional.cross_entropy(logits.flatten(0, 1), words.flatten(), ignore_index=PADDING)
        optimizer.lr = LR * one_cycle(step / STEPS)
        optimizer.descend(loss, MAX_NORM)
        if step % EVERY == 0 or step == STEPS:
            found = float(np.mean([one.surprise.mean() for one in foretold(net, judges)]))
            if found < least:
                least, best = found, {name: array.clone() for name, array in net.state_dict().items()}
    net.load_state_dict(best)
    return net


def foretold(
    net: Language,
    texts: Sequence[Text],
    spelled: Float[Tensor, " V"] | None = None,
    shapes: Tensor | None = None,
) -> list[Foretold]:
    """What the model thinks of texts that have one token at least.

    With `spelled`, the logarithm of how often a token of its shape is this one, a token is as likely as its
    shape allows: p(w) + p(shape of w) spelled(w). A rare word has not stood in all the places where it may.
    """
    found: list[Foretold] = [None] * len(texts)  # type: ignore[list-item]
    for rows in _pieces(texts, len(net.head.bias)):
        words = _padded([texts[i] for i in rows])
        with torch.no_grad():
            log_p = net(_before(words)).log_softmax(-1)
            told = words.clamp(min=0)
            of_word = log_p.gather(-1, told[..., None])[..., 0]
            if spelled is not None and shapes is not None:
                of_shape = log_p.gather(-1, shapes[told][..., None])[..., 0]
                of_word = torch.logaddexp(of_word, of_shape + spelled[told])
            usual = -log_p.exp().mul_(log_p).sum(-1)
        parts = [part.T.numpy() for part in (-of_word, usual)]
        for at, i in enumerate(rows):
            found[i] = Foretold(*(part[at, : len(texts[i])] for part in parts))
    return found


def expected(net: Language, text: Text) -> tuple[Int[np.ndarray, " T"], Float[np.ndarray, " T"]]:
    """The token that is likeliest in the place of each of a text, and its probability."""
    with torch.no_grad():
        p, token = net(_before(_padded([text])))[:, 0].softmax(-1).max(-1)
    return token.numpy(), p.numpy()


def _drawn(texts: Sequence[Text], fit: Int[np.ndarray, " f"], seed: int) -> Iterator[Int[Tensor, "T B"]]:
    """Batches of texts that are about equally long, without end."""
    rng = numpy_generator(seed, "texts")
    while True:
        some = rng.choice(fit, DRAWN) if len(fit) < DRAWN else rng.permutation(fit)[:DRAWN]
        some = some[np.argsort([len(texts[i]) for i in some], kind="stable")]
        for rows in rng.permutation(some.reshape(-1, BATCH)):
            yield _padded([texts[i] for i in rows])


def _pieces(texts: Sequence[Text], size: int) -> Iterator[list[int]]:
    """Numbers of texts, in an order that depends on what they say alone, a few at a time."""
    piece: list[int] = []
    for i in sorted(range(len(texts)), key=lambda i: (len(texts[i]), texts[i])):
        if piece and (len(piece) == AT_ONCE or (len(piece) + 1) * len(texts[i]) * size > CELLS):
            yield piece
            piece = []
        piece.append(i)
    if piece:
        yield piece


def _padded(texts: Sequence[Text]) -> Int[Tensor, "T B"]:
    """The texts side by side, PADDING behind the shorter ones."""
    words = np.full((len(texts), max(map(len, texts))), PADDING)
    for row, text in zip(words, texts, strict=True):
        row[: len(text)] = text
    return torch.from_numpy(words.T.copy())


def _before(words: Int[Tensor, "T B"]) -> Int[Tensor, "T B"]:
    """What is read before each token: the one before it, first of all END."""
    return torch.cat([torch.zeros_like(words[:1]), words[:-1].clamp(min=0)])
