"""The effect averaged over strata that were known before assignment."""

from collections.abc import Mapping

import numpy as np

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
