"""Scores of steps: what a model of clean episodes makes of each observation that arrives.

An ensemble foretells the observation, what is left is whitened and made normal by regime, its channels are
taken by regime and averaged, and the averages are held against their bands. The state of what is watched is
in a `Watch`: many episodes, a vector of environments and one control loop are the same code.
"""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from anomaly.monitor_bands import Bands, Moments
from anomaly.monitor_nets import Config, Places, Transitions
from anomaly.monitor_normal import Normal, whitening
from anomaly.monitor_policy import CHECKS, PolicyCheck
from anomaly.monitor_regimes import Regimes
from anomaly.monitor_state import Scales, Watch, latest
from anomaly.monitor_statistics import LARGEST, SWITCHED, Channels, averaged, bounded, spread
from envs.recording import Episodes

PRIOR = 50.0  # clean steps that all regimes together count as in each
FARTHEST = 1e6  # deviations from the mean: what is farther is no reading, and counts as one that is no number
ACTIONS = 8  # discrete actions up to which each has regimes of its own
GUARD = 10.0  # largest weight of what no sensor gives: one deviation beyond the range counts as 7


class StepScores:
    """What was learned of clean episodes; the largest statistic of a step is its score."""

    def __init__(
        self,
        cfg: Config,
        scales: Scales,
        transitions: Transitions,
        places: Places,
        policy: PolicyCheck | None,
    ) -> None:
        self.cfg, self.scales, self.transitions, self.places = cfg, scales, transitions, places
        self.history = cfg.history or 1  # observations that the transitions see
        self.actions = max(1, scales.actions) if scales.actions <= ACTIONS else 1  # that have regimes
        self.policy, extra = policy, 2 if policy is None else 2 + CHECKS
        self.channels = Channels(scales.sensors, scales.actuators, scales.view.shape[1], extra)
        self.largest = np.where(scales.switch, SWITCHED, LARGEST)  # of normal innovations
        self.spread = np.ones(scales.sensors)  # how many times wider than foretold
        self.regimes, self.normal = Regimes.none(self.channels.count), Normal.none(scales.sensors)
        self.bands: Bands | None = None
        self.guard = np.full(3, GUARD)  # weights: less where clean episodes go beyond what was seen before

    def score(self, episodes: Episodes) -> Float[np.ndarray, "E T"]:
        """How strange each step is (E, T); NaN after an episode's end."""
        self.scales.expect(episodes)
        found = np.full((len(episodes), int(episodes.length.max(initial=0))), np.nan)
        for step, rows, watch, guard in self._walk(episodes):
            found[rows, step] = self._judge(watch, guard)
        return found

    def start(self, obs: Float[np.ndarray, "B O"]) -> Watch:
        """The state of episodes that start with these observations; what is no reading counts as usual."""
        seen = self.scales.scaled(obs)
        seen = np.where(np.abs(seen) < FARTHEST, seen, 0.0)
        return Watch.of(seen, self.history, self.scales.actuators, self.channels.count)

    def step(
        self, watch: Watch, obs: Float[np.ndarray, "B O"], action: Float[np.ndarray, "B A"]
    ) -> Float[np.ndarray, " B"]:
        """The scores of observations that arrived after actions, encoded; `watch` goes on."""
        return self._judge(watch, self._advance(watch, obs, action))

    def foretold(
        self, watch: Watch, obs: Float[np.ndarray, "B O"], action: np.ndarray, sensor: np.ndarray
    ) -> Float[np.ndarray, " B"]:
        """What sensors (B,), one in each row, should read after encoded actions, in their own units.

        It follows from the past and from what the other sensors read now. A little beyond what clean episodes
        showed it ends: nothing is foretold from itself for long without running away.
        """
        scales, rows = self.scales, np.arange(len(obs))
        now = watch.past[:, -scales.sensors :]
        acts = latest(watch.acts, action)
        mean, sigma, doubt = self.transitions(watch.past, acts)
        sigma = sigma * self.spread
        seen = scales.scaled(obs)
        seen = np.where(np.abs(seen) < FARTHEST, seen, np.nan)
        raw = bounded(((seen - now) / scales.change - mean) / sigma)
        innovation = self.normal.conditional(raw, self._regime(watch.past, acts, doubt, action), sensor)
        moved = (mean[rows, sensor] + innovation * sigma[rows, sensor]) * scales.change[sensor]
        value = np.clip(now[rows, sensor] + moved, scales.low[sensor] - 1, scales.high[sensor] + 1)
        return value * scales.deviation[sensor] + scales.mean[sensor]

    def _advance(self, watch: Watch, obs: np.ndarray, action: np.ndarray) -> np.ndarray:
        scales, sensors = self.scales, self.scales.sensors
        now = watch.past[:, -sensors:]
        seen = scales.scaled(obs)
        if broken := not np.maximum.reduce(np.abs(seen), axis=None) < FARTHEST:
            finite = np.abs(seen) < FARTHEST
            seen = np.where(finite, seen, now)
        watch.acts = latest(watch.acts, action)
        mean, sigma, doubt = self.transitions(watch.past, watch.acts)
        change = (seen - now) / scales.change
        watch.regime = self._regime(watch.past, watch.acts, doubt, action)
        raw = bounded((change - mean) / (sigma * self.spread))
        z = np.minimum(np.maximum(self.normal(raw, watch.regime), -self.largest), self.largest)
        extra = [doubt[:, None], np.arcsinh(self.places(seen))[:, None]]
        if self.policy is not None:
            extra.append(self.policy(seen, now + mean * scales.change, now, action))
        values = self.channels.of(z, watch.z, scales.viewed(now), action, *extra)
        watch.average = averaged(watch.average, self.regimes.standard(values, watch.regime), watch.step)
        watch.z, watch.step = z, watch.step + 1
        watch.repeats = np.where(seen == now, watch.repeats + 1, 0.0)
        guard = scales.guard(seen, change, watch.repeats)
        watch.past = latest(watch.past, seen)
        if broken:
            guard = np.where(finite.all(axis=1, keepdims=True), guard, math.inf)
        return guard

    def _regime(
        self, past: np.ndarray, acts: np.ndarray, doubt: np.ndarray, action: np.ndarray
    ) -> np.ndarray:
        features = np.concatenate([past, acts, doubt[:, None]], axis=1)
        return self.regimes(features, action.argmax(axis=1) if self.actions > 1 else None)

    def _judge(self, watch: Watch, guard: np.ndarray) -> np.ndarray:
        assert self.bands is not None
        found = self.bands.statistics(self.channels, watch.average, watch.step - 1)
        return np.maximum(np.maximum.reduce(found, axis=1), np.maximum.reduce(self.guard * guard, axis=1))

    def _walk(self, episodes: Episodes) -> Iterator[tuple[int, np.ndarray, Watch, np.ndarray]]:
        """Step, episodes that are still going on, their state and their guard, step by step."""
        action = self.scales.encode(episodes.action)
        rows = np.arange(len(episodes))
        watch = self.start(episodes.obs[episodes.starts].astype(np.float64))
        for step in range(int(episodes.length.max(initial=0))):
            going = episodes.length[rows] > step
            if not going.all():
                rows, watch = rows[going], watch.rows(going)
            at = episodes.starts[rows] + step
            guard = self._advance(watch, episodes.next_obs[at].astype(np.float64), action[at])
            yield step, rows, watch, guard

    def make_bands(self, parts: list[Episodes]) -> None:
        """Whitening, then the bands of channels, then those of statistics, from clean episodes."""
        features, action, raw = self._innovations(parts)
        self.spread = spread(raw)
        raw = bounded(raw / self.spread)
        mean, whiten = whitening(raw)
        z = bounded((raw - mean) @ whiten)
        self.regimes = Regimes.fit(features, action, self.actions, z, self.channels.count)
        regime = self.regimes(features, action if self.actions > 1 else None)
        self.normal = Normal.fit(raw, regime, self.regimes.count)
        moments = Moments(self.regimes.count, self.channels.count)
        for part in parts:
            for _, _, watch, _ in self._walk(part):
                moments.add(watch.regime, watch.average[:, 0])  # at rate 1: the channels themselves
        self.regimes = self.regimes.with_tables(*moments.shrunk(PRIOR))

        lengths = np.concatenate([part.length for part in parts])
        beyond = np.zeros((len(lengths), 3))

        def walk() -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
            first = 0
            for part in parts:
                for step, rows, watch, guard in self._walk(part):
                    beyond[first + rows] = np.maximum(beyond[first + rows], guard)
                    yield step, first + rows, watch.average
                first += len(part)

        self.bands = Bands.fit(self.channels, lengths, walk)
        # The farthest of all: a few episodes would otherwise set the threshold of 1 % alone.
        self.guard = 1 / np.maximum(beyond.max(axis=0), 1 / GUARD)

    def _innovations(self, parts: list[Episodes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of every step what regimes are told by, features and action, and the innovations as they are."""
        features, action, raw = [], [], []
        for part in parts:
            x, act, change = self.scales.histories(part, self.history)
            mean, sigma, doubt = self.transitions(x, act)
            features.append(np.concatenate([x, act, doubt[:, None]], axis=1))
            action.append(act[:, -self.scales.actuators :].argmax(axis=1))
            raw.append((change - mean) / sigma)
        return np.concatenate(features), np.concatenate(action) % self.actions, np.concatenate(raw)
