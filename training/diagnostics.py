"""How the layers of what learns are doing: gradients, steps, dead units, and warnings that name a layer."""

import math
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median

import torch
from torch import Tensor, nn

from training.networks import ACTIVATIONS, Twins
from training.optim import Descent

VANISHED = 1e-4  # a layer's gradient per weight, as a share of the largest layer's: its median over rows
EXPLODED = 1_000.0  # a layer's gradient, as a multiple of its median over the last rows; agents reach 100
REMEMBERED, ENOUGH = 20, 5  # rows of medians, and how few will do
STILL = 1e-4  # a unit is dead when its output varies by less than this over all rows


class Diagnostics:
    """Looks at the last update of every optimizer of a learner: `gradient/LAYER`, `update/LAYER`.

    `gradient` is the norm of a layer's gradient before clipping, `update` the norm of its last step over the
    norm of its weights: about 1e-3 is usual. Warns once a layer when its gradient
    vanishes or explodes.
    """

    def __init__(self, learner: object) -> None:
        parts = vars(learner).values()
        self._names: dict[int, str] = {}
        for module in (part for part in parts if isinstance(part, nn.Module)):
            self._names = {id(p): name for name, p in module.named_parameters()} | self._names
        self._optimizers = [part for part in parts if isinstance(part, Descent)]
        self._seen: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self._shares: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self._warned: set[str] = set()

    def __call__(self) -> dict[str, float]:
        """Metrics of the last update; the numbers of a device come over in one copy."""
        found: dict[str, float] = {}
        for optimizer in self._optimizers:
            layers = [_layer(self._names[id(p)]) for p in optimizer.parameters]
            sizes = [p.numel() for p in optimizer.parameters]
            tensors = (optimizer.gradient(), optimizer.change(), optimizer.flat)
            norms = torch.stack([torch.stack(torch._foreach_norm(t.split(sizes))) for t in tensors])
            squares: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
            for layer, size, row in zip(layers, sizes, norms.square().T.tolist(), strict=True):
                squares[layer] = [a + b for a, b in zip(squares[layer], [*row, size], strict=True)]
            self._watch({layer: (grad, count) for layer, (grad, _, _, count) in squares.items()})
            for layer, (grad, change, weights, _) in squares.items():
                found[f"gradient/{layer}"] = math.sqrt(grad)
                found[f"update/{layer}"] = math.sqrt(change / weights) if weights else 0.0
            found["optim/lr"] = optimizer.lr
        return found

    def _watch(self, layers: Mapping[str, tuple[float, float]]) -> None:
        """Warns of layers by their squared gradients and numbers of weights."""
        largest = max(square / count for square, count in layers.values())
        shares, growth = {}, {}
        for layer, (square, count) in layers.items():
            seen, part = self._seen[layer], self._shares[layer]
            if largest > 0 and math.isfinite(largest):
                part.append(math.sqrt(square / count / largest))
            if len(part) >= ENOUGH and median(part) < VANISHED:
                shares[layer] = median(part)
            elif len(seen) >= ENOUGH and square > (EXPLODED * median(seen)) ** 2 > 0:
                growth[layer] = math.sqrt(square) / median(seen)
            if math.isfinite(square):
                seen.append(math.sqrt(square))
        self._warn(shares, min, "vanishes: {:.1e} of the largest layer's, per weight")
        self._warn(growth, max, "explodes: {:.0f} times its median over the last rows")

    def _warn(self, layers: dict[str, float], worst: Callable[..., str], what: str) -> None:
        """One warning that names the worst of the layers that were not yet warned of."""
        new = {layer: value for layer, value in layers.items() if layer not in self._warned}
        if new:
            self._warned.update(new)
            layer = worst(new, key=new.__getitem__)
            more = f" (and of {len(new) - 1} more layers)" if len(new) > 1 else ""
            warnings.warn(f"the gradient of {layer}{more} {what.format(new[layer])}", stacklevel=2)


@contextmanager
def dead_units(model: nn.Module) -> Iterator[dict[str, float]]:
    """Fills a table `dead/LAYER` while the model runs forward: the share of units whose output stands still.

    A unit that gives the same number on all rows of the largest batch tells nothing: a ReLU that is always
    off, a saturated tanh.
    """
    found: dict[str, float] = {}
    rows: dict[str, int] = {}

    def look(name: str, twins: bool) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            output = torch.cat(tuple(output), -1) if twins else output  # units of both nets, side by side
            units = output.flatten(2).transpose(1, 2).flatten(0, 1) if output.ndim == 4 else output
            units = units.reshape(-1, units.shape[-1])
            if len(units) >= max(2, rows.get(name, 0)):
                rows[name] = len(units)
                still = (units.amax(0) - units.amin(0)) < STILL
                found[f"dead/{name}"] = still.float().mean().item()

        return hook

    handles = []
    nets = [module for module in model.modules() if isinstance(module, Twins)]
    of_twins = {id(activation) for net in nets for activation in net.activations}
    for name, module in model.named_modules():
        if type(module) in ACTIVATIONS:
            handles.append(module.register_forward_hook(look(name, id(module) in of_twins)))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _layer(parameter: str) -> str:
    """`net.0` of `net.0.weight`; a parameter that is a list's own item keeps its name."""
    layer, _, last = parameter.rpartition(".")
    return layer.replace(".parametrizations", "") if layer and not last.isdigit() else parameter
