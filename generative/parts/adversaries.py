"""The two networks of a GAN."""

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from generative.parts.networks import Network, PictureEncoder, Plan, decoder
from generative.parts.rows import Form, beside, one_hot
from training.networks import LayerConfig, activate, mlp


class Critic(nn.Module):
    """Rows (B, D), scaled, to logits (B,): high for those that look true.

    A label's vector meets the features as a projection (Miyato and Koyama, 2018, arXiv:1802.05637).
    """

    def __init__(
        self, network: Network, form: Form, hidden: tuple[int, ...], width: int, classes: int, spectral: bool
    ) -> None:
        super().__init__()
        layer = LayerConfig(norm="spectral" if spectral else "none")
        features = hidden[-1]
        first: nn.Module
        if network == "conv":
            # A linear map would only sum local evidence; judging the whole picture needs a hidden layer.
            first = PictureEncoder(form.shape, width, features, "leaky_relu", layer)
        else:
            first = mlp(form.columns, hidden[:-1], features, "leaky_relu", layer=layer)
        self.body = nn.Sequential(first, activate("leaky_relu"))
        self.head = mlp(features, (), 1, "leaky_relu", layer=layer)
        self.label: nn.Module | None = None
        if classes and spectral:  # of a matrix of zeros there is no norm to divide by
            self.label = spectral_norm(nn.Embedding(classes, features))
        elif classes:
            self.label = nn.Embedding(classes, features)
            nn.init.zeros_(self.label.weight)

    def features(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        """What the last hidden layer says of rows."""
        return self.body(x)

    def forward(self, x: Float[Tensor, "B D"], y: Int[Tensor, " B"] | None = None) -> Float[Tensor, " B"]:
        found = self.features(x)
        logit = self.head(found)[:, 0]
        return logit if self.label is None or y is None else logit + (self.label(y) * found).sum(-1)


class Generator(nn.Module):
    """z (B, Z) and labels to rows (B, D), scaled: pictures within 0 .. 1, numbers of a table anywhere."""

    def __init__(
        self, network: Network, form: Form, hidden: tuple[int, ...], width: int, classes: int, latent: int
    ) -> None:
        super().__init__()
        self.classes = classes
        self.bounded = len(form.shape) == 3
        layer = LayerConfig(norm="batch")
        plan = Plan(network, hidden, width, "leaky_relu", layer)
        self.body = decoder(plan, form, latent + classes)

    def forward(self, z: Float[Tensor, "B Z"], y: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B D"]:
        out = self.body(beside(z, one_hot(y, self.classes)))
        return out.sigmoid() if self.bounded else out
