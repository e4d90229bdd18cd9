"""Series made with known anomalies, on which the settings of detectors of series were chosen."""

import numpy as np
from jaxtyping import Bool, Float

SHAPES = ("season", "noise", "walk", "bursts", "square", "counts")
FAULTS = ("spike", "level", "spread", "flat", "period", "dip")
ROWS = 4_000


def made(seed: int) -> tuple[Float[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    """A series and its labels: a fifth of a thousand rows around each of none to three anomalies."""
    rng = np.random.default_rng(seed)
    shape = SHAPES[seed % len(SHAPES)]
    t = np.arange(ROWS)
    x = _normal(shape, t, rng)
    if rng.random() < 0.5:
        x += rng.normal() * x.std() * t / ROWS  # slow drift
    anomaly = np.zeros(ROWS, bool)
    for i in range(rng.integers(0, 3) if seed % 8 else 0):
        at = int(rng.integers(800, 1_800)) + 1_400 * i
        fault = FAULTS[int(rng.integers(len(FAULTS)))]
        length = 1 if fault == "spike" else int(rng.integers(20, 150))
        _spoil(x, at, length, fault, rng)
        anomaly[max(0, at - 100) : at + 100] = True
    return x * 10 ** rng.uniform(-2, 4), anomaly


def _normal(shape: str, t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.normal(size=len(t)) * rng.uniform(0.02, 0.3)
    period = int(rng.integers(50, 300))
    if shape == "season":
        return np.sin(2 * np.pi * t / period) + 0.4 * np.sin(4 * np.pi * t / period + 1) + noise
    if shape == "square":
        return (t % period < period // 3) * 1.0 + noise
    if shape == "walk":
        x = np.zeros(len(t))
        for i in range(1, len(t)):
            x[i] = 0.98 * x[i - 1] + noise[i]
        return x
    if shape == "bursts":
        return noise + (rng.random(len(t)) < 0.01) * rng.exponential(1.0, len(t))
    if shape == "counts":
        return rng.poisson(3 * (1.2 + np.sin(2 * np.pi * t / period))).astype(float)
    return noise


def _spoil(x: np.ndarray, at: int, length: int, fault: str, rng: np.random.Generator) -> None:
    here, unit = slice(at, at + length), x[:600].std()
    sign = rng.choice([-1, 1])
    if fault == "spike":
        x[here] += sign * unit * rng.uniform(4, 8)
    elif fault == "level":
        x[at : at + 5 * length] += sign * unit * rng.uniform(1.5, 4)
    elif fault == "spread":
        x[here] += rng.normal(size=len(x[here])) * unit * rng.uniform(1.0, 3)
    elif fault == "flat":
        x[here] = x[at]
    elif fault == "period":
        x[here] = x[at : at + 2 * length : 2][: len(x[here])]
    else:
        x[here] -= unit * rng.uniform(2, 4)
