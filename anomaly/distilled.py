"""One net in place of all members of a detector: it learns to score as they do together.

    L = mean of (f(x) − log(1 + S(x)))²,   s(x) = exp(f(x)) − 1

S is the members' joint surprise (Hinton et al., 2015, arXiv:1503.02531, for what one net can learn from
several). Half of each batch are fitted rows, with what members say that did not see them; the other half are
rows made to be wrong (`ratio`), a little wrong, and far out, which no member has seen. Scoring takes a
fiftieth of the time; p-values are calibrated on the net's own scores, so that they promise the same.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from anomaly.nets import learn
from anomaly.ratio import Wrong, squash
from training.networks import mlp
from training.seeds import stream, torch_generator

HIDDEN = (128, 128)
UPDATES, BATCH, LR = 4_000, 256, 2e-3
ROWS = 10_000  # that are fitted, at most: each member knows so many
MADE = 8_192  # wrong rows, as many a little wrong, half as many far out
LITTLE, FAR = (-2.0, -0.3), (0.3, 2.0)  # log10 of how wrong, in deviations
LARGEST = 50.0  # f: e^50 is as strange as anything


class Distilled:
    """The net."""

    def __init__(self, net: nn.Sequential) -> None:
        self.net = net

    @staticmethod
    def fit(
        x: Float[Tensor, "B F"],
        own: Float[np.ndarray, " B"],
        teacher: Callable[[Float[np.ndarray, "B F"]], Float[np.ndarray, " B"]],
        owner: Int[Tensor, " F"],
        seed: int,
    ) -> "Distilled":
        """A net that scores as `teacher` does; `own` are scores of the rows x by what has not seen them."""
        generator = torch_generator(seed, "distilled")
        made = made_rows(x.float(), owner, generator)
        rows = squash(torch.cat([x.float(), made]))
        target = torch.from_numpy(np.log1p(np.concatenate([own, teacher(made.double().numpy())]))).float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(seed, "distilled"))
            net = mlp(x.shape[1], HIDDEN, 1, "relu")
        half = BATCH // 2

        def loss() -> Float[Tensor, ""]:
            fitted = torch.randint(len(x), (half,), generator=generator)
            wrong = torch.randint(len(x), len(rows), (half,), generator=generator)
            at = torch.cat([fitted, wrong])
            return distilled_loss(net(rows[at])[:, 0], target[at])

        learn(net, loss, UPDATES, LR)
        return Distilled(net)

    @torch.inference_mode()
    def score(self, x: Float[Tensor, "B F"]) -> Float[Tensor, " B"]:
        """s of the module docstring."""
        return self.net(squash(x.float()))[:, 0].clamp(max=LARGEST).expm1()

    def arrays(self) -> dict[str, Tensor]:
        """What `of_arrays` needs."""
        return dict(self.net.state_dict())

    @staticmethod
    def of_arrays(found: dict[str, Tensor]) -> "Distilled":
        """Reads what `arrays` gave."""
        net = mlp(found["0.weight"].shape[1], HIDDEN, 1, "relu")
        net.load_state_dict(found)
        return Distilled(net)


def distilled_loss(f: Float[Tensor, " B"], target: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """L of the module docstring."""
    return (f - target).square().mean()


def made_rows(
    x: Float[Tensor, "B F"], owner: Int[Tensor, " F"], generator: torch.Generator
) -> Float[Tensor, "M F"]:
    """Rows that are wrong in the ways of `ratio`, then a little wrong, then far out."""
    chosen = torch.randint(len(x), (MADE,), generator=generator)
    wrong = Wrong(x, owner, generator)(torch.arange(len(x))[None], chosen[None])[0]
    deviation = x.std(0, correction=0)
    parts = [wrong]
    for (low, high), count in ((LITTLE, MADE), (FAR, MADE // 2)):
        rows = x[torch.randint(len(x), (count,), generator=generator)]
        size = 10 ** (low + (high - low) * torch.rand(count, 1, generator=generator))
        moved = torch.rand(rows.shape, generator=generator) < torch.rand(count, 1, generator=generator)
        parts.append(rows + size * deviation * moved * torch.randn(rows.shape, generator=generator))
    return torch.cat(parts)
