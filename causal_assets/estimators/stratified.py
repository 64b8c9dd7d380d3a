"""The effect averaged over strata that were known before assignment."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.cluster_robust import cell_means, require_clusters
from causal_assets.estimators.inference import estimate
from causal_assets.estimators.moments import Moments
from causal_assets.types import Estimate


def poststratified(
    strata: Mapping[str, tuple[Moments, Moments]], *, outcome: str, level: float = 0.95, estimand: str = "ATE"
) -> Estimate:
    """Differences in means of column 0 within strata, weighted by the strata's shares of all units.

    ``strata`` maps a stratum to the moments of its control and of its treated units. The same formula serves units
    assigned within strata at shares of their own and strata made afterwards. The variance is that of the strata's
    differences plus that of the shares themselves, since the population is one the units were drawn from; degrees of
    freedom are Satterthwaite's over all cells. Takes moments per stratum and arm, no rows.

    Source: Miratrix, Sekhon & Yu (2013), Adjusting treatment effect estimates by post-stratification, JRSS B 75(2).

    Raises:
        ValueError: no stratum, a stratum with fewer than two units in an arm, or no variance anywhere.
    """
    if not strata:
        raise ValueError("strata: expected at least one")
    if small := [f"{name} ({c.n} control, {t.n} treated)" for name, (c, t) in strata.items() if min(c.n, t.n) < 2]:
        raise ValueError(f"strata: each needs 2 units in each arm, merge {', '.join(small)} with another")
    n = np.array([[arm.n for arm in arms] for arms in strata.values()])
    mean = np.array([[arm.mean[0] for arm in arms] for arms in strata.values()])
    variance = np.array([[arm.cov[0, 0] for arm in arms] for arms in strata.values()]) / n
    share = n.sum(axis=1) / n.sum()
    pilot = mean[0, 0]  # effects do not depend on the origin; digits do
    centred = mean - pilot
    means = share @ centred
    cells = share[:, None] ** 2 * variance
    # The arms' means between strata, less what is sampling error within them, never below zero in any direction.
    spread = (centred - means).T * share @ (centred - means) - np.diag(share @ variance)
    values, axes = np.linalg.eigh(spread)
    arms = np.diag(cells.sum(axis=0)) + axes * values.clip(min=0.0) @ axes.T / n.sum()
    contrasts = np.array([[1.0, 0.0], [-1.0, 1.0]])
    return estimate(
        outcome=outcome,
        estimand=estimand,
        method="difference in means, post-stratified",
        value=float(means[1] - means[0]),
        control_mean=float(pilot + means[0]),
        cov=contrasts @ arms @ contrasts.T,
        df=float(cells.sum() ** 2 / (cells**2 / (n - 1)).sum()) if cells.any() else 1.0,
        level=level,
        n_treated=int(n[:, 1].sum()),
        n_control=int(n[:, 0].sum()),
    )


def poststratified_clustered(
    y: ArrayLike,
    d: ArrayLike,
    stratum: ArrayLike,
    cluster: ArrayLike,
    *,
    outcome: str,
    level: float = 0.95,
    estimand: str = "ATE",
) -> Estimate:
    """``poststratified`` where rows of a ``cluster`` (n,) hang together, assigned as a whole or not; counts clusters.

    ``y``, ``d``, ``stratum`` (n,) are rows; all it takes of them are counts and sums by cluster and cell. Errors of the
    cells' means are CR2 with Bell and McCaffrey's degrees of freedom; each cluster's part in the strata's shares is
    added. Memory clusters x (2 strata)^2.

    Raises:
        ValueError: as ``cluster_robust.cell_means``, another treatment than 0 or 1, a stratum without one of the arms,
            a cell of one cluster.
        Refusal: fewer than five clusters of an arm.
    """
    dose, (names, place) = np.asarray(d), np.unique(np.asarray(stratum), return_inverse=True)
    if dose.shape != place.shape or not np.isin(dose, (0, 1)).all():
        raise ValueError(f"d: expected a 0 or 1 for each of {place.size} rows, got {np.unique(dose).tolist()[:5]}")
    strata = names.size
    held = np.bincount(place + strata * dose.astype(np.intp), minlength=2 * strata).reshape(2, strata)
    if (held == 0).any():
        raise ValueError(
            f"stratum: {names[(held == 0).any(axis=0)].tolist()} hold only one arm; merge them with others"
        )
    cells = cell_means(y, place + strata * dose.astype(np.intp), cluster, 2 * strata)
    n_control, n_treated = (
        (cells.rows[:, part].sum(axis=1) > 0).sum() for part in (slice(strata), slice(strata, None))
    )
    require_clusters(int(n_treated), int(n_control))
    share = held.sum(axis=0) / held.sum()
    control, effect = np.concatenate([share, 0 * share]), np.concatenate([-share, share])
    both = np.stack([control, effect])
    point = both @ cells.mean
    levels = cells.mean.reshape(2, strata)
    apart = np.stack([levels[0] - point[0], levels[1] - levels[0] - point[1]], axis=1)  # of each stratum
    groups = len(cells.rows)
    by_stratum = cells.rows.reshape(groups, 2, strata).sum(axis=1)
    influence = cells.fit.influence @ both.T + by_stratum @ apart * (np.sqrt(groups / (groups - 1)) / held.sum())
    return estimate(
        outcome=outcome,
        estimand=estimand,
        method="difference in means, post-stratified, clustered (CR2)",
        value=float(point[1]),
        control_mean=float(point[0]),
        cov=influence.T @ influence,
        df=cells.fit.df(effect),
        level=level,
        n_treated=int(n_treated),
        n_control=int(n_control),
    )
