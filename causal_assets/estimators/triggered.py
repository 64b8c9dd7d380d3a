"""The effect on all units where only some could have met the change."""

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.inference import Floats, Refusal, fieller
from causal_assets.estimators.joint import clustered_influence
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import adjusted_means
from causal_assets.types import Estimate


def diluted(
    control: Moments,
    treated: Moments,
    *,
    all_control: Moments,
    n_all_treated: int,
    outcome: str,
    level: float = 0.95,
    estimand: str = "ITT",
) -> Estimate:
    """Effect on triggered units times the share that triggers: what launching does to the average of all units.

    ``control`` and ``treated`` are moments of the units that met the change or, in the control arm, would have met it,
    as logged in both arms alike; columns beyond 0 are covariates. ``all_control`` are moments (column 0) of all
    control units, ``n_all_treated`` counts all treated ones. Others are taken to be unaffected, which is what makes
    this more precise than comparing all units. ``difference_in_means`` of the first two is the effect on the triggered.

    The share's own error enters at the effect that is tested (a Fieller interval), so the p-value is that of the
    effect on the triggered, and the relative interval, against the mean of all controls, is Fieller's as well.

    Source: Deng & Hu (2015), Diluted treatment effect estimation for trigger analysis, WSDM.

    Raises:
        ValueError: more triggered units than units, too few triggered ones to know their share, and as
            ``difference_in_means``.
    """
    if control.n > all_control.n or treated.n > n_all_treated:
        raise ValueError(
            f"triggered: at most all units, got {control.n} of {all_control.n} controls and {treated.n} of "
            f"{n_all_treated} treated"
        )
    found = adjusted_means(control, treated, outcome=outcome)
    units = all_control.n + n_all_treated
    share = (control.n + treated.n) / units
    share_variance = share * (1 - share) / units
    mean, others = float(all_control.mean[0]), all_control.n - control.n
    gap = all_control.n / others * (control.mean[0] - mean) if others else 0.0  # triggered minus other controls
    beside = gap * share_variance
    shared = -share * found.cov[0, 0]  # the triggered controls are part of all controls
    cov = np.array(
        [
            [all_control.cov[0, 0] / all_control.n, beside, shared],
            [beside, share_variance, 0.0],
            [shared, 0.0, found.cov[1, 1]],
        ]
    )
    return _diluted(
        (mean, share, found.value), cov, found.df, units=units, counts=(n_all_treated, all_control.n),
        outcome=outcome, estimand=estimand, level=level,
    )  # fmt: skip


def diluted_clustered(
    y: ArrayLike,
    d: ArrayLike,
    triggered: ArrayLike,
    cluster: ArrayLike,
    x: ArrayLike | None = None,
    *,
    outcome: str,
    level: float = 0.95,
    estimand: str = "ITT",
) -> Estimate:
    """``diluted`` where rows of a ``cluster`` (n,) hang together: from rows, errors by cluster, counts of clusters.

    ``y``, ``d``, ``triggered`` (n,) hold all units, ``x`` (n, k) covariates. The effect on the triggered is that of
    ``joint.clustered_influence``; each cluster's part in it, in the share that triggers and in the controls' mean are
    added up, so that no two of them need be independent.

    Raises:
        ValueError: as ``joint.clustered_influence``, or a triggered that is not 0 or 1.
        Refusal: too few triggered to know their share, fewer than five clusters of an arm with triggered units.
    """
    rows, dose, met = np.asarray(y, dtype=np.float64), np.asarray(d), np.asarray(triggered)
    labels, code = np.unique(np.asarray(cluster), return_inverse=True)
    columns = np.empty((rows.size, 0)) if x is None else np.asarray(x, dtype=np.float64)
    if not rows.shape == dose.shape == met.shape == code.shape or not np.isin(met, (0, 1)).all():
        raise ValueError(f"triggered: expected a 0 or 1 for each of {rows.size} rows, got shape {met.shape}")
    if len(columns) != rows.size:
        raise ValueError(f"x: expected {rows.size} rows, got shape {columns.shape}")
    if not np.isfinite(rows).all():
        raise ValueError(f"y: {int((~np.isfinite(rows)).sum())} entries are NaN or infinite")
    inside = met.astype(bool)
    found = clustered_influence(rows[inside], dose[inside], code[inside], columns[inside])
    control, share = dose == 0, float(inside.mean())
    mean, groups = float(rows[control].mean()), labels.size
    influence = np.zeros((groups, 3))
    influence[:, 0] = np.bincount(code, weights=np.where(control, rows - mean, 0.0)) / control.sum()
    influence[:, 1] = np.bincount(code, weights=inside - share) / rows.size
    influence *= np.sqrt(groups / (groups - 1))
    influence[np.unique(code[inside]), 2] = found.influence[:, 1]
    counts = np.unique(code[~control]).size, np.unique(code[control]).size
    return _diluted(
        (mean, share, float(found.value[0])), influence.T @ influence, found.df, units=rows.size, counts=counts,
        outcome=outcome, estimand=estimand, level=level,
    )  # fmt: skip


def _diluted(
    point: tuple[float, float, float],
    cov: Floats,
    df: float,
    *,
    units: int,
    counts: tuple[int, int],
    outcome: str,
    estimand: str,
    level: float,
) -> Estimate:
    """From the mean of all controls, the share that triggers and the effect on them, with their covariance (3, 3)."""
    from scipy.stats import t

    if not 0.0 < level < 1.0:
        raise ValueError(f"{outcome}: level must lie strictly between 0 and 1, got {level}")
    mean, share, effect = point
    critical = float(t.ppf((1 + level) / 2, df))
    if critical**2 * cov[1, 1] >= share**2:
        raise Refusal(f"triggered: {round(share * units)} of {units} units are too few to know their share")
    if not cov[2, 2] > 0:
        raise ValueError(f"{outcome}: the effect needs a positive variance, got {cov[2, 2]}; is the outcome constant?")
    value, scaled = share * effect, np.array([0.0, 0.0, share])
    # The effect on the triggered is tested against a multiple of 1 / share, and of mean / share; all times the share.
    against_one, against_mean = np.array([0.0, -1 / share, 0.0]), np.array([1.0, -mean / share, 0.0])
    (low, high), (relative_low, relative_high) = (
        fieller(value, level_of, (rows := np.stack([against, scaled])) @ cov @ rows.T, critical)
        for level_of, against in ((1.0, against_one), (mean, against_mean))
    )
    slope = np.array([0.0, effect, share])
    n_treated, n_control = counts
    return Estimate(
        outcome=outcome,
        estimand=estimand,
        method="triggered difference in means, diluted",
        value=value,
        std_error=sqrt(slope @ cov @ slope),
        low=low,
        high=high,
        p_value=float(2 * t.sf(abs(effect) / sqrt(cov[2, 2]), df)),
        level=level,
        n_treated=n_treated,
        n_control=n_control,
        control_mean=mean,
        relative=value / mean if mean else None,
        relative_low=relative_low,
        relative_high=relative_high,
    )
