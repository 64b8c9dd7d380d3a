"""The difference of a quantile between two arms, by order statistics: no density, no bootstrap."""

from dataclasses import dataclass
from math import hypot, inf, isfinite, sqrt

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.inference import Floats
from causal_assets.types import Estimate

# Below this many units the sampled variance of a clustered distribution function is itself too noisy.
LEAST_CLUSTERS = 30
# Beyond it a normal tail is 0 in double precision.
NORMAL_END = 38.5


@dataclass(frozen=True, eq=False)
class _Arm:
    y: Floats  # sorted
    quantile: float
    effective: float  # independent rows that say as much about the quantile

    def at(self, chance: float) -> float:
        """The value below which the quantile lies with probability ``chance``; infinite where no row bounds it.

        P(quantile < Y_(k)) = P(Binomial(n, q) < k), continued between whole ranks by the beta function.
        """
        from scipy.special import bdtrik

        rank = float(bdtrik(chance, self.effective, self.quantile)) + 1
        if not 1.0 <= rank <= self.effective:
            return inf if rank > 1 else -inf
        row = (rank - 0.5) * self.y.size / self.effective - 0.5  # 0-based
        row = min(max(row, 0.0), self.y.size - 1.0)
        below = int(row)
        above = min(below + 1, self.y.size - 1)
        return float(self.y[below] + (row - below) * (self.y[above] - self.y[below]))


def _arm(name: str, y: ArrayLike, unit: ArrayLike | None, quantile: float) -> tuple[_Arm, int]:
    """The sorted arm and its number of units."""
    values = np.asarray(y, dtype=np.float64)
    if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all():
        raise ValueError(f"{name}: expected at least 2 finite outcomes, got shape {values.shape}")
    if unit is None:
        return _Arm(np.sort(values), quantile, values.size), values.size
    codes = np.unique(np.asarray(unit), return_inverse=True)[1]
    if codes.shape != values.shape:
        raise ValueError(f"{name} units: expected one label per row ({values.size}), got shape {codes.shape}")
    units = int(codes.max()) + 1
    if units < LEAST_CLUSTERS:
        raise ValueError(f"{name} units: quantiles of clustered rows need {LEAST_CLUSTERS} units, got {units}")
    ordered = np.sort(values)
    point = _Arm(ordered, quantile, values.size).at(0.5)
    at_most = np.bincount(codes, weights=values <= point)
    size = np.bincount(codes)
    residual = at_most - at_most.sum() / size.sum() * size
    variance = residual @ residual * units / (units - 1) / values.size**2
    if not variance > 0:
        raise ValueError(f"{name}: every unit has the same share of rows up to the quantile; it has no sampling error")
    return _Arm(ordered, quantile, quantile * (1 - quantile) / variance), units


def _limits(control: _Arm, treated: _Arm, z: float) -> tuple[float, float]:
    """The difference of quantiles that a test with critical value ``z`` does not reject, from both arms' own limits."""
    from scipy.special import ndtr

    c_low, c, c_high = (control.at(ndtr(x)) for x in (-z, 0.0, z))
    t_low, t, t_high = (treated.at(ndtr(x)) for x in (-z, 0.0, z))
    return t - c - hypot(t - t_low, c_high - c), t - c + hypot(t_high - t, c - c_low)


def _p_value(control: _Arm, treated: _Arm, value: float) -> float:
    """1 minus the smallest level whose interval holds 0, by bisection: tied rows make the ends step functions."""
    from scipy.special import ndtr

    if value == 0:
        return 1.0
    outside, inside = 0.0, NORMAL_END
    while outside < (z := (outside + inside) / 2) < inside:
        low, high = _limits(control, treated, z)
        outside, inside = (outside, z) if low <= 0 <= high else (z, inside)
    return float(2 * ndtr(-inside))


