"""What a step should look like: an ensemble for the transition, a VAE for the place.

    p(Δ | x) = N(μ(x), σ²(x)),   Δ = (o' − o) / deviation,   x = (last k observations, last k actions)
    L = mean of  sg(σ) [½ ((Δ − μ) / σ)² + log σ]     β-NLL, β = ½ (Seitzer et al., 2022, arXiv:2203.09168)

The factor sg(σ), through which no gradient flows, keeps rows that look noisy early from being given up. The
members of the ensemble (Lakshminarayanan et al., 2017, arXiv:1612.01474) differ by their first weights and by
the order of rows; what they disagree on was not seen. torch learns, NumPy runs: a single row takes it a few
microseconds a layer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import block_diag
from torch import Tensor, nn

from anomaly.detector import fit_model
from generative.data import Table
from generative.vae import VAE
from generative.vae import Config as VAEConfig
from training.config import check_positive
from training.networks import initialise
from training.optim import Adam
from training.run import RunConfig
from training.schedules import cosine
from training.seeds import numpy_generator, stream, torch_generator
from training.tanh import tanh

LOWEST = -8.0  # of log σ, in deviations of the change: nothing is exact
GAIN = 5 / 3  # of tanh
PRODUCTS = 300  # of inputs in a polynomial
HIGHEST = 6  # degree of one
ONE = np.ones((1, 1))


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the monitor."""

    history: int | None = None  # observations and actions that foretell the next; None: see monitor_choice
    degree: int | None = None  # of the polynomial; None likewise
    ridge: float | None = None  # of its weights, for each row; None likewise
    members: int = 3  # networks of the ensemble
    hidden: tuple[int, ...] = (64, 64, 64)  # sizes of their hidden layers
    steps: int = 12_000  # updates of the ensemble
    place_steps: int = 2_000  # updates of the VAE
    seed: int = 0  # of everything random

    def __post_init__(self) -> None:
        check_positive(self, "members", "hidden", "steps", "place_steps")
        for name in ("history", "degree", "ridge"):
            if getattr(self, name) is not None:
                check_positive(self, name)


@runtime_checkable
class Transitions(Protocol):
    """Foretells the change of each sensor: mean and deviation (B, O), and how much it is in doubt (B,)."""

    def __call__(self, obs: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


def beta_nll(
    change: Float[Tensor, "K B O"], mean: Float[Tensor, "K B O"], log_sigma: Float[Tensor, "K B O"]
) -> Float[Tensor, ""]:
    """L of the module docstring, summed over members, mean over rows and sensors."""
    nll = 0.5 * ((change - mean) * (-log_sigma).exp()).square() + log_sigma
    return (log_sigma.detach().exp() * nll).mean(dim=(1, 2)).sum()


class Members(nn.Module):
    """Perceptrons side by side, each layer of all one batched product: (K, B, inputs) -> (K, B, outputs)."""

    def __init__(self, members: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(
            [nn.Parameter(torch.empty(members, *shape)) for shape in pairwise(sizes)]
        )
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(members, 1, size)) for size in sizes[1:]])
        for weight in self.weights:
            for one in weight:
                initialise(one.data, 0.1 if weight is self.weights[-1] else GAIN)

    def forward(self, x: Float[Tensor, "K B I"]) -> Float[Tensor, "K B outputs"]:
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, tanh(x) if i else x, weight)
        return x


