"""Density ratio: nets that tell rows from rows that are made to be wrong.

    L = −mean log σ(f(x)) − mean log σ(−f(x̃)),   s(x) = −f(x) → −log p(x) / p̃(x)

(Goodfellow et al., 2014, arXiv:1406.2661, theorem 1, with a generator that does not learn.) The wrong rows x̃,
in equal parts: some columns taken from other rows; noise added; drawn from the box of all values and beyond;
between or beyond two rows. Columns of few values take the values of other rows, or what learns would learn
what a possible value is instead of which rows are likely; where others are drawn from the box, theirs are
drawn as if each were as frequent as any other, which tells what is rare.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from anomaly.nets import FOLDS, HIDDEN, Nets, ahead, folds, learn, outside, updates
from training.seeds import torch_generator

BATCH, LR = 64, 2e-3
FEW = 12  # different values of a column that is not continuous
CLIP = 8.0  # features are bounded where the nets look, softly


class Ratio:
    """One discriminator for each fold."""

    def __init__(self, nets: Nets) -> None:
        self.nets = nets

    @staticmethod
    def fit(
        x: Float[Tensor, "B F"], owner: Int[Tensor, " F"], seed: int, hidden: tuple[int, ...] = HIDDEN
    ) -> tuple["Ratio", Float[Tensor, " B"]]:
        """Discriminators of the rows, and the scores of the rows out of fold; `owner` groups the features."""
        generator = torch_generator(seed, "ratio")
        x = x.float()
        near, wrong = squash(x), Wrong(x, owner, generator)
        fold = folds(len(x), generator)
        rows = outside(fold)
        nets = Nets(x.shape[1], 1, generator, hidden=hidden)
        many = ahead(FOLDS * BATCH * x.shape[1])

        def batches() -> Iterator[Float[Tensor, "K B2 F"]]:
            """BATCH rows of each fold's net, then as many wrong ones, a part of every kind in each batch."""
            while True:
                at = torch.randint(rows.shape[1], (FOLDS, 2 * BATCH * many), generator=generator)
                real, spoilt = rows.gather(1, at).chunk(2, 1)
                both = torch.stack([near[real], squash(wrong(rows, spoilt))], 1).unflatten(2, (BATCH, many))
                yield from both.permute(3, 0, 1, 2, 4).flatten(2, 3)

        drawn = batches()

        def loss() -> Float[Tensor, ""]:
            logits = nets(next(drawn))[..., 0]
            return ratio_loss(logits[:, :BATCH], logits[:, BATCH:])

        learn(nets, loss, updates(len(x)), LR)
        ratio = Ratio(nets)
        return ratio, ratio._each(x)[fold, torch.arange(len(x))]

    @torch.inference_mode()
    def _each(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "K B"]:
        return -self.nets(squash(x.float()).expand(self.nets.count, -1, -1))[..., 0]

    def score(self, x: Float[Tensor, "B F"]) -> Float[Tensor, " B"]:
        """s of the module docstring, the mean over the nets."""
        return self._each(x).mean(0)

    def arrays(self) -> dict[str, Tensor]:
        """What `of_arrays` needs."""
        return dict(self.nets.state_dict())

    @staticmethod
    def of_arrays(found: dict[str, Tensor]) -> "Ratio":
        """Reads what `arrays` gave."""
        count, inputs, _ = found["weights.0"].shape
        layers = sum(name.startswith("weights.") for name in found)
        hidden = tuple(found[f"weights.{layer}"].shape[2] for layer in range(layers - 1))
        nets = Nets(inputs, 1, torch.Generator(), count, hidden)
        nets.load_state_dict(found)
        return Ratio(nets)


def ratio_loss(real: Float[Tensor, "K B"], wrong: Float[Tensor, "K B"]) -> Float[Tensor, ""]:
    """L of the module docstring, summed over the nets, which share no weights."""
    return (functional.softplus(-real).mean(1) + functional.softplus(wrong).mean(1)).sum()