def _relative(control: _Arm, treated: _Arm, z: float) -> tuple[float, float]:
    """Ratio minus 1: each r for which treated - r * control is not told from 0 by these limits (Donner & Zou 2012)."""
    from scipy.special import ndtr

    c_low, c, c_high = (control.at(ndtr(x)) for x in (-z, 0.0, z))
    t_low, t, t_high = (treated.at(ndtr(x)) for x in (-z, 0.0, z))
    if not (c_low > 0 and t_low > 0 and isfinite(c_high) and isfinite(t_high)):
        return -inf, inf

    def root(t_error: float, c_error: float) -> float:
        return sqrt(max((t * c) ** 2 - (c**2 - c_error**2) * (t**2 - t_error**2), 0.0))

    low = (t**2 - (t - t_low) ** 2) / (t * c + root(t - t_low, c_high - c))
    high = (t * c + root(t_high - t, c - c_low)) / (c**2 - (c - c_low) ** 2)
    return low - 1, high - 1


def difference_in_quantiles(
    control: ArrayLike,
    treated: ArrayLike,
    quantile: float,
    *,
    control_unit: ArrayLike | None = None,
    treated_unit: ArrayLike | None = None,
    outcome: str,
    level: float = 0.95,
    estimand: str = "QTE",
) -> Estimate:
    """Treated minus control quantile of the outcome: ``control`` (n0,) and ``treated`` (n1,) rows of the two arms.

    Each arm's limits are order statistics whose ranks are binomial quantiles (Woodruff 1952), interpolated between
    whole ranks (Beran & Hall 1993); the difference combines them as MOVER does (Zou & Donner 2008), which keeps their
    skewness. The p-value is 1 minus the level at which that interval reaches 0, the relative interval is the ratio's by
    the same limits, ``(-inf, inf)`` unless both arms' limits are positive. Ends are infinite where an arm is too small
    to bound its quantile. ``std_error`` is half the width of the arms' limits at one normal error.

    With units of several rows the quantile is that of rows, and ranks come from the number of independent rows that
    would know the arm's distribution function as well as the units do (Deng, Knoblich & Lu 2018, sec. 4.4). Needs
    sorted rows, O(n log n) time and O(n) memory: not a function of moments.

    Raises:
        ValueError: a quantile or level outside (0, 1), fewer than two rows (clustered: 30 units) in an arm, too few to
            reach the quantile, a NaN, or rows tied at the quantile of both arms, which leaves the interval no width.
    """
    from scipy.special import ndtr, ndtri

    if not 0.0 < quantile < 1.0 or not 0.0 < level < 1.0:
        raise ValueError(f"quantile, level: expected numbers strictly between 0 and 1, got {quantile}, {level}")
    c, n_control = _arm("control", control, control_unit, quantile)
    t, n_treated = _arm("treated", treated, treated_unit, quantile)
    control_quantile, treated_quantile = c.at(0.5), t.at(0.5)
    if not isfinite(control_quantile + treated_quantile):
        raise ValueError(f"{outcome}: arms of {c.y.size} and {t.y.size} rows do not reach their {quantile:g} quantile")
    z = float(ndtri((1 + level) / 2))
    low, high = _limits(c, t, z)
    if low == high:
        raise ValueError(f"{outcome}: rows are tied around the {quantile:g} quantile of both arms, no interval exists")
    errors = [(arm.at(float(ndtr(1.0))) - arm.at(float(ndtr(-1.0)))) / 2 for arm in (c, t)]
    value = treated_quantile - control_quantile
    relative = _relative(c, t, z)
    return Estimate(
        outcome=outcome,
        estimand=estimand,
        method=f"difference in {quantile:g} quantiles, order statistics",
        value=value,
        std_error=hypot(*errors) if isfinite(sum(errors)) else None,
        low=low,
        high=high,
        p_value=_p_value(c, t, value),
        level=level,
        n_treated=n_treated,
        n_control=n_control,
        control_mean=control_quantile,
        relative=value / control_quantile if control_quantile else None,
        relative_low=relative[0],
        relative_high=relative[1],
    )
