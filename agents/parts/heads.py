"""From a network's numbers to actions: the three kinds of policies that policy gradients learn.

Randomness is an argument: `noise` is drawn once for a whole rollout, which costs one call instead of one a
step. A head reads the network's outputs (..., A) and knows how to draw, to choose,
and how likely a choice was.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from envs.spaces import Spaces

FORBIDDEN = -1e8  # a logit that no noise lifts


class Categorical(nn.Module):
    """One of A actions; the outputs are logits."""

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.actions = actions

    def noise(self, *shape: int, generator: torch.Generator) -> Float[Tensor, "*shape A"]:
        """Gumbel noise: the largest of logits + noise is a sample (Gumbel, 1954)."""
        uniform = torch.empty(*shape, self.actions, device=generator.device)
        return uniform.exponential_(generator=generator).log_().neg_()

    def sample(self, outputs: Float[Tensor, "*N A"], noise: Float[Tensor, "*N A"]) -> Int[Tensor, "*N"]:
        """An action drawn with the probabilities softmax(outputs)."""
        return (outputs + noise).argmax(-1)

    def best(self, outputs: Float[Tensor, "*N A"]) -> Int[Tensor, "*N"]:
        """The most likely action."""
        return outputs.argmax(-1)

    def log_prob(self, outputs: Float[Tensor, "B A"], action: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Log-probability of the actions."""
        return -F.cross_entropy(outputs, action, reduction="none")

    def entropy(self, outputs: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """−Σ p log p, in nats."""
        log_p = F.log_softmax(outputs, -1)
        return -(log_p.exp() * log_p).sum(-1)


class Choices(nn.Module):
    """Several discrete numbers, independent; the outputs are the logits of each, one after another."""

    def __init__(self, choices: tuple[int, ...]) -> None:
        super().__init__()
        self.choices = choices
        self.parts = [Categorical(count) for count in choices]

    def noise(self, *shape: int, generator: torch.Generator) -> Float[Tensor, "*shape A"]:
        """Gumbel noise for every logit."""
        return Categorical(sum(self.choices)).noise(*shape, generator=generator)

    def sample(self, outputs: Float[Tensor, "*N A"], noise: Float[Tensor, "*N A"]) -> Int[Tensor, "*N K"]:
        """Actions, each drawn with the probabilities softmax(its logits)."""
        return self.best(outputs + noise)

    def best(self, outputs: Float[Tensor, "*N A"]) -> Int[Tensor, "*N K"]:
        """The most likely numbers."""
        return torch.stack([logits.argmax(-1) for logits in outputs.split(self.choices, -1)], -1)

    def log_prob(self, outputs: Float[Tensor, "B A"], action: Int[Tensor, "B K"]) -> Float[Tensor, " B"]:
        """Log-probability of the actions, summed over their numbers."""
        rows = zip(self.parts, outputs.split(self.choices, -1), action.unbind(-1), strict=True)
        return torch.stack([part.log_prob(logits, chosen) for part, logits, chosen in rows]).sum(0)

    def entropy(self, outputs: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """The sum of all entropies, in nats."""
        rows = zip(self.parts, outputs.split(self.choices, -1), strict=True)
        return torch.stack([part.entropy(logits) for part, logits in rows]).sum(0)


class Gaussian(nn.Module):
    """A numbers, independent and normal; the outputs are means, the deviations are learned parameters that
    all start at `deviation`."""

    def __init__(self, actions: int, deviation: float = 1.0) -> None:
        super().__init__()
        self.log_std = nn.Parameter(torch.full((actions,), math.log(deviation)))

    def noise(self, *shape: int, generator: torch.Generator) -> Float[Tensor, "*shape A"]:
        """Standard normal noise."""
        return torch.randn(*shape, len(self.log_std), generator=generator, device=generator.device)

    def sample(self, outputs: Float[Tensor, "*N A"], noise: Float[Tensor, "*N A"]) -> Float[Tensor, "*N A"]:
        """mean + deviation · noise; the environment clips it, the likelihood does not."""
        return outputs + self.log_std.exp() * noise

    def best(self, outputs: Float[Tensor, "*N A"]) -> Float[Tensor, "*N A"]:
        """The mean."""
        return outputs

    def log_prob(self, outputs: Float[Tensor, "B A"], action: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """Log-density of the actions, summed over axes."""
        z = (action - outputs) * (-self.log_std).exp()
        return (-0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self, outputs: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """Σ log σ + ½ log 2πe, in nats; the same in every state."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1).expand(len(outputs))


class SquashedGaussian(nn.Module):
    """A numbers in [-1, 1], tanh of independent normal ones; the outputs (..., P), P = 2 A, are means and
    logarithms of deviations.

    log π(a) = Σ log N(u) − Σ log(1 − tanh² u),   a = tanh u    (arXiv:1812.05905, appendix C)
    """

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.actions = actions

    def noise(self, *shape: int, generator: torch.Generator) -> Float[Tensor, "*shape A"]:
        """Standard normal noise."""
        return torch.randn(*shape, self.actions, generator=generator, device=generator.device)

    def sample(self, outputs: Float[Tensor, "*N P"], noise: Float[Tensor, "*N A"]) -> Float[Tensor, "*N A"]:
        """tanh(mean + deviation · noise)."""
        mean, log_std = self._split(outputs)
        return (mean + log_std.exp() * noise).tanh()

    def best(self, outputs: Float[Tensor, "*N P"]) -> Float[Tensor, "*N A"]:
        """tanh of the mean."""
        return self._split(outputs)[0].tanh()

    def draw(
        self, outputs: Float[Tensor, "B P"], noise: Float[Tensor, "B A"]
    ) -> tuple[Float[Tensor, "B A"], Float[Tensor, " B"]]:
        """An action as `sample` gives it, and its log-density; both have gradients."""
        mean, log_std = self._split(outputs)
        u = mean + log_std.exp() * noise
        log_normal = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        log_slope = 2 * (math.log(2.0) - u - F.softplus(-2 * u))  # log(1 − tanh² u), finite for all u
        return u.tanh(), (log_normal - log_slope).sum(-1)

    def _split(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = outputs.split(self.actions, -1)
        return mean, log_std.clamp(-20.0, 2.0)


def head(spaces: Spaces, deviation: float = 1.0) -> Categorical | Choices | Gaussian:
    """The head for the actions of `spaces`; continuous ones are drawn with this deviation at first."""
    if spaces.choices:
        return Choices(spaces.choices)
    return Categorical(spaces.actions) if spaces.discrete else Gaussian(spaces.actions, deviation)


def allowed(outputs: Float[Tensor, "*N A"], mask: Float[Tensor, "*N A"]) -> Float[Tensor, "*N A"]:
    """Logits with a probability of zero for what the mask forbids (Huang and Ontañón, 2022,
    arXiv:2006.14171). Finite, so that the entropy is: 0 · log 0 counts as 0."""
    return torch.where(mask > 0, outputs, FORBIDDEN)
