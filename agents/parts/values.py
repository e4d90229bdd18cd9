"""What actions are worth: the network of the value methods, and how it acts."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from agents.parts.dueling import duel
from agents.parts.heads import allowed
from agents.parts.normalised import Normalised
from agents.parts.pictures import body
from envs import Spaces
from training.errors import InputError
from training.metrics import Metrics
from training.networks import Activation, LayerConfig


class ActionValues(Normalised):
    """K numbers about each action, whose mean is its value: (B, O) -> (B, A, K).

    Numbers about forbidden actions are those of any other; `values` has no use for them.
    """

    def __init__(
        self,
        spaces: Spaces,
        hidden: tuple[int, ...],
        activation: Activation,
        *,
        numbers: int = 1,
        dueling: bool = False,
        layer_norm: bool = False,
        normalise: bool = False,
    ) -> None:
        check_discrete(spaces)
        super().__init__(spaces, normalise)
        self.shape = (spaces.actions + dueling, numbers)
        self.dueling, self.masked = dueling, spaces.masked
        layer = LayerConfig(norm="layer" if layer_norm else "none")
        self.net: nn.Module = body(spaces, hidden, self.shape[0] * numbers, activation, layer=layer)

    def forward(self, obs: Float[Tensor, "B O"]) -> Float[Tensor, "B A K"]:
        return self.shaped(self.net(self.seen(obs)))

    def shaped(self, outputs: Float[Tensor, "B M"]) -> Float[Tensor, "B A K"]:
        """Outputs of the network as numbers about actions."""
        outputs = outputs.unflatten(-1, self.shape)
        return duel(outputs) if self.dueling else outputs

    def worth(self, numbers: Float[Tensor, "B A K"]) -> Float[Tensor, "B A"]:
        """Q, of K numbers about each action."""
        return numbers.mean(-1)

    def values(self, obs: Float[Tensor, "B O"], numbers: Float[Tensor, "B A K"]) -> Float[Tensor, "B A"]:
        """Q to choose by: that of `numbers`, and far below everything where `obs` forbids the action.

        At the end of an episode everything may be forbidden; then nothing is.
        """
        values = self.worth(numbers)
        if not self.masked:
            return values
        mask = obs[:, -values.shape[1] :]
        return torch.where(mask.any(-1, keepdim=True), allowed(values, mask), values)

    @torch.inference_mode()
    def act(self, obs: Float[Tensor, "N O"], generator: torch.Generator | None = None) -> Int[Tensor, " N"]:
        """The action of the highest value."""
        return greedy(self.values(obs, self(obs)), generator)


def check_discrete(spaces: Spaces) -> None:
    """Raises InputError for actions that are not one number of a few."""
    if not spaces.discrete:
        has = "several discrete actions at once" if spaces.choices else "continuous actions"
        raise InputError(f"the environment has {has}, a value method expects discrete ones: try ppo")


def of_action(numbers: Float[Tensor, "B A K"], action: Int[Tensor, " B"]) -> Float[Tensor, "B K"]:
    """The K numbers about the action of each row."""
    return numbers.gather(1, action[:, None, None].expand(-1, 1, numbers.shape[-1]))[:, 0]


def td_loss(
    q: Float[Tensor, "B A 1"], action: Int[Tensor, " B"], target: Float[Tensor, " B"]
) -> tuple[Float[Tensor, ""], Metrics]:
    """L = mean (Q(s, a) − y)², y being the target."""
    chosen = of_action(q, action)[:, 0]
    loss = F.mse_loss(chosen, target)
    return loss, {"loss/td": loss.detach(), "q/chosen": chosen.detach().mean()}


def greedy(value: Float[Tensor, "N A"], generator: torch.Generator | None = None) -> Int[Tensor, " N"]:
    """The action of the highest value. A value function has nothing to draw from: no generator here.

    Raises:
        InputError: when a generator is given.
    """
    if generator is not None:
        raise InputError("the policy of a value method is deterministic, expected a greedy evaluation")
    return value.argmax(-1)
