"""Detectors beside the monitor, in the manner of the literature, and an oracle that knows the true simulator.

All of them learn the same clean episodes and give a score for each step; higher is stranger.
"""

import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from anomaly.monitor import RolloutMonitor
from anomaly.monitor_nets import Config, Members, learn
from anomaly.monitor_state import Scales
from anomaly.rollouts import RolloutDetector
from envs.recording import Episodes
from envs.vector import make_one
from generative.autoencoder import Autoencoder
from generative.vae import VAE
from training.seeds import numpy_generator

Score = Callable[[Episodes], np.ndarray]
"""Episodes to scores (E, T), NaN after an episode's end."""

WINDOW = 10  # steps of the window features
NEIGHBOURS = 5
REFERENCES = 5_000  # rows that neighbours are looked for among


def pedm(clean: Episodes, seed: int) -> Score:
    """Squared error of an ensemble of probabilistic nets, mean over members, in the manner of PEDM.

    Haider et al., 2023: Out-of-distribution detection for reinforcement learning agents with probabilistic
    dynamics models.
    """
    scales, cfg = Scales.of(clean), Config()
    x, action, change = scales.histories(clean, 1)
    rows = [torch.from_numpy(part.astype(np.float32)) for part in (np.hstack([x, action]), change)]
    layers = learn(rows[0], rows[1], cfg.hidden, cfg.members, cfg.steps, seed)
    net = Members(cfg.members, (rows[0].shape[1], *cfg.hidden, 2 * change.shape[1]))
    with torch.no_grad():
        for own, learned in zip((*net.weights, *net.biases), (*layers[::2], *layers[1::2]), strict=True):
            own.copy_(torch.from_numpy(learned))

    def score(episodes: Episodes) -> np.ndarray:
        x, action, change = scales.histories(episodes, 1)
        inputs = torch.from_numpy(np.hstack([x, action]).astype(np.float32))
        with torch.inference_mode():
            mean = net(inputs.expand(cfg.members, -1, -1)).chunk(2, -1)[0].numpy()
        return episodes.by_time(((mean - change) ** 2).mean(axis=(0, 2)))

    return score


def neighbours(clean: Episodes, seed: int) -> Score:
    """Distance to the fifth nearest clean transition (s, a, s' − s), scaled."""
    scales = Scales.of(clean)

    def rows(episodes: Episodes) -> np.ndarray:
        return np.hstack(scales.histories(episodes, 1))

    known = rows(clean)
    some = numpy_generator(seed, "neighbours").permutation(len(known))[:REFERENCES]
    tree = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(known[some])
    return lambda episodes: episodes.by_time(tree.kneighbors(rows(episodes))[0][:, -1])


def vae(clean: Episodes, seed: int) -> Score:
    """Reconstruction error of the VAE of `lab demo`, on transitions."""
    model = RolloutDetector.fit(clean, seed=seed).model
    assert isinstance(model, VAE | Autoencoder)

    def score(episodes: Episodes) -> np.ndarray:
        with torch.inference_mode():
            error = model.reconstruction_error(torch.from_numpy(episodes.transitions()[0]))
        return episodes.by_time(error.numpy())

    return score


def forest(clean: Episodes, seed: int) -> Score:
    """An isolation forest on mean, deviation and change of the last ten observations."""
    scales = Scales.of(clean)

    def rows(episodes: Episodes) -> np.ndarray:
        obs = scales.scaled(episodes.next_obs.astype(float))
        start = np.repeat(episodes.starts, episodes.length)
        at = np.maximum(np.arange(len(obs))[:, None] - np.arange(WINDOW), start[:, None])
        window = obs[at]
        return np.hstack([window.mean(1), window.std(1), np.abs(np.diff(window, axis=1)).mean(1)])

    trees = IsolationForest(random_state=seed, n_estimators=100).fit(rows(clean)[::3])
    return lambda episodes: episodes.by_time(-trees.score_samples(rows(episodes)))


def oracle(clean: Episodes, seed: int) -> RolloutMonitor:
    """The monitor with the true simulator in the place of its ensemble."""
    if clean.env == "LunarLander-v3":
        from benchmarks.monitor_lander import LanderSteps  # needs the extra box2d

        return RolloutMonitor.fit(clean, Config(seed=seed), lambda scales: LanderSteps(scales, clean))
    return RolloutMonitor.fit(clean, Config(seed=seed), lambda scales: Simulator(scales, clean))


PEERS: dict[str, Callable[[Episodes, int], Score]] = {
    "PEDM-like": pedm,
    "k-NN": neighbours,
    "VAE": vae,
    "forest": forest,
}


class Simulator:
    """What the true environment does from an observation, for worlds whose observation is their state."""

    def __init__(self, scales: Scales, clean: Episodes) -> None:
        """The deviation of what is left is measured on clean rows: rounding, or the sensors' own noise."""
        self.scales, self.env = scales, make_one(clean.env)
        self.env.reset(seed=0)
        self.left = np.ones(scales.sensors)
        x, action, change = scales.histories(clean, 1)
        some = numpy_generator(0, "simulator").permutation(len(x))[:2_000]
        self.left = np.maximum((change[some] - self(x[some], action[some])[0]).std(axis=0), 1e-9)

    def __call__(self, obs: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Transitions`; a simulator is never in doubt."""
        scales = self.scales
        seen = obs * scales.deviation + scales.mean
        acted = action * scales.action_deviation + scales.action_mean
        after = np.array([self._step(o, a) for o, a in zip(seen, acted, strict=True)])
        return (
            (after - seen) / scales.deviation / scales.change,
            np.tile(self.left, (len(obs), 1)),
            _none(obs),
        )

    def _step(self, obs: np.ndarray, action: np.ndarray) -> np.ndarray:
        world: Any = self.env.unwrapped
        if hasattr(world, "init_qpos"):
            world.set_state(*pose_of(world, obs))
        else:
            world.state = state_of(world, obs)
        if hasattr(world, "steps_beyond_terminated"):
            world.steps_beyond_terminated = None
        chosen = self.scales.first + int(action.argmax()) if self.scales.actions else action
        return np.asarray(world.step(chosen)[0], float)


def state_of(world: gym.Env, obs: np.ndarray) -> np.ndarray:
    """The state of a classic-control world from what it shows."""
    name = type(world).__name__
    if name == "PendulumEnv":
        return np.array([math.atan2(obs[1], obs[0]), obs[2]])
    if name == "AcrobotEnv":
        return np.array([math.atan2(obs[1], obs[0]), math.atan2(obs[3], obs[2]), obs[4], obs[5]])
    return obs.copy()


def pose_of(world: Any, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities of a MuJoCo world from what it shows; how far it has walked is not shown."""
    if type(world).__name__ == "ReacherEnv":  # two angles, by cosines and sines, and where the goal is
        angles = np.arctan2(obs[2:4], obs[:2])
        return np.concatenate([angles, obs[4:6]]), np.concatenate([obs[6:8], np.zeros(2)])
    joints = world.model.nq - 1
    return np.concatenate([[0.0], obs[:joints]]), obs[joints:]


def _none(obs: np.ndarray) -> np.ndarray:
    return np.zeros(len(obs))
