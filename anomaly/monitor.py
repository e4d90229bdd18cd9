"""The rollout monitor: it learns what a policy's clean episodes look like, and says when the world changed.

    monitor = RolloutMonitor.fit(clean)              # 50 episodes are enough to start
    monitor.calibrate(more, alpha=0.05)              # at most 5 % of clean episodes raise any alarm
    verdict = monitor.update(obs, action)            # what arrived, and the action that led to it

An ensemble foretells the next observation; what is left is whitened to innovations and made normal, and
`anomaly.monitor_statistics` takes two-sided statistics of them at three time scales, by regimes of state and
action. A VAE tells places that were never seen, a guard numbers that no sensor gives. The score is the
largest statistic, each in units of its own clean tail. The alarm's threshold is the conformal quantile of
whole episodes' highest scores: episodes are exchangeable, steps are not. `calibrate_endless` is for runs
that are never reset.
"""

import warnings
from collections.abc import Callable
from copy import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from anomaly.monitor_bands import Bands
from anomaly.monitor_choice import chosen
from anomaly.monitor_live import Live, Rule, Verdict
from anomaly.monitor_nets import Config, Ensemble, Places, Polynomial, Transitions
from anomaly.monitor_normal import Normal
from anomaly.monitor_policy import Policy, PolicyCheck
from anomaly.monitor_promise import STRETCH, Promise, check_episodes
from anomaly.monitor_regimes import Regimes
from anomaly.monitor_scores import StepScores
from anomaly.monitor_state import Scales, check_clean
from envs.recording import Episodes
from training.checkpoint import load_model, save_model
from training.config import from_dict
from training.device import on_one_thread
from training.errors import InputError
from training.seeds import numpy_generator
from training.state import pack, unpack

FORMAT = 4  # of saved monitors: the order of channels, and what is kept
HELD = 0.2  # share of the episodes to fit that make the first bands, and select when the VAE stops


