"""The effect in a randomised experiment, adjusted for what was measured before it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.inference import Floats, estimate
from causal_assets.estimators.joint import clustered_effects
from causal_assets.estimators.moments import Moments, pseudo_inverse
from causal_assets.types import Estimate

# A unit whose leverage is this close to 1 leaves no residual to judge it by.
DETERMINED = 1e-8


@dataclass(frozen=True, eq=False)
class Adjusted:
    """Control mean and effect with their (2, 2) covariance ``cov``, and Welch-Satterthwaite's degrees of freedom."""

    control_mean: float
    value: float
    cov: Floats
    df: float


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


def adjusted_means(control: Moments, treated: Moments, *, outcome: str) -> Adjusted:
    """What ``difference_in_means`` says, as numbers for estimators built on it; the same arguments and errors."""
    _check("control", control)
    _check("treated", treated)
    pooled = control.merge(treated)
    c = _adjusted("control", control, pooled.mean[1:])
    t = _adjusted("treated", treated, pooled.mean[1:])
    if c.variance + t.variance == 0:
        raise ValueError(f"{outcome}: zero variance in both arms, nothing can be tested")
    return _compared(c, t, pooled)


def _compared(c: _Arm, t: _Arm, pooled: Moments) -> Adjusted:
    """Both arms together; their covariate means are estimated as well, from all units."""
    slopes = np.stack([c.slope, t.slope - c.slope])
    cov = np.array([[c.variance, -c.variance], [-c.variance, c.variance + t.variance]])
    shared = slopes @ pooled.cov[1:, 1:] @ slopes.T / pooled.n
    total = c.variance + t.variance + shared[1, 1]
    df = total**2 / (c.variance**2 / c.df + t.variance**2 / t.df + shared[1, 1] ** 2 / (pooled.n - 1))
    return Adjusted(c.mean, t.mean - c.mean, cov + shared, float(df))


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
    found = adjusted_means(control, treated, outcome=outcome)
    return estimate(
        outcome=outcome,
        estimand=estimand,
        method="difference in means" if control.mean.size == 1 else "difference in means, covariate-adjusted",
        value=found.value,
        control_mean=found.control_mean,
        cov=found.cov,
        df=found.df,
        level=level,
        n_treated=treated.n,
        n_control=control.n,
    )


def _hc2(name: str, y: Floats, x: Floats, target: Floats) -> _Arm:
    """As ``_adjusted`` from the arm's rows, its variance by HC2: each squared residual over 1 minus its leverage."""
    moments = Moments.of(np.column_stack([y, x]))
    _check(name, moments)
    homoskedastic = _adjusted(name, moments, target)
    centred = x - moments.mean[1:]
    inverse, _ = pseudo_inverse(moments.cov[1:, 1:])
    scores = centred @ inverse / (moments.n - 1)
    left = 1 - 1 / moments.n - (scores * centred).sum(axis=1)
    if (left < DETERMINED).any():
        raise ValueError(f"{name} arm: a unit alone determines a covariate's slope; merge or drop the covariate")
    residual = y - moments.mean[0] - centred @ homoskedastic.slope
    weight = 1 / moments.n + scores @ (target - moments.mean[1:])
    return replace(homoskedastic, variance=float((weight**2 * residual**2 / left).sum()))


def regression_adjusted(
    y: ArrayLike,
    d: ArrayLike,
    x: ArrayLike,
    *,
    cluster: ArrayLike | None = None,
    outcome: str,
    level: float = 0.95,
    estimand: str = "ATE",
) -> Estimate:
    """``difference_in_means`` with HC2 errors within the arms: for few units whose noise depends on the covariates.

    ``y`` (n,) outcomes, ``d`` (n,) is 0 or 1, ``x`` (n, k) covariates of before assignment, one row per unit. The
    effect is the same; leverages need the rows: not a function of moments. With many units both errors agree. Where
    rows of a ``cluster`` (n,) hang together, be it assigned as a whole or not, errors are CR2 and counts clusters.

    Source: Lin (2013), Ann. Appl. Stat. 7(1); MacKinnon & White (1985), J. Econometrics 29(3).

    Raises:
        ValueError: lengths that differ, a NaN or infinite entry, a treatment that is not 0 or 1, a unit that alone
            determines a slope, and as ``difference_in_means``; with clusters as ``joint.clustered_influence``.
    """
    if cluster is not None:
        method = "difference in means, covariate-adjusted (CR2)"
        return clustered_effects(y, d, cluster, x).combine(
            [1.0], outcome=outcome, estimand=estimand, method=method, level=level
        )
    outcomes, dose, covariates = np.asarray(y, np.float64), np.asarray(d), np.asarray(x, np.float64)
    if covariates.ndim != 2 or not len(covariates) == outcomes.size == dose.size:
        raise ValueError(f"y, d, x: lengths must agree, got {outcomes.shape}, {dose.shape}, {covariates.shape}")
    if not np.isin(dose, (0, 1)).all() or np.unique(dose).size < 2:
        raise ValueError(f"d: expected both 0 and 1 and nothing else, got {np.unique(dose).tolist()[:5]}")
    pooled = Moments.of(np.column_stack([outcomes, covariates]))
    c, t = (
        _hc2(name, outcomes[dose == arm], covariates[dose == arm], pooled.mean[1:])
        for arm, name in enumerate(("control", "treated"))
    )
    if c.variance + t.variance == 0:
        raise ValueError(f"{outcome}: zero variance in both arms, nothing can be tested")
    found = _compared(c, t, pooled)
    return estimate(
        outcome=outcome,
        estimand=estimand,
        method="difference in means, covariate-adjusted (HC2)",
        value=found.value,
        control_mean=found.control_mean,
        cov=found.cov,
        df=found.df,
        level=level,
        n_treated=int((dose == 1).sum()),
        n_control=int((dose == 0).sum()),
    )
