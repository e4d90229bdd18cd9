"""What acts in a model of Stable-Baselines3 or sb3-contrib, rebuilt from its plain tensors.

observation -> normalised, where it was -> convolutions, where it is a picture -> LSTM, where there is one ->
perceptron -> head
"""

from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from agents.parts.heads import SquashedGaussian, allowed, head
from agents.parts.memory import Memory, Player
from agents.parts.pictures import Convolutions
from envs import Spaces
from training.errors import InputError
from training.networks import Activation, mlp
from training.normalise import RunningNorm

Algo = Literal["PPO", "A2C", "DQN", "SAC", "TD3", "DDPG"]

CLIP_MEAN = 2.0  # SAC's means under gSDE, before they are squashed
_DRAWS = ("PPO", "A2C", "SAC")  # policies that are distributions
_EYES = {"PPO": "pi_features_extractor.", "A2C": "pi_features_extractor.", "DQN": "q_net.features_extractor."}
_BODY: dict[
    Algo, tuple[str, tuple[str, ...]]
] = {  # the hidden layers, and the last one where it is elsewhere
    "PPO": ("mlp_extractor.policy_net.", ("action_net",)),
    "A2C": ("mlp_extractor.policy_net.", ("action_net",)),
    "DQN": ("q_net.q_net.", ()),
    "SAC": ("actor.latent_pi.", ("actor.mu", "actor.log_std")),
    "TD3": ("actor.mu.", ()),
    "DDPG": ("actor.mu.", ()),
}


class Sizes(NamedTuple):
    """How large the parts of a network are."""

    hidden: tuple[int, ...]
    features: int  # what convolutions see; 0: there are none
    memory: int  # of an LSTM; 0: there is none


@runtime_checkable
class Shape(Protocol):
    """The settings that shape the network."""

    @property
    def env(self) -> str: ...
    @property
    def algo(self) -> Algo: ...
    @property
    def hidden(self) -> tuple[int, ...] | None: ...
    @property
    def activation(self) -> Activation | None: ...
    @property
    def features(self) -> int: ...
    @property
    def memory(self) -> int: ...
    @property
    def masks(self) -> bool: ...
    @property
    def clip_obs(self) -> float: ...
    @property
    def sde(self) -> bool: ...


