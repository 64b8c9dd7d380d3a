"""Difference-in-differences of two groups and two periods."""

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.inference import clustered_covariance, estimate
from causal_assets.types import Estimate


def two_by_two(
    pre: ArrayLike, post: ArrayLike, d: ArrayLike, unit: ArrayLike, *, outcome: str, level: float = 0.95
) -> Estimate:
    """Mean change of the treated minus mean change of the controls: the ATT where both would have moved alike.

    ``pre`` and ``post`` (n,) are the outcome over windows of the same length, ``d`` (n,) is 0 or 1, ``unit`` (n,)
    labels; errors by unit. ``control_mean`` is the treated units' mean had they moved like the controls.

    Source: Angrist & Pischke (2009), Mostly Harmless Econometrics, sec. 5.2.

    Raises:
        ValueError: lengths that differ, a NaN or infinite entry, a treatment that is not 0 or 1, or an empty arm.
    """
    before, after, dose = (np.asarray(a, dtype=np.float64) for a in (pre, post, d))
    if not before.shape == after.shape == dose.shape == np.shape(unit):
        raise ValueError(f"pre, post, d, unit: shapes must agree, got {before.shape}, {after.shape}, {dose.shape}")
    if not np.isfinite(before).all() or not np.isfinite(after).all():
        raise ValueError("pre, post: outcomes may not be NaN or infinite")
    if set(np.unique(dose)) != {0.0, 1.0}:
        raise ValueError(f"d: expected both 0 and 1 and nothing else, got {np.unique(dose).tolist()[:5]}")
    share = dose.mean()
    treated, control = dose / share, (1 - dose) / (1 - share)  # weights that average to 1 in each arm
    change = after - before
    value = (treated * change).mean() - (control * change).mean()
    counterfactual = (treated * before).mean() + (control * change).mean()
    trend = control * (change - (control * change).mean())
    influence = np.stack(
        [
            treated * (before - (treated * before).mean()) + trend,
            treated * (change - (treated * change).mean()) - trend,
        ],
        axis=1,
    )
    labels = np.asarray(unit)
    n_treated, n_control = (np.unique(labels[dose == arm]).size for arm in (1, 0))
    return estimate(
        outcome=outcome,
        estimand="ATT",
        method="2x2 difference-in-differences",
        value=float(value),
        control_mean=float(counterfactual),
        cov=clustered_covariance(influence, labels),
        df=n_treated + n_control - 1,
        level=level,
        n_treated=n_treated,
        n_control=n_control,
    )
