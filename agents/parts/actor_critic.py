"""A policy and its value: the network, how it plays, and what its actions were worth.

The rollout does no more than policy, noise, step; values and old log-probabilities of all its rows come in
one batched pass afterwards, which costs a tenth of computing them step by step.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from agents.parts.gae import gae
from agents.parts.heads import allowed, head
from agents.parts.normalised import Normalised
from agents.parts.pictures import body
from envs import Spaces, Transition, VectorEnv
from training.average import Average
from training.errors import InputError
from training.networks import Activation, Twins


@runtime_checkable
class NetworkConfig(Protocol):
    """The settings that shape the network."""

    @property
    def hidden(self) -> tuple[int, ...]: ...
    @property
    def activation(self) -> Activation: ...
    @property
    def shared(self) -> bool: ...
    @property
    def normalise_obs(self) -> bool: ...


class ActorCritic(Normalised):
    """The policy and its value: (*N, O) -> outputs (*N, A) for the head, values (*N).

    With averaging, `forward` uses `smooth`; rollouts and updates always use `net`, by `learned`.
    """

    def __init__(
        self, cfg: NetworkConfig, spaces: Spaces, deviation: float = 1.0, *, averaged: bool = False
    ) -> None:
        super().__init__(spaces, cfg.normalise_obs)
        self.head = head(spaces, deviation)
        self.shared, self.actions, self.masked = cfg.shared, spaces.actions, spaces.masked
        if spaces.picture and not cfg.shared:
            raise InputError("pictures need one shared network for policy and value")
        self.net: nn.Module
        if cfg.shared:
            self.net = body(spaces, cfg.hidden, spaces.actions + 1, cfg.activation, output_gain=0.01)
        else:
            self.net = Twins(spaces.obs, cfg.hidden, spaces.actions, cfg.activation, output_gains=(0.01, 1.0))
        self.smooth: nn.Module | None = Average(self.net, 0.0).model if averaged else None

    def forward(self, obs: Float[Tensor, "*N O"]) -> tuple[Float[Tensor, "*N A"], Float[Tensor, "*N"]]:
        return self._through(self.net if self.smooth is None else self.smooth, obs)

    def learned(self, obs: Float[Tensor, "*N O"]) -> tuple[Float[Tensor, "*N A"], Float[Tensor, "*N"]]:
        """Outputs and values of the weights that are learned, averaged or not."""
        return self._through(self.net, obs)

    def _through(
        self, net: nn.Module, obs: Float[Tensor, "*N O"]
    ) -> tuple[Float[Tensor, "*N A"], Float[Tensor, "*N"]]:
        seen = self.seen(obs)
        if self.shared:
            outputs, value = net(seen).split((self.actions, 1), -1)
        else:
            outputs, value = net(seen)  # of the second net only the first number is used
        if self.masked:
            outputs = allowed(outputs, obs[..., -self.actions :])
        return outputs, value[..., 0]

    @torch.inference_mode()
    def act(
        self, obs: Float[Tensor, "N O"], generator: torch.Generator | None = None
    ) -> Int[Tensor, " N"] | Int[Tensor, "N K"] | Float[Tensor, "N A"]:
        """The likeliest action, or one drawn with `generator`."""
        outputs, _ = self(obs)
        if generator is None:
            return self.head.best(outputs)
        return self.head.sample(outputs, self.head.noise(len(obs), generator=generator))

    def play(self, envs: VectorEnv, steps: int, generator: torch.Generator) -> Transition:
        """A rollout of `steps` drawn actions in every environment: fields (T, N, ...)."""
        noise = self.head.noise(steps, envs.num_envs, generator=generator)
        rows = []
        with torch.inference_mode():
            for step_noise in noise.unbind():
                rows.append(envs.step(self.head.sample(self.learned(envs.obs)[0], step_noise)))
        return Transition.stack(rows)

    @torch.no_grad()
    def judge(
        self, rollout: Transition, reward: Float[Tensor, "T N"], *, gamma: float, lam: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Rows in which an action was taken: obs, action, outputs, advantage, value target, each (B, ...).

        `reward` is that of the rollout, scaled.
        """
        outputs, value = self.learned(rollout.obs)
        next_value = self.learned(rollout.next_obs)[1]
        ends = rollout.terminated, rollout.truncated
        advantage = gae(reward, value, next_value, *ends, gamma=gamma, lam=lam)
        rows = (rollout.obs, rollout.action, outputs, advantage, advantage + value)
        obs, action, outputs, advantage, target = (row[rollout.valid] for row in rows)
        return obs, action, outputs, advantage, target
