"""Networks that may normalise what they observe."""

from jaxtyping import Float
from torch import Tensor, nn

from envs import Spaces
from training.errors import InputError
from training.normalise import RunningNorm


class Normalised(nn.Module):
    """A network whose `norm` has the running statistics of observations, or is None."""

    def __init__(self, spaces: Spaces, normalise: bool) -> None:
        """Raises InputError for pictures, which networks divide by 255."""
        super().__init__()
        if normalise and spaces.picture:
            raise InputError("pictures need a network without normalise_obs: it divides bytes by 255")
        self.norm = RunningNorm(spaces.obs) if normalise else None

    def seen(self, obs: Float[Tensor, "*N O"]) -> Float[Tensor, "*N O"]:
        """Observations as the network sees them."""
        return obs if self.norm is None else self.norm(obs)

    def notice(self, obs: Float[Tensor, "*N O"]) -> None:
        """Takes what was seen into the statistics, where there are any."""
        if self.norm is not None:
            self.norm.update(obs)
