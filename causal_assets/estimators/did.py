"""Difference-in-differences of two groups and two periods."""

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.cluster_robust import kinds_fit, require_clusters
from causal_assets.estimators.crossfit import grouped, validated
from causal_assets.estimators.inference import Floats, clustered_covariance, estimate
from causal_assets.estimators.moments import Moments
from causal_assets.types import Estimate


def two_by_two(
    pre: ArrayLike,
    post: ArrayLike,
    d: ArrayLike,
    unit: ArrayLike,
    *,
    cluster: ArrayLike | None = None,
    outcome: str,
    level: float = 0.95,
) -> Estimate:
    """Mean change of the treated minus mean change of the controls: the ATT where both would have moved alike.

    ``pre`` and ``post`` (n,) are the outcome over windows of the same length, ``d`` (n,) is 0 or 1, ``unit`` (n,)
    labels, ``cluster`` (n,) groups of whole units that may hold both arms; errors by unit or cluster. ``control_mean``
    is the treated units' mean had they moved like the controls.

    Source: Angrist & Pischke (2009), Mostly Harmless Econometrics, sec. 5.2.

    Raises:
        ValueError: lengths that differ, a NaN or infinite entry, a treatment that is not 0 or 1, an empty arm, or a
            unit in both arms.
        Refusal: fewer than five units, or clusters, of an arm.
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
    arm, _, code = validated(dose, after, unit)
    group = grouped(code, cluster, arm)
    n_treated, n_control = (np.unique(code[one]).size for one in (arm, ~arm))
    return estimate(
        outcome=outcome,
        estimand="ATT",
        method="2x2 difference-in-differences",
        value=float(value),
        control_mean=float(counterfactual),
        cov=clustered_covariance(influence, group),
        df=int(group.max()),
        level=level,
        n_treated=n_treated,
        n_control=n_control,
    )


def two_by_two_moments(control: Moments, treated: Moments, *, outcome: str, level: float = 0.95) -> Estimate:
    """``two_by_two`` from each arm's moments over units of the columns (before, change).

    Each arm's own variance over its size (HC2), Welch and Satterthwaite's degrees of freedom. One pass over the units.

    Raises:
        ValueError: other than two columns, an arm of one unit, or no variance of the change.
    """
    for name, arm in (("control", control), ("treated", treated)):
        if arm.mean.size != 2:
            raise ValueError(f"{name}: expected the columns before and change, got {arm.mean.size}")
        if arm.n < 2:
            raise ValueError(f"{name}: a variance needs at least 2 units, got {arm.n}")
    trend, own = control.cov[1, 1] / control.n, treated.cov / treated.n
    shared = own[0, 1] - trend
    total = own[1, 1] + trend
    if not total > 0:
        raise ValueError(f"{outcome}: the change has no variance in either arm, nothing can be tested")
    return estimate(
        outcome=outcome,
        estimand="ATT",
        method="2x2 difference-in-differences",
        value=float(treated.mean[1] - control.mean[1]),
        control_mean=float(treated.mean[0] + control.mean[1]),
        cov=np.array([[own[0, 0] + trend, shared], [shared, total]]),
        df=float(total**2 / (own[1, 1] ** 2 / (treated.n - 1) + trend**2 / (control.n - 1))),
        level=level,
        n_treated=treated.n,
        n_control=control.n,
    )


def two_by_two_clustered(
    y: ArrayLike, d: ArrayLike, post: ArrayLike, cluster: ArrayLike, *, outcome: str, level: float = 0.95
) -> Estimate:
    """The 2x2 estimate of rows by cluster: least squares of ``y`` on ``d``, ``post`` and their product, CR2 errors.

    ``y``, ``d``, ``post``, ``cluster`` (n,): a row may be a unit in one period or a fresh respondent (repeated cross
    sections), and units seen once count. Few clusters are what this is for; counts are clusters. All it takes of the
    rows are counts and sums by cluster and cell: ``two_by_two_kinds`` takes those from an engine.

    Raises:
        ValueError: lengths that differ, a NaN or infinite entry, ``d`` or ``post`` not 0 and 1, an empty cell, or fewer
            than five treated or control clusters.
    """
    response, dose, after = (np.asarray(a, dtype=np.float64) for a in (y, d, post))
    labels = np.asarray(cluster)
    if not response.shape == dose.shape == after.shape == labels.shape:
        raise ValueError(f"y, d, post, cluster: shapes must agree, got {response.shape}, {dose.shape}, {after.shape}")
    if not np.isfinite(response).all():
        raise ValueError("y: outcomes may not be NaN or infinite")
    for name, column in (("d", dose), ("post", after)):
        if set(np.unique(column)) != {0.0, 1.0}:
            raise ValueError(f"{name}: expected both 0 and 1 and nothing else, got {np.unique(column).tolist()[:5]}")
    pilot = response.mean()  # centring keeps the digits of y + 1e9
    code = np.unique(labels, return_inverse=True)[1]
    place, groups = 4 * code + (2 * dose + after).astype(np.intp), int(code.max()) + 1
    rows = np.bincount(place, minlength=4 * groups).reshape(groups, 4).astype(np.float64)
    total = np.bincount(place, weights=response - pilot, minlength=4 * groups).astype(np.float64).reshape(groups, 4)
    return two_by_two_kinds(rows, np.ones(groups), total, outcome=outcome, pilot=float(pilot), level=level)


def two_by_two_kinds(
    rows: Floats,
    size: Floats,
    total: Floats,
    spread: Floats | None = None,
    *,
    outcome: str,
    pilot: float,
    level: float = 0.95,
) -> Estimate:
    """``two_by_two_clustered`` from kinds of clusters: ``size`` (K,) of them have ``rows`` (K, 4) rows in each cell.

    Cells are untreated before and after, treated before and after. ``total`` (K, 4) is the mean over a kind's clusters
    of the sums of their outcomes less ``pilot``, ``spread`` (K, 4, 4) the summed products of deviations from it. A
    balanced panel of units has two kinds, however many units.

    Raises:
        ValueError: an empty cell.
        Refusal: fewer than five treated or control clusters.
    """
    if (size @ rows == 0).any():
        raise ValueError("d, post: one of the four cells is empty; there is no such group before or after")
    treated, control = (int(size @ (rows[:, arm].sum(axis=1) > 0)) for arm in (slice(2, 4), slice(2)))
    require_clusters(treated, control)
    return kinds_fit(rows[:, :, None] * np.eye(4), total, size, spread).estimate(
        [1, -1, -1, 1],
        [-1, 1, 1, 0],
        outcome=outcome,
        estimand="ATT",
        method="2x2 difference-in-differences",
        n_treated=treated,
        n_control=control,
        level=level,
        control_offset=pilot,
    )
