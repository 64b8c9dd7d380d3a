"""How far apart the arms were before treatment."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.inference import Floats
from causal_assets.estimators.moments import Moments, pseudo_inverse

# Means closer than this, relative to their size, are one number that was added up in two orders.
ROUNDING = 1e-12


def _gap(control: Floats, treated: Floats) -> Floats:
    return np.where(np.isclose(control, treated, rtol=ROUNDING, atol=0.0), 0.0, treated - control)


def _standardized(gap: Floats, variance: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gap == 0, 0.0, gap / np.sqrt(variance))


def standardized_differences(control: Moments, treated: Moments) -> Floats:
    """Treated minus control mean of each column (k,), in standard deviations averaged over the arms.

    Infinite where two constants differ. Source: Austin (2009), Balance diagnostics, Statistics in Medicine 28(25).
    """
    variance = (np.diag(control.cov) + np.diag(treated.cov)) / 2
    return _standardized(_gap(control.mean, treated.mean), variance)


def omnibus(control: Moments, treated: Moments) -> float:
    """P-value of one Wald test that all columns have equal means in both arms; collinear columns count once.

    Zero where a column is one constant in one arm and another in the other.

    Source: Hansen & Bowers (2008), Covariate balance in simple, stratified and clustered studies, Stat. Science 23(2).
    """
    from scipy.stats import chi2

    gap = _gap(control.mean, treated.mean)
    cov = control.cov / control.n + treated.cov / treated.n
    if gap[np.diag(cov) == 0].any():
        return 0.0
    inverse, rank = pseudo_inverse(cov)
    return float(chi2.sf(gap @ inverse @ gap, rank)) if rank else 1.0


def weighted_differences(x: ArrayLike, d: ArrayLike, weight: ArrayLike) -> Floats:
    """Weighted treated minus control means of ``x`` (n, k), in standard deviations of the unweighted arms.

    ``d`` (n,) is 0 or 1, ``weight`` (n,) as from ``overlap.weights``, or ones for the differences before weighting.
    """
    columns, treated, w = np.asarray(x, dtype=np.float64), np.asarray(d).astype(bool), np.asarray(weight)
    means = [np.average(columns[arm], axis=0, weights=w[arm]) for arm in (~treated, treated)]
    variance = (columns[~treated].var(axis=0, ddof=1) + columns[treated].var(axis=0, ddof=1)) / 2
    return _standardized(_gap(*means), variance)


def variance_ratios(x: ArrayLike, d: ArrayLike, weight: ArrayLike) -> Floats:
    """Weighted treated over control variance of each column of ``x`` (n, k); NaN for what has two values or one.

    ``d`` and ``weight`` as for ``weighted_differences``. A column of two values has no spread but its mean's, which the
    differences show. Infinite where only the controls are one constant.

    Source: Rubin (2001), Using propensity scores to help design observational studies, Health Services & Outcomes
    Research Methodology 2.
    """
    columns, treated, w = np.asarray(x, dtype=np.float64), np.asarray(d).astype(bool), np.asarray(weight)

    def variance(arm: NDArray[np.bool_]) -> Floats:
        centred = columns[arm] - np.average(columns[arm], axis=0, weights=w[arm])
        return np.average(centred**2, axis=0, weights=w[arm])

    low, high = columns.min(axis=0), columns.max(axis=0)
    two_values = ((columns == low) | (columns == high)).all(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(two_values, np.nan, variance(treated) / variance(~treated))
