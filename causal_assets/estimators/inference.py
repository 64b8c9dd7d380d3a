"""From an estimate and its variance to an interval, a p-value and a relative effect, all from one test."""

from math import inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.types import Estimate

Floats = NDArray[np.float64]


class Refusal(ValueError):
    """These data do not answer the question asked, for the reason told; nothing is wrong with the call."""


def fieller(value: float, control_mean: float, cov: Floats, critical: float) -> tuple[float, float]:
    """Interval of ``value / control_mean``: every ratio r for which ``value - r * control_mean`` is not rejected as 0.

    ``cov`` is the (2, 2) covariance of ``(control_mean, value)``. Returns ``(-inf, inf)`` where the control mean
    cannot be told from zero. At r = 0 the test is that of ``value`` itself, so both exclude 0 together.

    Source: Fieller (1954), Some problems in interval estimation, JRSS B 16(2).
    """
    a = control_mean**2 - critical**2 * cov[0, 0]
    if a <= 0:
        return -inf, inf
    half_b = value * control_mean - critical**2 * cov[0, 1]
    c = value**2 - critical**2 * cov[1, 1]
    root = sqrt(max(half_b**2 - a * c, 0.0))
    return float((half_b - root) / a), float((half_b + root) / a)


def clustered_covariance(influence: Floats, unit: ArrayLike) -> Floats:
    """Covariance (k, k) of k estimates from their influence functions (n, k), rows of one unit summed first.

    Raises:
        ValueError: fewer than two units.
    """
    _, code = np.unique(np.asarray(unit), return_inverse=True)
    units = int(code.max()) + 1
    if units < 2:
        raise ValueError(f"unit: a standard error needs at least 2 units, got {units}")
    sums = np.stack([np.bincount(code, weights=column) for column in influence.T], axis=1)
    return sums.T @ sums * (units / (units - 1)) / len(influence) ** 2


def degrees_of_freedom(found: Estimate) -> float:
    """Of the t test that ``found`` inverts, from how many of its standard errors the interval spans; inf if normal.

    Raises:
        ValueError: an estimate without a positive standard error or with a set that is not one interval.
    """
    from scipy.special import ndtri, stdtridf

    error = found.std_error
    if error is None or not 0 < error < inf or found.pieces or not found.high - found.low < inf:
        raise ValueError(f"{found.outcome}/{found.method}: expected a standard error and one interval, got {found}")
    quantile, critical = (1 + found.level) / 2, (found.high - found.low) / (2 * error)
    # Beyond 10^9 degrees of freedom t is normal.
    return float(stdtridf(quantile, critical)) if critical > ndtri(quantile) * (1 + 1e-9) else inf


def estimate(
    *,
    outcome: str,
    estimand: str,
    method: str,
    value: float,
    control_mean: float,
    cov: Floats,
    df: float,
    level: float,
    n_treated: int,
    n_control: int,
) -> Estimate:
    """The Estimate of ``value`` by one t test with ``df`` degrees of freedom.

    ``cov`` is the (2, 2) covariance of ``(control_mean, value)``; counts are units.

    Raises:
        ValueError: a level outside (0, 1), or a standard error that is not a positive number.
    """
    from scipy.stats import t

    if not 0.0 < level < 1.0:
        raise ValueError(f"{outcome}: level must lie strictly between 0 and 1, got {level}")
    if not cov[1, 1] > 0:
        raise ValueError(f"{outcome}: the effect needs a positive variance, got {cov[1, 1]}; is the outcome constant?")
    value, control_mean, std_error = float(value), float(control_mean), sqrt(cov[1, 1])
    critical = float(t.ppf((1 + level) / 2, df))
    low, high = fieller(value, control_mean, cov, critical)
    return Estimate(
        outcome=outcome,
        estimand=estimand,
        method=method,
        value=value,
        std_error=std_error,
        low=value - critical * std_error,
        high=value + critical * std_error,
        p_value=float(2 * t.sf(abs(value) / std_error, df)),
        level=level,
        n_treated=n_treated,
        n_control=n_control,
        control_mean=control_mean,
        relative=value / control_mean if control_mean else None,
        relative_low=low,
        relative_high=high,
    )