def squash(x: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
    """x near zero, and log-like from CLIP on, so that far values keep their order and nets stay calm."""
    return x.clamp(-CLIP, CLIP) * (1 + (x.abs() / CLIP).clamp(min=1).log())


class Wrong:
    """Makes wrong rows of right ones."""

    def __init__(self, x: Float[Tensor, "B F"], owner: Int[Tensor, " F"], generator: torch.Generator) -> None:
        self.x, self.owner, self.generator = x, owner, generator
        self.columns = int(owner.max()) + 1
        self.low, self.high = x.amin(0), x.amax(0)
        self.deviation = x.std(0, correction=0)
        few: Bool[Tensor, " F"] = torch.tensor([len(column.unique()) <= FEW for column in x.T])
        self.few = few
        examples = self._examples()
        self.values = torch.tensor([len(rows) for rows in examples])
        self.examples = pad_sequence(examples, batch_first=True)

    def __call__(self, rows: Int[Tensor, "K N"], chosen: Int[Tensor, "K B"]) -> Float[Tensor, "K B F"]:
        """A wrong row for each of the chosen ones, drawing on `rows` alone: a quarter of them in each way."""
        quarter = max(chosen.shape[1] // 4, 1)
        first, second, third, last = chosen.tensor_split([quarter, 2 * quarter, 3 * quarter], 1)
        mixed = self._mixed(rows, chosen if self.few.any() else first)
        noise = torch.randn(*second.shape, self.x.shape[1], generator=self.generator)
        size = 10 ** (self._uniform(*second.shape, 1) * 1.3 - 1.0)  # 0.1 to 2 deviations
        place = self._uniform(*third.shape, self.x.shape[1]) * 1.2 - 0.1
        box = self.low + place * (self.high - self.low)
        x = self.x[last]
        other = self.x[rows.gather(1, torch.randint(rows.shape[1], last.shape, generator=self.generator))]
        between = x + (self._uniform(*last.shape, 1) * 2 - 0.5) * (other - x)
        made = [mixed[:, :quarter], self.x[second] + size * self.deviation * noise, box, between]
        if self.few.any():
            mixed[:, 2 * quarter : 3 * quarter] = self.x[
                self._any_value(third), torch.arange(self.x.shape[1])
            ]
            return torch.where(self.few, mixed, torch.cat(made, 1))
        return torch.cat(made, 1)

    def _mixed(self, rows: Int[Tensor, "K N"], chosen: Int[Tensor, "K B"]) -> Float[Tensor, "K B F"]:
        """Rows, some columns of which are taken from other rows; columns move with all their features."""
        shape = (*chosen.shape, self.columns)
        swapped = self._uniform(*shape) < self._uniform(*chosen.shape, 1)
        swapped |= torch.nn.functional.one_hot(
            torch.randint(self.columns, chosen.shape, generator=self.generator), self.columns
        ).bool()
        at = torch.randint(rows.shape[1], shape, generator=self.generator)
        donor = rows.gather(1, at.flatten(1)).view(shape)
        source = torch.where(swapped, donor, chosen[..., None])[..., self.owner]
        return self.x[source, torch.arange(self.x.shape[1])]

    def _examples(self) -> list[Int[Tensor, " V"]]:
        """For each column one row for each value that its features of few values have together."""
        found = []
        for c in range(self.columns):
            mine = self.few & (self.owner == c)
            if not mine.any():
                found.append(torch.zeros(1, dtype=torch.long))
                continue
            values, which = self.x[:, mine].unique(dim=0, return_inverse=True)
            last = torch.zeros(len(values), dtype=torch.long)
            found.append(last.scatter_reduce(0, which, torch.arange(len(which)), "amax"))
        return found

    def _any_value(self, chosen: Int[Tensor, "K B"]) -> Int[Tensor, "K B F"]:
        """A row for each feature to take its value from, every value of a column as likely as any other."""
        shape = (*chosen.shape, self.columns)
        which = torch.randint(2**31, shape, generator=self.generator) % self.values
        return self.examples[torch.arange(self.columns), which][..., self.owner]

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator)
