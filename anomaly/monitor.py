"""The rollout monitor: it learns what a policy's clean episodes look like, and says when the world changed.

    monitor = RolloutMonitor.fit(clean)              # 50 episodes are enough to start
    monitor.calibrate(more, alpha=0.05)              # at most 5 % of clean episodes raise any alarm
    verdict = monitor.update(obs, action)            # what arrived, and the action that led to it

An ensemble foretells the next observation; what is left is whitened to innovations, of which
`anomaly.monitor_statistics` takes two-sided statistics at three time scales. A VAE tells places that were
never seen, a guard numbers that no sensor gives. The score is the largest statistic, each in units of its own
clean tail at that time since the start. The alarm's threshold is the conformal quantile of whole episodes'
highest scores: episodes are exchangeable, steps are not.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from anomaly.calibration import realised_range, threshold
from anomaly.monitor_bands import Bands, Moments
from anomaly.monitor_live import Live, Rule, Verdict
from anomaly.monitor_nets import Config, Ensemble, Places, Polynomial, Transitions
from anomaly.monitor_regimes import Regimes
from anomaly.monitor_state import Scales, Watch, check_clean, latest
from anomaly.monitor_statistics import Channels, averaged, bounded, whitening
from envs.recording import Episodes
from training.checkpoint import load_model, save_model
from training.config import from_dict
from training.errors import InputError
from training.seeds import numpy_generator
from training.state import pack, unpack

HELD = 0.2  # share of the episodes to fit that make the first bands, and select when the VAE stops
PRIOR = 50.0  # clean steps that all regimes together count as in each
GUARD = 10.0  # weight of what no sensor gives: one deviation beyond the range counts as 7


class RolloutMonitor:
    """What clean episodes look like, and from which score on an episode raises an alarm."""

    def __init__(self, cfg: Config, scales: Scales, transitions: Transitions, places: Places) -> None:
        self.cfg, self.scales, self.transitions, self.places = cfg, scales, transitions, places
        self.channels = Channels(scales.sensors, scales.actuators, scales.view.shape[1])
        self.bias, self.whiten = np.zeros(scales.sensors), np.eye(scales.sensors)
        self.regimes = Regimes.none(self.channels.count)
        self.bands: Bands | None = None
        self.held: Episodes | None = None  # clean episodes that bands may be made of once more
        self.threshold, self.alpha, self.calibrated_on = math.inf, math.nan, 0
        self.live = Live(self, scales, Rule())

    @staticmethod
    def fit(
        clean: Episodes,
        cfg: Config | None = None,
        transitions: Callable[[Scales], Transitions] | None = None,
    ) -> "RolloutMonitor":
        """Learns clean episodes; a fifth of them is held out to make the bands.

        `transitions` takes the place of the ensemble where somebody knows better: a simulator, say.

        Raises:
            InputError: for fewer than 5 episodes, only short ones, or numbers that are not finite.
        """
        cfg = cfg or Config()
        check_clean(clean, 5)
        order = numpy_generator(cfg.seed, "held").permutation(len(clean))
        held = np.sort(order[: max(2, round(HELD * len(clean)))])
        rest = np.setdiff1d(order, held)
        fit, select = clean.part(rest), clean.part(held)
        scales = Scales.of(clean)
        x, act, change = scales.histories(fit, cfg.history)
        if transitions is None:
            net: Transitions = Ensemble.fit(x, act, change, cfg.hidden, cfg.members, cfg.steps, cfg.seed)
        else:
            net = transitions(scales)
        places = Places.fit(
            scales.scaled(fit.next_obs), scales.scaled(select.next_obs), cfg.place_steps, cfg.seed
        )
        monitor = RolloutMonitor(cfg, scales, net, places)
        monitor.held = select
        monitor._make_bands([select])
        return monitor

    def calibrate(self, clean: Episodes, alpha: float = 0.05) -> None:
        """Sets the threshold so that at most a share alpha of clean episodes raises any alarm.

        The promise is marginal: in the mean over sets of calibration episodes. Where half of the episodes
        suffice for it, the other half makes the bands anew.

        Raises:
            InputError: when there are too few episodes for alpha; the message says how many it takes.
        """
        check_clean(clean, 1)
        self.scales.expect(clean)
        if not 0 < alpha < 1:
            raise InputError(f"alpha is {alpha}, expected a rate between 0 and 1")
        needed = math.ceil(1 / alpha - 1e-9) - 1
        if len(clean) < needed:
            raise InputError(
                f"alpha is {alpha} with {len(clean)} episodes to calibrate, expected {needed} or more"
            )
        half = len(clean) // 2
        if len(clean) - half >= needed and half > 1 and self.held is not None:
            self._make_bands([self.held, clean.part(np.arange(half))])
            clean = clean.part(np.arange(half, len(clean)))
        highest = np.nanmax(self.score(clean), axis=1)
        self.threshold, self.alpha = threshold(np.sort(highest), alpha), alpha
        self.calibrated_on = len(clean)

    def score(self, episodes: Episodes) -> Float[np.ndarray, "E T"]:
        """How strange each step is (E, T); NaN after an episode's end."""
        self.scales.expect(episodes)
        found = np.full((len(episodes), int(episodes.length.max(initial=0))), np.nan)
        for step, rows, watch, guard in self._walk(episodes):
            found[rows, step] = self._judge(watch, guard)
        return found

    def alarms(self, score: Float[np.ndarray, "E T"]) -> Bool[np.ndarray, "E T"]:
        """Whether each step is above the threshold."""
        return score > self.threshold

    def promise(self, alarms: int, tests: int) -> str:
        """What was promised about false alarms, and whether `alarms` of `tests` clean episodes fit it."""
        low, high = realised_range(self.calibrated_on, self.alpha, tests)
        return (
            f"{alarms} of {tests} clean episodes raised a false alarm. At most {self.alpha:.0%} are promised,"
            f" in the mean over sets of {self.calibrated_on} calibration episodes; {low} to {high} of {tests}"
            " fit that."
        )

    def start(self, obs: Float[np.ndarray, "B O"]) -> Watch:
        """The state of episodes that start with the given observations; what is no number counts as usual."""
        seen = self.scales.scaled(obs)
        seen = np.where(np.isfinite(seen), seen, 0.0)
        return Watch.of(seen, self.cfg.history, self.scales.actuators, self.channels.count)

    def step(
        self, watch: Watch, obs: Float[np.ndarray, "B O"], action: Float[np.ndarray, "B A"]
    ) -> Float[np.ndarray, " B"]:
        """The scores of observations that arrived after actions, encoded; `watch` goes on."""
        return self._judge(watch, self._advance(watch, obs, action))

    def foretold(
        self, watch: Watch, obs: Float[np.ndarray, "B O"], action: np.ndarray, sensor: np.ndarray
    ) -> Float[np.ndarray, " B"]:
        """What sensors (B,), one in each row, should read after encoded actions, in their own units.

        It follows from the past and from what the other sensors read now: with the precision P of innovations
        ε the mean of ε_i given the others is −Σ P_ij ε_j / P_ii, over j ≠ i. A little beyond what clean
        episodes showed it ends: nothing is foretold from itself for long without running away.
        """
        scales, rows = self.scales, np.arange(len(obs))
        now = watch.past[:, -scales.sensors :]
        mean, sigma, _ = self.transitions(watch.past, latest(watch.acts, action))
        raw = bounded(((scales.scaled(obs) - now) / scales.change - mean) / sigma) - self.bias
        raw = np.where(np.isfinite(raw), raw, 0.0)
        raw[rows, sensor] = 0.0
        precision = self.whiten @ self.whiten
        expected = self.bias[sensor] - (precision[sensor] * raw).sum(axis=1) / precision[sensor, sensor]
        moved = (mean[rows, sensor] + expected * sigma[rows, sensor]) * scales.change[sensor]
        value = np.clip(now[rows, sensor] + moved, scales.low[sensor] - 1, scales.high[sensor] + 1)
        return value * scales.deviation[sensor] + scales.mean[sensor]

    def update(
        self, obs: np.ndarray, action: Any = None, start: Bool[np.ndarray, " N"] | None = None
    ) -> Verdict:
        """The verdict on observations (O,), or (N, O) of N environments, that just arrived.

        `action` is what led to them, as the environment got it; None at the start of all episodes. `start`
        marks those of N environments that were just reset and whose action means nothing.

        Raises:
            InputError: for other shapes than the monitor learned, or an action before the first observation.
        """
        obs = np.asarray(obs, float)
        single = obs.ndim == 1
        rows = obs[None] if single else obs
        if rows.ndim != 2 or rows.shape[1] != self.scales.sensors:
            raise InputError(f"obs is {obs.shape}, expected ({self.scales.sensors},) or (N, ...)")
        if action is None:
            found = self.live.start(self.start(rows), rows)
        else:
            if self.live.started != len(rows):
                raise InputError(
                    f"{len(rows)} observations for {self.live.started} episodes that are watched, expected as"
                    " many: begin with update(obs)"
                )
            acts = self.scales.encode_checked(action, len(rows))
            fresh = start is not None and bool(start.any())
            found = self.live.step(rows, acts, *((start, self.start(rows[start])) if fresh else ()))
        return found.first() if single else found

    def rearm(self) -> None:
        """Ends all alarms."""
        self.live.rearm()

    def _advance(self, watch: Watch, obs: np.ndarray, action: np.ndarray) -> np.ndarray:
        scales, sensors = self.scales, self.scales.sensors
        now = watch.past[:, -sensors:]
        seen = scales.scaled(obs)
        if broken := not math.isfinite(np.add.reduce(seen, axis=None)):
            finite = np.isfinite(seen)
            seen = np.where(finite, seen, now)
        watch.acts = latest(watch.acts, action)
        mean, sigma, doubt = self.transitions(watch.past, watch.acts)
        change = (seen - now) / scales.change
        z = bounded((bounded((change - mean) / sigma) - self.bias) @ self.whiten)
        extra = np.concatenate([doubt, np.arcsinh(self.places(seen))]).reshape(2, -1).T
        values = self.channels.of(z, watch.z, now @ scales.view, action, extra)
        watch.regime = self.regimes(np.concatenate([watch.past, watch.acts, doubt[:, None]], axis=1))
        watch.average = averaged(watch.average, self.regimes.standard(values, watch.regime), watch.step)
        watch.z, watch.step = z, watch.step + 1
        watch.repeats = (watch.repeats + 1) * (seen == now)
        guard = scales.guard(seen, change, watch.repeats)
        watch.past = latest(watch.past, seen)
        if broken:
            guard = np.where(finite.all(axis=1), guard, math.inf)
        return guard

    def _judge(self, watch: Watch, guard: np.ndarray) -> np.ndarray:
        assert self.bands is not None
        found = self.bands.statistics(self.channels, watch.average, watch.step - 1)
        return np.maximum(np.maximum.reduce(found, axis=1), GUARD * guard)

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

    def _make_bands(self, parts: list[Episodes]) -> None:
        """Whitening, then the bands of channels, then those of statistics, from clean episodes."""
        features, raw = self._innovations(parts)
        self.bias, self.whiten = whitening(raw)
        self.regimes = Regimes.fit(features, bounded((raw - self.bias) @ self.whiten), self.channels.count)
        moments = Moments(self.regimes.count, self.channels.count)
        for part in parts:
            for _, _, watch, _ in self._walk(part):
                moments.add(watch.regime, watch.average[:, 0])  # at rate 1: the channels themselves
        self.regimes = self.regimes.with_tables(*moments.shrunk(PRIOR))

        def walk() -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
            first = 0
            for part in parts:
                for step, rows, watch, _ in self._walk(part):
                    yield step, first + rows, watch.average
                first += len(part)

        self.bands = Bands.fit(self.channels, np.concatenate([part.length for part in parts]), walk)

    def _innovations(self, parts: list[Episodes]) -> tuple[np.ndarray, np.ndarray]:
        """What regimes are told by, and the innovations before they are whitened, of every step."""
        features, raw = [], []
        for part in parts:
            x, act, change = self.scales.histories(part, self.cfg.history)
            mean, sigma, doubt = self.transitions(x, act)
            features.append(np.concatenate([x, act, doubt[:, None]], axis=1))
            raw.append(bounded((change - mean) / sigma))
        return np.concatenate(features), np.concatenate(raw)

    def save(self, folder: Path) -> None:
        """Writes a model folder that `load` reads."""
        if not isinstance(self.transitions, Ensemble) or self.bands is None:
            raise InputError(
                "the monitor's transitions are not its own ensemble, expected one that was fitted"
            )
        tree = {
            "scales": self.scales.tree(),
            "polynomial": [self.transitions.base.index, self.transitions.base.weight],
            "rest": self.transitions.rest,
            "layers": self.transitions.layers,
            "bounds": self.transitions.bounds,
            "places": [self.places.encoder, self.places.decoder, self.places.precision],
            "arrays": [self.bias, self.whiten],
            "regimes": asdict(self.regimes),
            "bands": asdict(self.bands),
            "alarm": [self.threshold, self.alpha, self.calibrated_on],
        }
        tensors, rest = pack(tree)
        save_model(folder, tensors, {"kind": "monitor", "config": asdict(self.cfg), "tree": rest})

    @staticmethod
    def load(folder: Path) -> "RolloutMonitor":
        """Reads what `save` wrote; it may be calibrated again, but keeps its bands.

        Raises:
            InputError: when the folder is missing, damaged or holds something else.
        """
        tensors, description = load_model(folder)
        if description.get("kind") != "monitor":
            raise InputError(f"{folder} holds a {description.get('kind')!r}, expected a monitor")
        tree: dict[str, Any] = unpack(tensors, description["tree"])
        cfg = from_dict(Config, description["config"], f"{folder}/model.json")
        base = Polynomial(*tree["polynomial"])
        ensemble = Ensemble(base, tree["rest"], tree["layers"], tree["bounds"])
        monitor = RolloutMonitor(cfg, Scales(**tree["scales"]), ensemble, Places(*tree["places"]))
        monitor.bias, monitor.whiten = tree["arrays"]
        monitor.regimes = Regimes(**tree["regimes"])
        monitor.bands = Bands(**tree["bands"])
        monitor.threshold, monitor.alpha, monitor.calibrated_on = tree["alarm"]
        return monitor
