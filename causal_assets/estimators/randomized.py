"""The effect in a randomised experiment, adjusted for what was measured before it."""

from dataclasses import dataclass

import numpy as np

from causal_assets.estimators.inference import Floats, estimate
from causal_assets.estimators.moments import Moments, pseudo_inverse
from causal_assets.types import Estimate


@dataclass(frozen=True)
class _Arm:
    mean: float  # outcome mean adjusted to the covariates of both arms
    variance: float  # of that mean, given the covariates
    slope: Floats  # (k,) outcome on covariates within the arm
    df: int  # degrees of freedom of the residual variance


def _check(name: str, arm: Moments) -> None:
    if arm.n < 2:
        raise ValueError(f"{name} arm: a variance needs at least 2 units, got {arm.n}")
    if (np.diag(arm.cov) < 0).any():
        raise ValueError(f"{name} arm: variances may not be negative, got {np.diag(arm.cov).tolist()}")


def _adjusted(name: str, arm: Moments, target: Floats) -> _Arm:
    """Regress the outcome on the covariates within one arm and predict at ``target`` (k,), the means of both arms."""
    inverse, rank = pseudo_inverse(arm.cov[1:, 1:])
    df = arm.n - rank - 1
    if df < 1:
        raise ValueError(f"{name} arm: {rank} covariates need at least {rank + 2} units, got {arm.n}")
    slope = inverse @ arm.cov[1:, 0]
    gap = target - arm.mean[1:]
    residual = max(arm.cov[0, 0] - slope @ arm.cov[1:, 0], 0.0) * (arm.n - 1) / df
    variance = residual * (1 / arm.n + gap @ inverse @ gap / (arm.n - 1))
    return _Arm(float(arm.mean[0] + gap @ slope), float(variance), slope, df)


def difference_in_means(
    control: Moments, treated: Moments, *, outcome: str, level: float = 0.95, estimand: str = "ATE"
) -> Estimate:
    """Treated minus control mean of column 0, adjusted for the other columns by a regression of its own in each arm.

    The covariates, measured before assignment, shift each arm's mean to the covariate means of both arms together:
    mu_a = ybar_a + (xbar - xbar_a)' b_a. The covariance of (mu_control, mu_treated) is that of a prediction in each
    arm at xbar, plus b' Sigma b / n, since xbar is itself estimated. Without covariates this is Welch's t test
    exactly; degrees of freedom are Welch-Satterthwaite's. Constant or collinear covariates are dropped by
    pseudo-inverse within the arm, and do not count in its degrees of freedom. Values are in the outcome's unit, counts
    are units.

    Source: Lin (2013), Agnostic notes on regression adjustments to experimental data, Ann. Appl. Stat. 7(1).

    Raises:
        ValueError: an arm with fewer than two units or fewer units than covariates, different columns in the arms,
            or no variance in either arm.
    """
    _check("control", control)
    _check("treated", treated)
    pooled = control.merge(treated)
    c = _adjusted("control", control, pooled.mean[1:])
    t = _adjusted("treated", treated, pooled.mean[1:])
    if c.variance + t.variance == 0:
        raise ValueError(f"{outcome}: zero variance in both arms, nothing can be tested")
    slopes = np.stack([c.slope, t.slope - c.slope])
    cov = np.array([[c.variance, -c.variance], [-c.variance, c.variance + t.variance]])
    shared = slopes @ pooled.cov[1:, 1:] @ slopes.T / pooled.n
    total = c.variance + t.variance + shared[1, 1]
    df = total**2 / (c.variance**2 / c.df + t.variance**2 / t.df + shared[1, 1] ** 2 / (pooled.n - 1))
    return estimate(
        outcome=outcome,
        estimand=estimand,
        method="difference in means" if pooled.mean.size == 1 else "difference in means, covariate-adjusted",
        value=t.mean - c.mean,
        control_mean=c.mean,
        cov=cov + shared,
        df=float(df),
        level=level,
        n_treated=treated.n,
        n_control=control.n,
    )
