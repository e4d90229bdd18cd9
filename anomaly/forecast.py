"""Windows by what their newest rows have that the rows before did not foretell.

    e_t = x_t − A x_{t−L} .. x_{t−1}      a linear forecast of each feature from the L = ⌊W/2⌋ rows before,
                                          least squares with a ridge; e in units of its fitted deviation
                                          (fewer where L rows have more than MOST numbers)
    forecast      log |e_t|               one row that is wrong
    shift, drift  log |mean of e|         over the last S/4 and the last S = W − L rows: a level that changed
    unrest        log deviation of e      over the last S/4 rows, less its median: more spread than usual
    calm          the same, negative      less spread: a sensor that is stuck
    value, level  log |x_t|, log |mean of x|   x in fitted deviations from its mean, the mean over S/4 rows

Of several features the strangest counts. Each view is a model of its own: what is unusual of one kind says
nothing about the others, and `surprise.joined` puts them together.
"""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from training.errors import InputError

View = Literal["forecast", "shift", "drift", "unrest", "calm", "value", "level"]
VIEWS: tuple[View, ...] = get_args(View)
RIDGE = 1e-3  # times the number of windows
MOST = 2_000  # numbers that a forecast is made of: their matrix is squared
CELLS = 4_000_000  # numbers of windows that are looked at together
FLOOR = 0.02  # of the fitted deviation: below it, differences are not told apart


class Forecast:
    """One of the views of the module docstring."""

    def __init__(
        self,
        view: View,
        weight: Float[Tensor, "K F"],
        bias: Float[Tensor, " F"],
        deviation: Float[Tensor, " F"],
        usual: Float[Tensor, "3 F"],
        columns: int,
        looked_at: Int[Tensor, " F"],
    ) -> None:
        self.view, self.weight, self.bias, self.deviation = view, weight, bias, deviation
        self.columns, self.looked_at = columns, looked_at  # features of a row, and those of them that count
        self.usual = usual  # mean and deviation of x, median of the log deviation of e

    @staticmethod
    def fit(
        view: View, x: Float[Tensor, "B D"], length: int, looked_at: Int[Tensor, " F"] | None = None
    ) -> "Forecast":
        """The forecast learned from windows of `length` rows; of their features some may be looked at alone.

        Raises:
            InputError: when they are too many.
        """
        every = x.shape[1] // length
        looked_at = torch.arange(every) if looked_at is None else looked_at
        x = _looked_at(x, every, looked_at)
        columns = len(looked_at)
        if columns > MOST:
            raise InputError(f"a forecast of {columns} features at once is too much, expected {MOST} at most")
        lags = min(length // 2, MOST // columns)
        past, now = x[:, -(lags + 1) * columns : -columns].double(), x[:, -columns:].double()
        mean_past, mean_now = past.mean(0), now.mean(0)
        centred = past - mean_past
        gram = centred.T @ centred + RIDGE * len(x) * torch.eye(lags * columns, dtype=torch.float64)
        weight = torch.linalg.solve(gram, centred.T @ (now - mean_now))
        bias = mean_now - mean_past @ weight
        deviation = (now - past @ weight - bias).std(0, correction=0)
        usual = torch.stack([mean_now, _positive(now.std(0, correction=0)), torch.zeros_like(mean_now)])
        found = Forecast(view, weight, bias, _positive(deviation), usual, every, looked_at)
        spread = torch.cat([found._spread(some) for some in x.split(found._together(x))])
        found.usual[2] = spread.median(0).values
        return found

    def residuals(self, x: Float[Tensor, "B D"], rows: int) -> Float[Tensor, "B S F"]:
        """e of the last `rows` rows of windows."""
        columns = len(self.bias)
        lags = len(self.weight) // columns
        series = x[:, -(lags + rows) * columns :].to(self.weight.dtype)
        past = series.unfold(1, lags * columns, columns)[:, :rows]  # (B, S, K)
        return (
            series[:, lags * columns :].unflatten(1, (rows, columns)) - past @ self.weight - self.bias
        ) / self.deviation

    def score(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """The view of the module docstring."""
        x = _looked_at(x, self.columns, self.looked_at)
        return torch.cat([self._score(some) for some in x.split(self._together(x))])

    def _together(self, x: Float[Tensor, "B D"]) -> int:
        """How many windows have CELLS numbers with all lags of their rows."""
        return max(1, CELLS // (self._span(x) * len(self.weight)))

    def _score(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        if self.view in ("unrest", "calm"):
            more = self._spread(x) - self.usual[2]
            return (more if self.view == "unrest" else -more).amax(1)
        rows = {"forecast": 1, "value": 1, "drift": self._span(x)}.get(self.view, self._short(x))
        if self.view in ("value", "level"):
            columns = len(self.bias)
            newest = x[:, -rows * columns :].unflatten(1, (rows, columns)).to(self.bias.dtype)
            mean = (newest.mean(1) - self.usual[0]) / self.usual[1]
        else:
            mean = self.residuals(x, rows).mean(1)
        return (mean.abs().amax(1) + FLOOR).log()

    def _span(self, x: Float[Tensor, "B D"]) -> int:
        """S: the rows of a window of which e is known."""
        return (x.shape[1] - len(self.weight)) // len(self.bias)

    def _short(self, x: Float[Tensor, "B D"]) -> int:
        return max(1, self._span(x) // 4)

    def _spread(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        """The log deviation of e."""
        rows = max(2, self._short(x)) if self._span(x) > 1 else 1
        return (self.residuals(x, rows).var(1, correction=0).sqrt() + FLOOR).log()

    def arrays(self) -> dict[str, Tensor]:
        """What `of_arrays` needs."""
        view = torch.tensor(VIEWS.index(self.view))
        numbers = {"weight": self.weight, "bias": self.bias, "deviation": self.deviation, "usual": self.usual}
        return {"view": view, "columns": torch.tensor(self.columns), "looked_at": self.looked_at, **numbers}

    @staticmethod
    def of_arrays(found: dict[str, Tensor]) -> "Forecast":
        """Reads what `arrays` gave."""
        weight, bias, deviation, usual = (found[name] for name in ("weight", "bias", "deviation", "usual"))
        view, columns = VIEWS[int(found["view"])], int(found["columns"])
        return Forecast(view, weight, bias, deviation, usual, columns, found["looked_at"])


def _looked_at(x: Float[Tensor, "B D"], columns: int, which: Int[Tensor, " F"]) -> Float[Tensor, "B E"]:
    """Windows of some features of their rows."""
    return x if len(which) == columns else x.unflatten(1, (-1, columns))[:, :, which].flatten(1)


def _positive(deviation: Float[Tensor, " F"]) -> Float[Tensor, " F"]:
    return torch.where(deviation > 1e-6, deviation, 1.0)
