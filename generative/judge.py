"""A small classifier whose features judge samples, where no pretrained network can be assumed.

It learns the labels of the rows that the model learned from, is frozen, and is known by the SHA-256 sum of
its weights. Rows without labels, or with one alone, are judged by their own columns, scaled.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn
from torch.nn import functional as F

from generative.data import Table
from generative.parts.networks import Plan, encoder
from generative.parts.rows import Form, Kept, Order, Scale
from training.checkpoint import load_model, save_model
from training.errors import InputError
from training.optim import Adam
from training.schedules import cosine
from training.seeds import stream, torch_generator

FEATURES = 64
STEPS, BATCH, LR = 2_000, 128, 2e-3
BLOCK = 2_000  # rows judged at once


class Judge(nn.Module):
    """Rows in the data's own units to features (B, F); without labels these are the columns, scaled."""

    unit: Tensor
    head: nn.Module

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.register_buffer("form", form.pack())
        self.register_buffer("unit", torch.ones(()))  # the size of features, so that 1 is usual
        self.scale = Scale(form.columns)
        self.classes, self.shape = form.classes if form.classes > 1 else 0, form.shape
        self.body: nn.Module | None = None
        if self.classes:
            plan = Plan("conv" if len(form.shape) == 3 else "dense", (128,), 32, "relu")
            self.body = encoder(plan, form, FEATURES)
            self.head = nn.Linear(FEATURES, self.classes)

    @property
    def name(self) -> str:
        """What judges, and the sum it is known by."""
        if self.body is None:
            return "the columns, scaled"
        sums = hashlib.sha256()
        for value in self.state_dict().values():
            sums.update(value.cpu().contiguous().numpy().tobytes())
        return f"{FEATURES} features of a classifier, sha256 {sums.hexdigest()[:12]}"

    def scaled(self, x: Num[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Rows as the network sees them."""
        return self.scale(x)

    @torch.no_grad()
    def features(self, x: Num[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        """Features of rows."""
        return torch.cat([self._hidden(self.scaled(part)) for part in x.split(BLOCK)]) / self.unit

    @torch.no_grad()
    def labels(self, x: Num[Tensor, "B D"]) -> Int[Tensor, " B"]:
        """The labels that rows look like."""
        return self.head(self.features(x) * self.unit).argmax(-1)

    def _hidden(self, scaled: Float[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        return scaled if self.body is None else F.relu(self.body(scaled))

    @torch.enable_grad()
    def learn(self, x: Num[Tensor, "rows D"], y: Int[Tensor, " rows"] | None) -> "Judge":
        """Learns labels, always in the same way; the judge itself is returned."""
        if len(self.shape) == 3:  # pixels that are nearly always dark must not count for more than others
            self.scale.stretch(x)
        else:
            self.scale.standardise(x)
        if self.body is None or y is None:
            return self
        kept, order = Kept(self, x, torch.device("cpu")), Order(torch_generator(0, "judge"))
        optimizer = Adam(self.parameters(), LR, weight_decay=0.01)
        for step in range(STEPS):
            optimizer.lr = LR * cosine(step / STEPS)
            index = order.draw(len(x), BATCH)
            optimizer.descend(F.cross_entropy(self.head(self._hidden(kept[index])), y[index]), 10.0)
        self.unit.copy_(self.features(x[:BLOCK]).square().mean().sqrt())
        return self.requires_grad_(False)


def judge_of(table: Table, fit: Int[np.ndarray, " rows"], cache: Path | None = None) -> Judge:
    """The judge of a table, learned from the rows `fit`; kept in the folder `cache` when one is told."""
    form = Form(table.x.shape[1], table.shape, len(table.labels))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(0, "judge weights"))
        judge = Judge(form)
    y = None if table.y is None else torch.from_numpy(table.y[fit])
    data = {
        "kind": "judge",
        "rows": hashlib.sha256(fit.tobytes()).hexdigest(),
        "data": table.fingerprint(),
        "labels": None if y is None else hashlib.sha256(y.numpy().tobytes()).hexdigest(),
        "settings": [FEATURES, STEPS, BATCH, LR],
    }
    if cache is not None and cache.exists():
        weights, found = load_model(cache)
        if {name: found.get(name) for name in data} == data:
            try:
                judge.load_state_dict(weights)
            except RuntimeError as error:
                raise InputError(f"{cache} holds no judge of these rows: {error}") from None
            return judge.requires_grad_(False)
    judge.learn(torch.from_numpy(table.x[fit]), y)
    if cache is not None:
        save_model(cache, dict(judge.state_dict()), data)
    return judge
