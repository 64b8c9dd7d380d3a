"""The effect on all units where only some could have met the change."""

from math import sqrt

import numpy as np

from causal_assets.estimators.inference import fieller
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
    from scipy.stats import t

    if not 0.0 < level < 1.0:
        raise ValueError(f"{outcome}: level must lie strictly between 0 and 1, got {level}")
    if control.n > all_control.n or treated.n > n_all_treated:
        raise ValueError(
            f"triggered: at most all units, got {control.n} of {all_control.n} controls and {treated.n} of "
            f"{n_all_treated} treated"
        )
    found = adjusted_means(control, treated, outcome=outcome)
    units = all_control.n + n_all_treated
    share = (control.n + treated.n) / units
    share_variance = share * (1 - share) / units
    critical = float(t.ppf((1 + level) / 2, found.df))
    if critical**2 * share_variance >= share**2:
        raise ValueError(f"triggered: {control.n + treated.n} of {units} units are too few to know their share")
    value, variance = share * found.value, share**2 * found.cov[1, 1]
    mean = float(all_control.mean[0])
    low, high = fieller(value, 1.0, np.array([[share_variance / share**2, 0.0], [0.0, variance]]), critical)
    others = all_control.n - control.n
    gap = all_control.n / others * (control.mean[0] - mean) if others else 0.0  # triggered minus other controls
    mean_variance = all_control.cov[0, 0] / all_control.n
    through_share = mean / share * (mean / share - 2 * gap) * share_variance
    shared = -(share**2) * found.cov[0, 0]  # the triggered controls are part of all controls
    cov = np.array([[mean_variance + through_share, shared], [shared, variance]])
    relative_low, relative_high = fieller(value, mean, cov, critical)
    return Estimate(
        outcome=outcome,
        estimand=estimand,
        method="triggered difference in means, diluted",
        value=value,
        std_error=sqrt(variance + found.value**2 * share_variance),
        low=low,
        high=high,
        p_value=float(2 * t.sf(abs(found.value) / sqrt(found.cov[1, 1]), found.df)),
        level=level,
        n_treated=n_all_treated,
        n_control=all_control.n,
        control_mean=mean,
        relative=value / mean if mean else None,
        relative_low=relative_low,
        relative_high=relative_high,
    )
