"""Ratio metrics: revenue per order, clicks per view, where a unit has any number of orders or views."""

from dataclasses import replace

import numpy as np

from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.types import Estimate

# The bias of a ratio is at most this share of its standard error (Cochran 1977, Sampling Techniques, eq. 6.34).
LARGEST_DENOMINATOR_ERROR = 0.1


def _linearized(name: str, arm: Moments) -> Moments:
    """Moments of the ratio's linear part R + (a - R b) / mean(b), then the covariates, from those of (a, b, ...)."""
    top, bottom = arm.mean[:2]
    error = np.sqrt(arm.cov[1, 1] / arm.n)
    if not bottom > 0 or error > LARGEST_DENOMINATOR_ERROR * bottom:
        raise ValueError(
            f"{name} arm: the denominator's mean must be positive and known to {LARGEST_DENOMINATOR_ERROR:.0%}, "
            f"got {bottom:.4g} with standard error {error:.2g} from {arm.n} units"
        )
    ratio = top / bottom
    weights = np.zeros((arm.mean.size - 1, arm.mean.size))
    weights[0, :2] = np.array([1.0, -ratio]) / bottom
    weights[1:, 2:] = np.eye(arm.mean.size - 2)
    return Moments(arm.n, np.concatenate([[ratio], arm.mean[2:]]), weights @ arm.cov @ weights.T)


def difference_in_ratios(
    control: Moments, treated: Moments, *, outcome: str, level: float = 0.95, estimand: str = "ATE"
) -> Estimate:
    """Treated minus control ratio of means, mean(column 0) / mean(column 1), with units as the independent rows.

    By the delta method: each arm's ratio is a mean of its linear part, which is adjusted for the columns from 2 on
    (covariates from before assignment, such as the earlier numerator and denominator) and compared as in
    ``difference_in_means``. It is the effect on the ratio of totals, not the mean of the units' ratios, and assumes
    nothing about rows within units. Takes moments, no rows.

    Source: Deng, Knoblich & Lu (2018), Applying the delta method in metric analytics, KDD, sec. 3 and 4.

    Raises:
        ValueError: as ``difference_in_means``, fewer than two columns, or a denominator whose mean is not positive or
            has a standard error above 10%.
    """
    if control.mean.size < 2:
        raise ValueError(f"control: a ratio needs columns numerator and denominator, got {control.mean.size}")
    found = difference_in_means(
        _linearized("control", control),
        _linearized("treated", treated),
        outcome=outcome,
        level=level,
        estimand=estimand,
    )
    return replace(found, method=found.method.replace("means", "ratios, delta method"))
