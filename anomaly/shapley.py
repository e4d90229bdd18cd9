"""Why a row is strange, against many normal rows at once: SHAP (Lundberg and Lee, 2017, arXiv:1705.07874).

    v(S) = mean over normal rows y of  s(columns S from x, the others from y)
    Σ_c φ_c = v(all) − v(none) = s(x) − mean of s(y)

Players are the columns of the user's table: a category is one, and so is a number with its gaps. The shap
library draws the orders of columns, each with its reverse (its permutation explainer); the sum is exact
whatever they are, and is checked. `explain` needs no library: there the nearest normal row is the only y.
"""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from anomaly.detector import Detector
from anomaly.players import Players
from training.errors import InputError
from training.seeds import numpy_generator

BACKGROUND = 50  # normal rows
ORDERS = 10  # of the columns, each also reversed
TOLERANCE = 1e-6  # of the sum, for scores of 32 bits


def shap_values(
    detector: Detector, x: Float[np.ndarray, " F"], novel: Bool[np.ndarray, " C"]
) -> tuple[Float[np.ndarray, " P"], float]:
    """φ of the module docstring for each input column, and the mean score of the normal rows.

    Raises:
        InputError: when shap is not installed.
    """
    explainer = _explainer()
    some = numpy_generator(len(novel), "background").permutation(len(detector.references))[:BACKGROUND]
    players, normal = Players.of(detector), detector.references[some]
    owner, count, novel = players.owner, len(players.names), players.novel(novel)

    def value(taken: np.ndarray) -> Float[np.ndarray, " S"]:
        """v of sets of columns, one set a row, 1 where a column is in it."""
        values = np.zeros(len(taken))
        for i, inside in enumerate(taken > 0.5):
            news = np.full(len(normal), (inside & novel).sum())
            values[i] = detector.score_features(np.where(inside[owner], x, normal), news).mean()
        return values

    found = explainer(value, np.zeros((1, count)), seed=0)(
        np.ones((1, count)), max_evals=ORDERS * (2 * count + 1), silent=True
    )
    phi, base = np.asarray(found.values[0], np.float64), float(np.ravel(found.base_values)[0])
    whole = float(value(np.ones((1, count)))[0])
    if abs(base + phi.sum() - whole) > TOLERANCE * max(1.0, abs(base), abs(whole)):
        raise ArithmeticError(f"contributions sum to {base + phi.sum()}, the score is {whole}")
    return phi, base


def _explainer() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its pictures use what Matplotlib will drop; we draw none
            from shap.explainers import Permutation
    except ImportError:
        raise InputError("SHAP is not installed, expected: pip install 'rl-generative-lab[shap]'") from None
    return Permutation