def learn(
    x: Float[Tensor, "rows I"],
    change: Float[Tensor, "rows O"],
    hidden: tuple[int, ...],
    members: int,
    steps: int,
    seed: int,
) -> list[np.ndarray]:
    """Weights (K, I, H) and biases (K, 1, H), layer after layer, of an ensemble learned from rows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "members"))
        net = Members(members, (x.shape[1], *hidden, 2 * change.shape[1]))
    adam, generator = Adam(net.parameters(), lr=3e-3), torch_generator(seed, "rows")
    for step in range(steps):
        adam.lr = 3e-3 * cosine(step / steps)
        rows = torch.randint(len(x), (members, 256), generator=generator)
        mean, log_sigma = net(x[rows]).chunk(2, -1)
        adam.descend(beta_nll(change[rows], mean, log_sigma.clamp(LOWEST, 4.0)), max_norm=100.0)
    layers = zip(net.weights, net.biases, strict=True)
    return [part.detach().numpy().copy() for layer in layers for part in layer]


class Polynomial:
    """Least squares on all products of up to `degree` scaled inputs: what is smooth about a world, exactly.

    Near where a policy keeps it a world is almost linear, and a network that had to learn that as well would
    be a hundred times less exact.
    """

    def __init__(self, index: np.ndarray, weight: np.ndarray) -> None:
        self.index, self.weight = index, weight

    @staticmethod
    def fit(x: np.ndarray, change: np.ndarray, degree: int, ridge: float) -> "Polynomial":
        """Of rows; the ridge keeps products that are the same apart, and weights small."""
        return Polynomial.path(x, change, degree, [ridge])[0]

    @staticmethod
    def degrees(inputs: int) -> tuple[int, ...]:
        """Those that have no more than `PRODUCTS` products; 1 is always among them."""
        return tuple(d for d in range(1, HIGHEST + 1) if d == 1 or math.comb(inputs + d, d) <= PRODUCTS)

    @staticmethod
    def path(x: np.ndarray, change: np.ndarray, degree: int, ridges: Sequence[float]) -> "list[Polynomial]":
        """One for each ridge."""
        sets = combinations_with_replacement(range(x.shape[1] + 1), degree)
        index = np.array(list(sets)).T.copy()
        products = Polynomial(index, np.zeros(0)).products(x)
        gram, towards = products.T @ products, products.T @ change
        unit = np.eye(len(gram)) * len(x)
        return [Polynomial(index, np.linalg.solve(gram + ridge * unit, towards)) for ridge in ridges]

    def products(self, x: np.ndarray) -> np.ndarray:
        """Of up to `degree` inputs, 1 being one of them."""
        x = np.concatenate([x, ONE if len(x) == 1 else np.ones((len(x), 1))], axis=1)
        return np.multiply.reduce(x.take(self.index, axis=1), axis=1)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if len(self.index) == 1:
            return x.dot(self.weight[:-1]) + self.weight[-1]
        return self.products(x).dot(self.weight)


class Ensemble:
    """A polynomial, and what the networks of the ensemble say is left of the change; arrays only."""

    def __init__(
        self, base: Polynomial, rest: np.ndarray, layers: list[np.ndarray], bounds: np.ndarray
    ) -> None:
        """`rest` (O,) is the deviation that the polynomial leaves, the unit of the networks; `bounds` (2, O)
        hold the log σ of clean rows: where nothing was learned, σ says nothing."""
        self.base, self.rest, self.layers, self.bounds = base, rest, layers, bounds
        self._net, self._members = _joined(layers, rest), len(layers[0])
        self._low, self._high = bounds + np.log(rest)

    @staticmethod
    def fit(
        obs: Float[np.ndarray, "rows P"],
        action: Float[np.ndarray, "rows Q"],
        change: Float[np.ndarray, "rows O"],
        cfg: Config,
    ) -> "Ensemble":
        """Learns scaled rows; degree and ridge have been chosen."""
        assert cfg.degree is not None
        assert cfg.ridge is not None
        x = np.concatenate([obs, action], axis=1)
        base = Polynomial.fit(x, change, cfg.degree, cfg.ridge)
        left = change - base(x)
        rest = np.maximum(left.std(axis=0), 1e-7)
        inputs, targets = (torch.from_numpy(part.astype(np.float32)) for part in (x, left / rest))
        layers = learn(inputs, targets, cfg.hidden, cfg.members, cfg.steps, cfg.seed)
        ensemble = Ensemble(base, rest, layers, np.array([[LOWEST], [4.0]]))
        some = numpy_generator(cfg.seed, "bounds").integers(len(obs), size=2_000)
        sigma = ensemble(obs[some], action[some])[1] / rest
        return Ensemble(base, rest, layers, np.log(np.quantile(sigma, [0.01, 0.99], axis=0)))

    def __call__(self, obs: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Transitions`; the doubt is the log of the members' mean squared distance, in deviations."""
        x = np.concatenate([obs, action], axis=1)
        # At once: an operation on two types of numbers takes three times as long.
        h = _forward(self._net, x.astype(np.float32)).astype(np.float64)
        sensors = len(self.rest)
        mean, log_sigma, apart = h[:, :sensors], h[:, sensors : 2 * sensors], h[:, 2 * sensors :]
        # add.reduce, minimum and maximum are what mean and clip call after microseconds of Python
        sigma = np.exp(np.minimum(np.maximum(log_sigma, self._low), self._high))
        apart = apart.reshape(len(x), self._members, sensors) / sigma[:, None]
        apart *= apart
        doubt = np.log(np.add.reduce(apart, axis=(1, 2)) + 1e-6)
        mean += self.base(x)
        return mean, sigma, doubt


