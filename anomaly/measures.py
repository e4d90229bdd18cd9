"""How well scores tell labelled rows apart, and whether the promise was kept, overall and by group."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from anomaly.calibration import realised_range

LEVEL = 0.99  # of the intervals of all groups together


@dataclass(frozen=True)
class Alarms:
    """What happened to the rows of one group."""

    group: str
    normal: int  # rows
    false_alarms: int
    low: int  # the false alarms that the promise is consistent with
    high: int
    anomalies: int  # rows
    found: int

    @property
    def kept(self) -> bool:
        """Whether there were no more false alarms than the promise allows by chance."""
        return self.false_alarms <= self.high


def ranking(score: Float[np.ndarray, " B"], anomaly: Bool[np.ndarray, " B"]) -> tuple[float, float]:
    """AUROC and average precision; NaN where there is only one kind of rows."""
    if anomaly.all() or not anomaly.any():
        return float("nan"), float("nan")
    from sklearn.metrics import average_precision_score, roc_auc_score

    return float(roc_auc_score(anomaly, score)), float(average_precision_score(anomaly, score))


def alarms(
    flagged: Bool[np.ndarray, " B"],
    anomaly: Bool[np.ndarray, " B"],
    group: Int[np.ndarray, " B"],
    names: list[str],
    calibrated: int,
    alpha: float,
    lines: int,
    block: int = 1,
) -> list[Alarms]:
    """One line for each group that has rows; the intervals of as many `lines` hold together at LEVEL.

    They are beta-binomial (`calibration.realised_range`): the same calibration rows served all. Where rows
    depend on their neighbours, `block` of them count as one that is false or not.
    """
    found = []
    level = 1 - (1 - LEVEL) / lines
    for i, name in enumerate(names):
        here = group == i
        if not here.any():
            continue
        normal, strange = here & ~anomaly, here & anomaly
        tests = int(normal.sum())
        low, high = _allowed(calibrated // block, alpha, -(-tests // block), level)
        low, high = low * block, min(high * block, tests)
        found.append(
            Alarms(
                name,
                tests,
                int((flagged & normal).sum()),
                low,
                high,
                int(strange.sum()),
                int((flagged & strange).sum()),
            )
        )
    return found


def _allowed(calibrated: int, alpha: float, tests: int, level: float) -> tuple[int, int]:
    """The interval of false alarms; all of it where so few scores calibrated that nothing is known."""
    if not tests:
        return 0, 0
    if alpha * (calibrated + 1) < 1 - 1e-9:
        return 0, tests
    return realised_range(calibrated, alpha, tests, level)
