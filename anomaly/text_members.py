"""The members of a detector of rows, some of whose columns may be text.

A feature says how strange each text is (`text`); one member looks at it alone, and all others at the rest.
Their scores are joined as ever (`surprise.joined`). A member of a text weighs TEXT_WEIGHT times what all
others weigh together: they all look at the other columns, and it is alone with its own. Rows that a text
did not learn from say what its scores are worth.

A glance looks at texts too, by the same weights, so that a row is asked about that is strange in its text
alone. Of a table of text alone there is no glance, and no other member.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anomaly.encoder import Encoder
from anomaly.glance import ASKED, Glance
from anomaly.models import TEXT, Member, fit_member, glance_of
from anomaly.schema import Schema
from anomaly.surprise import Surprise, joined
from anomaly.text import Told, held
from training.errors import InputError

TEXT_WEIGHT = 0.25
LEAST = 0.5  # nats of a text's score that count as one at least: of like texts all scores are nearly equal
LIMIT = "limit with text"  # the name of its array


@dataclass(frozen=True)
class Parts:
    """What the members of a detector are, and what they look at."""

    names: tuple[str, ...]  # of those that look at other columns than text
    encoder: Encoder
    seed: int
    cfg: Any = None  # of a generative model
    shape: tuple[int, ...] = ()  # of a row that is a picture

    def judged(self, rows: int) -> Bool[np.ndarray, " B"]:
        """Which of the fitted rows no text learned from; all of few."""
        return held(rows, self.seed)

    def fit(self, x: Float[np.ndarray, "B F"], judged: Bool[np.ndarray, " B"]) -> list[Member]:
        """Members of the features of rows; those that are `judged` say what scores of text are worth."""
        of_text = self.encoder.of_text
        others, names = np.flatnonzero(~of_text), () if of_text.all() else self.names
        seen, owner = (x[:, others], self.encoder.owner[others]) if of_text.any() else (x, self.encoder.owner)
        members = [fit_member(name, seen, owner, self.seed, self.cfg, self.shape) for name in names]
        weight = TEXT_WEIGHT * sum(member.weight for member in members) if members else 1.0
        unseen = x[judged] if judged.any() else x  # of few contaminated rows a half may have none
        for f in np.flatnonzero(of_text):
            surprise = Surprise.fit(unseen[:, f], least=LEAST)
            members.append(Member(TEXT, Told(), surprise, weight=weight, own=surprise(x[:, f])))
        see(members, self.encoder)
        return members

    def glance(
        self, members: Sequence[Member], x: Float[np.ndarray, "B F"], judged: Bool[np.ndarray, " B"]
    ) -> "Glance | TextGlance | None":
        """What clears most rows in place of what `fit` gave; None of few rows, or of text alone."""
        of_text = self.encoder.of_text
        if of_text.all():
            return None
        found = glance_of(members, x[:, ~of_text] if of_text.any() else x, self.seed)
        return TextGlance.fit(found, members, judged) if found and of_text.any() else found


def named(kind: str, schema: Schema, source: str, fast: bool) -> str:
    """The kind of a detector: that of text alone is `text`; raises InputError for one that cannot read it."""
    if any(column.kind != "text" for column in schema.inputs):
        return kind
    if kind not in ("auto", "ensemble") or fast:
        told = "a fast detector" if fast else f"the detector {kind}"
        raise InputError(f"{told} reads other columns than text, {source} has text alone: expected auto")
    return TEXT


def see(members: Sequence[Member], encoder: Encoder) -> None:
    """Tells members which features they look at, texts in their order."""
    if not encoder.of_text.any():
        return
    texts = iter(np.flatnonzero(encoder.of_text))
    for member in members:
        member.sees = np.array([next(texts)]) if member.kind == TEXT else np.flatnonzero(~encoder.of_text)


class TextGlance:
    """A glance at other columns joined with what texts say, and the limit up to which it clears rows."""

    def __init__(self, glance: Glance, members: Sequence[Member], limit: float) -> None:
        self.glance, self.limit = glance, limit
        self.texts = [member for member in members if member.kind == TEXT]
        self._others = next(member.sees for member in members if member.kind != TEXT)
        weight = sum(member.weight for member in members if member.kind != TEXT)
        self._weights = np.array([weight, *(member.weight for member in self.texts)])

    @staticmethod
    def fit(glance: Glance, members: Sequence[Member], judged: Bool[np.ndarray, " B"]) -> "TextGlance":
        """With the limit that a share ASKED of the rows `judged` exceeds, each looked at without itself."""
        found = TextGlance(glance, members, 0.0)
        assert glance.own is not None
        own = [glance.own[judged], *(text.own[judged] for text in found.texts if text.own is not None)]
        found.limit = float(np.quantile(joined(np.stack(own), found._weights), 1 - ASKED))
        return found

    def __call__(self, x: Float[np.ndarray, "B F"]) -> Float[np.ndarray, " B"]:
        """How strange rows look."""
        views = [self.glance(x[:, self._others]), *(text(x) for text in self.texts)]
        return joined(np.stack(views), self._weights)

    def arrays(self) -> dict[str, Tensor]:
        """What `restored` needs beside the members."""
        return {**self.glance.arrays(), LIMIT: torch.tensor([self.limit], dtype=torch.float64)}


def restored(arrays: Mapping[str, Tensor], members: Sequence[Member]) -> Glance | TextGlance:
    """Reads what a glance's `arrays` gave."""
    found = dict(arrays)
    limit = found.pop(LIMIT, None)
    glance = Glance.of_arrays(found)
    return glance if limit is None else TextGlance(glance, members, float(limit[0]))
