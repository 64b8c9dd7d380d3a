"""One test for the difference of many means at once."""

import numpy as np

from causal_assets.estimators.moments import Moments


def joint_difference_p_value(control: Moments, treated: Moments) -> float:
    """P-value of the Wald test that all k means agree: d'V^-1 d against chi-square, V = S_t / n_t + S_c / n_c.

    Columns that are constant or repeat others are left out by the pseudo-inverse; the degrees of freedom are its rank.

    Source: Hansen & Bowers (2008), Covariate balance in simple, stratified and clustered comparative studies.

    Raises:
        ValueError: different numbers of columns.
    """
    from scipy.stats import chi2

    if control.mean.size != treated.mean.size:
        raise ValueError(f"treated: expected {control.mean.size} columns, got {treated.mean.size}")
    spread = np.sqrt((np.diag(control.cov) + np.diag(treated.cov)) / 2)
    scale = np.where(spread > 0, spread, 1.0)  # so that the rank does not depend on units of measurement
    difference = (treated.mean - control.mean) / scale
    variance = (treated.cov / treated.n + control.cov / control.n) / np.outer(scale, scale)
    rank = int(np.linalg.matrix_rank(variance, hermitian=True))
    if rank == 0:
        return 1.0
    statistic = float(difference @ np.linalg.pinv(variance, hermitian=True) @ difference)
    return float(chi2.sf(statistic, rank))
