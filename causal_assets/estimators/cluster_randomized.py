"""The effect where whole clusters were assigned: stores, cities, households with their baskets."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.cluster_robust import cluster_fit, require_clusters
from causal_assets.estimators.inference import Floats, estimate
from causal_assets.types import Estimate


@dataclass(frozen=True, eq=False)
class Clusters:
    """Rows and outcome of the G clusters of one arm: ``size`` (G,) counts rows, ``total`` (G,) sums their outcomes.

    Raises:
        ValueError: arrays that differ in shape, a cluster without rows, or a total that is NaN or infinite.
    """

    size: Floats
    total: Floats

    def __post_init__(self) -> None:
        if self.size.ndim != 1 or self.size.shape != self.total.shape:
            raise ValueError(f"size, total: expected (G,) each, got {self.size.shape} and {self.total.shape}")
        if not (self.size > 0).all() or not np.isfinite(self.total).all():
            raise ValueError("size, total: every cluster needs rows and a finite total")

    @classmethod
    def arms(cls, y: ArrayLike, d: ArrayLike, cluster: ArrayLike) -> tuple[Self, Self]:
        """Clusters of the control and of the treated arm from rows: outcome, 0 or 1, cluster label, (n,) each.

        Raises:
            ValueError: lengths that differ, a NaN or infinite outcome, a treatment that is not 0 or 1, or a cluster in
                both arms.
        """
        outcomes, dose = np.asarray(y, dtype=np.float64), np.asarray(d, dtype=np.float64)
        codes = np.unique(np.asarray(cluster), return_inverse=True)[1]
        if not outcomes.shape == dose.shape == codes.shape:
            raise ValueError(f"y, d, cluster: shapes must agree, got {outcomes.shape}, {dose.shape}, {codes.shape}")
        if not np.isin(dose, (0, 1)).all() or not np.isfinite(outcomes).all():
            raise ValueError("y, d: expected finite outcomes and a treatment of 0 or 1")
        size, total = np.bincount(codes).astype(np.float64), np.bincount(codes, weights=outcomes)
        share = np.bincount(codes, weights=dose) / size
        if mixed := int(((share > 0) & (share < 1)).sum()):
            raise ValueError(f"cluster: {mixed} clusters are in both arms")
        return cls(size[share == 0], total[share == 0]), cls(size[share == 1], total[share == 1])


def difference_of_cluster_randomized(
    control: Clusters, treated: Clusters, *, outcome: str, level: float = 0.95, estimand: str = "ATE"
) -> Estimate:
    """Treated minus control mean per row, errors by cluster: the regression of rows on treatment, from cluster sums.

    CR2 variance with Bell and McCaffrey's degrees of freedom: O(G) memory, one pass to sum rows by cluster.
    ``n_treated`` and ``n_control`` count clusters. Where sizes go with the effect the estimand is that of rows; give
    every cluster size 1 and its mean as total for that of clusters.

    Source: Bell & McCaffrey (2002), Bias reduction in standard errors for linear regression with multi-stage samples,
    Survey Methodology 28(2); Pustejovsky & Tipton (2018), JBES 36(4).

    Raises:
        ValueError: fewer than 5 clusters in an arm, or no variance between clusters.
    """
    require_clusters(treated.size.size, control.size.size)
    both = Clusters(np.concatenate([control.size, treated.size]), np.concatenate([control.total, treated.total]))
    pilot = both.total.sum() / both.size.sum()  # the effect does not depend on the origin; digits do
    arms = np.repeat(np.eye(2), [control.size.size, treated.size.size], axis=0)
    moment = arms * (both.total - pilot * both.size)[:, None]
    fit = cluster_fit(arms[:, :, None] * np.eye(2) * both.size[:, None, None], moment)
    contrasts = np.array([[1.0, 0.0], [-1.0, 1.0]])
    return estimate(
        outcome=outcome,
        estimand=estimand,
        method="difference in means, clustered (CR2)",
        value=float(contrasts[1] @ fit.coef),
        control_mean=float(pilot + fit.coef[0]),
        cov=contrasts @ fit.cov @ contrasts.T,
        df=fit.df(contrasts[1]),
        level=level,
        n_treated=treated.size.size,
        n_control=control.size.size,
    )