class RolloutMonitor(StepScores):
    """What clean episodes look like, and from which score on an episode raises an alarm."""

    def __init__(
        self,
        cfg: Config,
        scales: Scales,
        transitions: Transitions,
        places: Places,
        policy: PolicyCheck | None = None,
    ) -> None:
        super().__init__(cfg, scales, transitions, places, policy)
        self.held: Episodes | None = None  # clean episodes that bands may be made of once more
        self.promise = Promise()
        self.live = Live(self, scales, Rule())
        self._outgrown = False  # whether it was told that an episode is longer than the promise

    @staticmethod
    @on_one_thread()
    def fit(
        clean: Episodes,
        cfg: Config | None = None,
        transitions: Callable[[Scales], Transitions] | None = None,
        policy: Policy | None = None,
    ) -> "RolloutMonitor":
        """Learns clean episodes; a fifth of them is held out to make the bands.

        `transitions` takes the place of the ensemble where somebody knows better: a simulator, say. With the
        `policy` that is watched, one without memory, `anomaly.monitor_policy` looks at what it makes of them.

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
        if transitions is None:
            cfg = chosen(cfg, scales, fit)
            assert cfg.history is not None
            net: Transitions = Ensemble.fit(*scales.histories(fit, cfg.history), cfg)
        else:
            net = transitions(scales)
        places = Places.fit(
            scales.scaled(fit.next_obs), scales.scaled(select.next_obs), cfg.place_steps, cfg.seed
        )
        check = None if policy is None else PolicyCheck.of(policy, scales, fit)
        monitor = RolloutMonitor(cfg, scales, net, places, check)
        monitor.held = select
        monitor.make_bands([select])
        return monitor

    @on_one_thread()
    def calibrate(self, clean: Episodes, alpha: float = 0.05) -> None:
        """Sets the threshold so that at most a share alpha of clean episodes raises any alarm.

        The promise is marginal: in the mean over sets of calibration episodes. Where half of the episodes
        suffice for it, the other half makes the bands anew.

        Raises:
            InputError: when there are too few episodes for alpha; the message says how many it takes.
        """
        check_clean(clean, 1)
        self.scales.expect(clean)
        needed, half = check_episodes(alpha, len(clean)), len(clean) // 2
        if len(clean) - half >= needed and half > 1 and self.held is not None:
            clean = self._spend_half(clean)
        longest = int(clean.length.max()) if clean.truncated.any() else 0
        self.promise = Promise.of_episodes(self.score(clean), alpha, longest)

    @on_one_thread()
    def calibrate_endless(self, clean: Episodes, run_length: int) -> None:
        """Sets the threshold so that false alarms are at least `run_length` steps apart, in the mean.

        For a control loop that is never reset; alarms end after as many quiet steps as a stretch has.

        Raises:
            InputError: when there are too few clean steps for it; the message says how many it takes.
        """
        check_clean(clean, 1)
        self.scales.expect(clean)
        if len(clean) > 3 and self.held is not None:
            clean = self._spend_half(clean)
        self.promise = Promise.of_runs(self.score(clean), run_length)
        self.live.rule = Rule(latch=False, cooldown=STRETCH)

    def alarms(self, score: Float[np.ndarray, "E T"]) -> Bool[np.ndarray, "E T"]:
        """Whether each step is above the threshold."""
        return score > self.threshold

    @property
    def threshold(self) -> float:
        """The score above which a step raises an alarm."""
        return self.promise.threshold

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
        if 0 < self.promise.longest < self.live.longest and not self._outgrown:
            self._outgrown = True
            warnings.warn(
                f"an episode goes on after {self.promise.longest} steps, where those that calibrated were"
                " cut: from here on nothing is promised, alarms may be false",
                stacklevel=2,
            )
        return found.first() if single else found

    def apart(self) -> "RolloutMonitor":
        """The same monitor with episodes of its own to watch: each environment needs one."""
        other = copy(self)
        other.live = Live(other, self.scales, self.live.rule)
        return other

    def rearm(self) -> None:
        """Ends all alarms."""
        self.live.rearm()

    def _spend_half(self, clean: Episodes) -> Episodes:
        """Makes the bands of half of the episodes and those held out of the fit; returns the other half."""
        assert self.held is not None
        # Drawn: in the order given, episodes need not be exchangeable, one may have sorted them.
        order = numpy_generator(self.cfg.seed, "halves").permutation(len(clean))
        bands, rest = np.split(order, [len(clean) // 2])
        self.make_bands([self.held, clean.part(np.sort(bands))])
        return clean.part(np.sort(rest))

    def save(self, folder: Path | str) -> None:
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
            "policy_gap_unit": None if self.policy is None else self.policy.unit,
            "spread": self.spread,
            "guard": self.guard,
            "regimes": asdict(self.regimes),
            "normal": asdict(self.normal),
            "bands": asdict(self.bands),
            "promise": asdict(self.promise),
            "rule": asdict(self.live.rule),
        }
        tensors, rest = pack(tree)
        told = {"kind": "monitor", "format": FORMAT, "config": asdict(self.cfg), "tree": rest}
        save_model(Path(folder), tensors, told)

    @staticmethod
    def load(folder: Path | str, policy: Policy | None = None) -> "RolloutMonitor":
        """Reads what `save` wrote; it may be calibrated again, but keeps its bands.

        A monitor that was fitted with a policy needs it again.

        Raises:
            InputError: when the folder is missing, damaged or holds something else.
        """
        tensors, description = load_model(Path(folder))
        if description.get("kind") != "monitor":
            raise InputError(f"{folder} holds a {description.get('kind')!r}, expected a monitor")
        tree: dict[str, Any] = unpack(tensors, description["tree"])
        if description.get("format") != FORMAT:
            raise InputError(f"{folder} was written by an older version, expected a monitor fitted again")
        cfg = from_dict(Config, description["config"], f"{folder}/model.json")
        base = Polynomial(*tree["polynomial"])
        ensemble = Ensemble(base, tree["rest"], tree["layers"], tree["bounds"])
        scales = Scales(**tree["scales"])
        unit: Any = tree.get("policy_gap_unit")
        if (unit is None) != (policy is None):
            has, wants = ("no", "none") if unit is None else ("a", "it: load(folder, policy=...)")
            raise InputError(f"the monitor in {folder} was fitted with {has} policy, expected {wants}")
        check = None if policy is None else PolicyCheck(policy, scales, unit)
        monitor = RolloutMonitor(cfg, scales, ensemble, Places(*tree["places"]), check)
        monitor.spread = tree["spread"]
        monitor.guard = tree["guard"]
        monitor.regimes, monitor.normal = Regimes(**tree["regimes"]), Normal(**tree["normal"])
        monitor.bands = Bands(**tree["bands"])
        monitor.promise = Promise(**tree["promise"])
        monitor.live.rule = Rule(**tree["rule"])
        return monitor
