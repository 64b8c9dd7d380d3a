"""Synthetic control matched on chosen predictors instead of every pre-period outcome."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.inference import Floats
from causal_assets.estimators.simplex import simplex_weights
from causal_assets.estimators.synthetic_control import Fit, Panel, centred, fit_of

# Enough for the search for importance to end by itself; in many dimensions its steps must adapt to their number.
STEPS = 5_000


@dataclass(frozen=True, eq=False)
class PredictorFit:
    """The fit and the ``importance`` (k,) of each predictor, which sums to one."""

    fit: Fit
    importance: Floats


def fit_predictors(
    panel: Panel, predictors: ArrayLike, *, importance: ArrayLike | None = None, loss: ArrayLike | None = None
) -> PredictorFit:
    """Synthetic control whose weights match ``predictors`` (n, k), a row per unit of ``panel``, averaged over treated.

    Predictors are divided by their standard deviation over units. Their ``importance`` (k,) is given (from a training
    period, say), or searched by Nelder-Mead from equal shares so that the weights it leads to fit the outcome best
    over the pre-periods marked in ``loss`` (pre,), by default all. The search is local: another start, another end.

    Source: Abadie & Gardeazabal (2003), AER 93(1), appendix B; Abadie, Diamond & Hainmueller (2015), AJPS 59(2).

    Raises:
        ValueError: predictors of another shape, NaN or infinite, or constant; importance or loss of another shape, with
            a negative or no positive entry.
    """
    x = np.asarray(predictors, dtype=np.float64)
    if x.ndim != 2 or len(x) != len(panel.units):
        raise ValueError(f"predictors: expected shape ({len(panel.units)}, k), got {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"predictors: columns {np.flatnonzero(~np.isfinite(x).all(axis=0)).tolist()} hold NaN or inf")
    if (flat := np.ptp(x, axis=0) == 0).any():
        raise ValueError(f"predictors: columns {np.flatnonzero(flat).tolist()} are constant")
    treated, donors = panel.treated, ~panel.treated
    means = np.vstack([x[donors], x[treated].mean(axis=0)])
    scaled = (means - means[:-1].mean(axis=0)) / means.std(axis=0, ddof=1)
    z = centred(panel.y, donors, panel.pre, demeaned=False)
    target = z[treated].mean(axis=0)
    periods = _shares("loss", np.ones(panel.pre) if loss is None else loss, panel.pre)

    def weights_of(shares: Floats) -> Floats:
        rows = scaled * np.sqrt(shares)
        return simplex_weights(rows[:-1] @ rows[:-1].T, (rows[:-1] @ rows[-1])[None])[0]

    def missed(raw: Floats) -> float:
        shares = np.abs(raw) / np.abs(raw).sum()
        return float(periods @ (target[: panel.pre] - weights_of(shares) @ z[donors, : panel.pre]) ** 2)

    if importance is None:
        from scipy.optimize import minimize

        k = x.shape[1]
        found = minimize(missed, np.full(k, 1 / k), method="Nelder-Mead", options={"maxiter": STEPS, "adaptive": True})
        shares = np.abs(found.x) / np.abs(found.x).sum()
    else:
        shares = _shares("importance", importance, x.shape[1])
    return PredictorFit(fit_of(z[donors], target, panel.pre, weights_of(shares)), shares)


def _shares(name: str, given: ArrayLike, size: int) -> Floats:
    values = np.asarray(given, dtype=np.float64)
    if values.shape != (size,) or not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ValueError(
            f"{name}: expected {size} shares that are not negative and not all zero, got {values.tolist()}"
        )
    return values / values.sum()
