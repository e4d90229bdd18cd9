"""Terms of bounds on log p(x): the divergence from a normal prior, free bits, importance weights.

w = p(x|z) (p(z) / q(z|x))^β,   p(z) = N(0, 1),   q(z|x) = N(μ, σ²)
"""

import math
import warnings
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from training.metrics import Metrics

DRAWN = 50  # importance samples drawn at once
ACTIVE = 0.01  # variance over rows of a posterior's mean from which a dimension is active (Burda et al.)


def kl_per_dimension(mean: Float[Tensor, "B Z"], log_var: Float[Tensor, "B Z"]) -> Float[Tensor, "B Z"]:
    """½ (μ² + σ² − 1 − log σ²) of each latent dimension, in nats."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var)


def kl_divergence(mean: Float[Tensor, "B Z"], log_var: Float[Tensor, "B Z"]) -> Float[Tensor, " B"]:
    """KL(N(mean, exp log_var) ‖ N(0, 1)), summed over z, in nats."""
    return kl_per_dimension(mean, log_var).sum(-1)


def free_bits_loss(kl: Float[Tensor, "B Z"], *, free: float, beta: float) -> Float[Tensor, ""]:
    """β Σ max(0, λ − mean KL). Added to β KL, this gives β max(mean KL, λ) for each latent dimension."""
    return beta * (free - kl.mean(0)).clamp(min=0).sum()


def log_weights(
    nll: Float[Tensor, "k B"], noise: Float[Tensor, "k B Z"], z: Float[Tensor, "k B Z"],
    log_var: Float[Tensor, "B Z"], *, beta: float = 1.0,
) -> Float[Tensor, "k B"]:  # fmt: skip
    """log w, z being μ + σ noise."""
    log_ratio = 0.5 * (noise.square() - z.square() + log_var).sum(-1)  # log p(z) − log q(z|x)
    return beta * log_ratio - nll


def importance_loss(
    log_w: Float[Tensor, "k B"], kl: Float[Tensor, " B"], nll: Float[Tensor, "k B"]
) -> tuple[Float[Tensor, ""], Metrics]:
    """−log 1/k Σ w (arXiv:1509.00519, equation 8), mean over rows; kl and nll are only reported."""
    loss = (math.log(len(log_w)) - log_w.logsumexp(0)).mean()
    divergence, reconstruction = kl.detach().mean(), nll.detach().mean()
    return loss, {
        "loss/importance": loss.detach(),
        "loss/negative_elbo": reconstruction + divergence,
        "loss/reconstruction": reconstruction,
        "latent/kl": divergence,
    }


def importance_bound(
    nll: Callable[[Tensor], Tensor],
    mean: Float[Tensor, "B Z"],
    log_var: Float[Tensor, "B Z"],
    *,
    k: int,
    generator: torch.Generator,
) -> Float[Tensor, " B"]:
    """log 1/k Σ w of each row, in nats; `nll` tells −log p(x|z) (n, B) of draws of z (n, B, Z)."""
    found = []
    for done in range(0, k, DRAWN):
        noise = torch.randn(min(DRAWN, k - done), *mean.shape, generator=generator, device=mean.device)
        z = mean + (0.5 * log_var).exp() * noise
        found.append(log_weights(nll(z), noise, z, log_var).logsumexp(0))
    return torch.stack(found).logsumexp(0) - math.log(k)


def latent_metrics(mean: Float[Tensor, "B Z"], log_var: Float[Tensor, "B Z"]) -> dict[str, float]:
    """How many latent dimensions are active, and the mean KL of each, in nats."""
    kl = kl_per_dimension(mean, log_var).mean(0).tolist()
    told = {f"latent/kl_{i}": value for i, value in enumerate(kl)}
    return {"latent/active": float(active(mean).sum()), **told}


def active(mean: Float[Tensor, "B Z"]) -> Bool[Tensor, " Z"]:
    """Which latent dimensions tell rows apart, from the posterior's means."""
    return mean.var(0) > ACTIVE


def warn_of_collapse(mean: Float[Tensor, "B Z"]) -> None:
    """Warns when a tenth of the latent dimensions or fewer tell rows apart, from the posterior's means."""
    found, latent = int(active(mean).sum()), mean.shape[1]
    if found <= latent // 10:
        warnings.warn(
            f"posterior collapse: {found} of {latent} latent dimensions tell rows apart; a smaller --beta, a"
            " longer --warm-up or --free-bits 0.1 keeps more of them",
            stacklevel=3,
        )