class Policy(nn.Module):
    """The network that acts: (N, O) -> actions (N,), (N, K), or (N, A) in [-1, 1]."""

    low: Tensor
    high: Tensor

    def __init__(self, cfg: Shape, spaces: Spaces) -> None:
        super().__init__()
        if cfg.hidden is None or cfg.activation is None:
            raise InputError("hidden and activation are not said, expected those of the network")
        if bool(spaces.picture) != bool(cfg.features):
            wanted = "some" if spaces.picture else "none"
            raise InputError(f"convolutions give {cfg.features} features, expected {wanted} for {cfg.env}")
        if spaces.start:
            raise InputError(f"the first action of {cfg.env} is {spaces.start}, sb3 expects 0")
        self.algo, self.discrete, self.sde = cfg.algo, not spaces.low, cfg.sde
        self.masks = cfg.masks
        self.own = spaces.obs - spaces.masked * spaces.actions  # numbers before the mask, if there is one
        self.norm = RunningNorm(self.own, cfg.clip_obs) if cfg.clip_obs else None
        seen, outputs = self.own, spaces.actions
        self.eyes: nn.Module = nn.Identity()
        if cfg.features:
            look = Convolutions(spaces.picture)
            self.eyes = nn.Sequential(look, nn.Linear(look.features, cfg.features), nn.ReLU())
            seen = cfg.features
        self.lstm = nn.LSTM(seen, cfg.memory) if cfg.memory else None
        if cfg.algo == "SAC" and not cfg.sde:
            outputs *= 2  # means and logarithms of deviations
        self.net = mlp(cfg.memory or seen, cfg.hidden, outputs, cfg.activation)
        if cfg.algo in _DRAWS and not cfg.sde:
            self.head = SquashedGaussian(spaces.actions) if cfg.algo == "SAC" else head(spaces)
        self.register_buffer("low", torch.tensor(spaces.low), persistent=False)
        self.register_buffer("high", torch.tensor(spaces.high), persistent=False)

    @property
    def act(self) -> Player:
        """A new player: of what one remembers, if there is something, no other knows."""
        return Player(self)

    def blank(self, count: int) -> Memory:
        """What is remembered before an episode: (count, H), H = 0 where nothing is."""
        size = 0 if self.lstm is None else self.lstm.hidden_size
        zeros = next(self.parameters()).new_zeros(count, size)
        return Memory(zeros, zeros)

    def decide(
        self, obs: Float[Tensor, "N O"], memory: Memory, generator: torch.Generator | None
    ) -> tuple[Tensor, Memory]:
        """The actions that `predict(deterministic=True)` gives, or drawn ones, and the memories afterwards.

        Raises:
            InputError: for a generator where the policy has nothing to draw from.
        """
        outputs, memory = self(obs, memory)
        if generator is not None and (self.sde or self.algo not in _DRAWS):
            how = "known by its means alone (gSDE)" if self.sde else "deterministic"
            raise InputError(f"{self.algo}'s policy is {how}, expected a greedy evaluation")
        if self.sde:
            squashed = self.algo == "SAC"
            return outputs.clamp(-CLIP_MEAN, CLIP_MEAN).tanh() if squashed else self._ours(outputs), memory
        if self.algo not in _DRAWS:
            return outputs.argmax(-1) if self.discrete else outputs.tanh(), memory
        if generator is None:
            action = self.head.best(outputs)
        else:
            action = self.head.sample(outputs, self.head.noise(len(obs), generator=generator))
        return action if self.algo == "SAC" else self._ours(action), memory

    def forward(self, obs: Float[Tensor, "N O"], memory: Memory) -> tuple[Float[Tensor, "N P"], Memory]:
        """What the head is told, and the memories afterwards."""
        seen = obs[:, : self.own]
        h = self.eyes(seen if self.norm is None else self.norm(seen))
        if self.lstm is not None:
            h, (last_h, last_c) = self.lstm(h[None], tuple(field[None] for field in memory))
            h, memory = h[0], Memory(last_h[0], last_c[0])
        outputs = self.net(h)
        return (allowed(outputs, obs[:, self.own :]) if self.masks else outputs), memory

    def _ours(self, action: Tensor) -> Tensor:
        """Actions in the units of the environment, which PPO and A2C give, as `Spaces` wants them."""
        if self.discrete:
            return action
        action = action.clamp(self.low, self.high)
        bounded = self.low.isfinite() & self.high.isfinite()
        return torch.where(bounded, (action - self.low) / (self.high - self.low) * 2 - 1, action)


def acting(
    algo: Algo, state: dict[str, Tensor], sde: bool = False, binary: bool = False
) -> tuple[dict[str, Tensor], Sizes]:
    """From the state of a policy of theirs: the weights of a `Policy`, and its sizes.

    `sde`: generalised state-dependent exploration (Raffin et al., 2021, arXiv:2005.05719). `binary`: actions
    are MultiBinary, for which they have one number each, the logarithm of the odds of 1 to 0.
    """
    body, last = _BODY[algo]
    if sde and algo == "SAC":
        last = ("actor.mu.0",)
    layers = sorted({int(name[len(body) :].split(".")[0]) for name in state if name.startswith(body)})
    parts = [[f"{body}{layer}"] for layer in layers] + ([list(last)] if last else [])
    weights = {
        f"net.{2 * i}.{what}": torch.cat([state[f"{part}.{what}"] for part in layer]).contiguous()
        for i, layer in enumerate(parts)
        for what in ("weight", "bias")
    }
    if binary:
        for what in ("weight", "bias"):
            odds = weights[f"net.{2 * len(parts) - 2}.{what}"]
            pairs = torch.stack([torch.zeros_like(odds), odds], 1).flatten(0, 1)  # as two choices each
            weights[f"net.{2 * len(parts) - 2}.{what}"] = pairs
    eyes = _EYES.get(algo, "actor.features_extractor.")
    names = {f"{eyes}cnn.": "eyes.0.net.", f"{eyes}linear.0.": "eyes.1.", "lstm_actor.": "lstm."}
    for theirs, ours in names.items():
        found = {name: value for name, value in state.items() if name.startswith(theirs)}
        weights |= {name.replace(theirs, ours, 1): value for name, value in found.items()}
    if "log_std" in state and not sde:
        weights["head.log_std"] = state["log_std"]
    hidden = tuple(len(state[f"{part[0]}.bias"]) for part in parts[:-1])
    memory = weights["lstm.weight_hh_l0"].shape[1] if "lstm.weight_hh_l0" in weights else 0
    return weights, Sizes(hidden, len(weights.get("eyes.1.bias", ())), memory)