def _joined(layers: list[np.ndarray], rest: np.ndarray) -> list[np.ndarray]:
    """The members (K) as one perceptron: a single row takes it half the time.

    Its outputs are the mean (O,) and the log σ (O,) of all, and how far each member's mean (K O) is from
    theirs, over √(K O), so that the sum of squares is their mean.
    """
    members, biases = len(layers[0]), [bias.reshape(1, -1) for bias in layers[1::2]]
    weights = [np.concatenate(list(layers[0]), axis=1)] + [block_diag(*weight) for weight in layers[2::2]]
    mean, log_sigma = np.split(np.eye(2 * len(rest)), 2, axis=1)
    alike = np.full((members, 1), 1 / members)
    apart = (np.eye(members) - alike) / math.sqrt(members * len(rest))
    read = [np.kron(alike, mean * rest), np.kron(alike, log_sigma), np.kron(apart, mean * rest)]
    outputs = np.concatenate(read, axis=1)
    weights[-1], biases[-1] = weights[-1] @ outputs, biases[-1] @ outputs
    biases[-1][0, len(rest) : 2 * len(rest)] += np.log(rest)
    return [part.astype(np.float32) for layer in zip(weights, biases, strict=True) for part in layer]


class Places:
    """How unlikely an observation is: the bound of a VAE of `generative`, its networks taken to NumPy."""

    def __init__(self, encoder: list[np.ndarray], decoder: list[np.ndarray], precision: np.ndarray) -> None:
        """`precision` (O,) is one over the deviation of p(x|z); constants are left out of the bound."""
        self.encoder, self.decoder, self.precision = encoder, decoder, precision.astype(np.float32)

    @staticmethod
    def fit(
        obs: Float[np.ndarray, "rows O"], select: Float[np.ndarray, "others O"], steps: int, seed: int
    ) -> "Places":
        """Learns scaled observations; the weights are those that explained `select` best."""
        columns = obs.shape[1]
        run = RunConfig(steps=steps, evaluate_every=max(1, steps // 4), seed=seed, device="cpu")
        latent = max(1, min(4, columns - 1))
        cfg = VAEConfig(latent=latent, hidden=(32,), activation="tanh", batch=256, run=run)
        rows = np.concatenate([obs, select]).astype(np.float64)
        table = Table(rows, tuple(f"obs{i}" for i in range(columns)), "observations")
        parts = np.arange(len(obs)), np.arange(len(obs), len(rows))
        model = fit_model("vae", cfg, table, *parts)
        assert isinstance(model, VAE)
        shift, scale = model.scale.shift.numpy(), model.scale.scale.numpy()
        encoder, decoder = _layers(model.encoder), _layers(model.decoder)
        # The model's own scale goes into its first layer and its last.
        encoder[1] = encoder[1] - (shift / scale) @ encoder[0]
        encoder[0] = encoder[0] / scale[:, None]
        decoder[-1] = decoder[-1] * scale + shift
        decoder[-2] = decoder[-2] * scale
        precision = np.exp(-model.log_sigma.detach().clamp(min=-5.0).numpy()) / scale
        nets = [[part.astype(np.float32) for part in net] for net in (encoder, decoder)]
        return Places(nets[0], nets[1], precision)

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """The negative bound (B,) of scaled observations, in nats, with z at its mean."""
        obs = obs.astype(np.float32)
        code = _forward(self.encoder, obs)
        latent = code.shape[1] // 2
        mean, log_var = code[:, :latent], np.minimum(np.maximum(code[:, latent:], -10), 10)
        off = (obs - _forward(self.decoder, mean)) * self.precision
        divergence = mean * mean + np.exp(log_var) - log_var
        return 0.5 * (np.add.reduce(off * off, axis=1) + np.add.reduce(divergence, axis=1))


def _layers(net: nn.Module) -> list[np.ndarray]:
    linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
    return [
        part.detach().numpy().copy() for layer in linear for part in (layer.weight.T.contiguous(), layer.bias)
    ]


def _forward(layers: list[np.ndarray], h: np.ndarray) -> np.ndarray:
    for i in range(0, len(layers), 2):
        h = (np.tanh(h, out=h) if i else h).dot(layers[i])
        h += layers[i + 1]
    return h
