"""The effect on an outcome cut off at a cap: what a heavy tail leaves estimable, under a name of its own."""

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.joint import clustered_effects
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.types import Estimate


def pooled_cap(y: ArrayLike, quantile: float) -> float:
    """The smallest outcome that at least ``quantile`` of all units do not exceed; ``y`` (n,) holds both arms.

    Computed once, before the split: a cap per arm would cut away an effect on the tail. One sort or selection over all
    units, in the engine ``quantile_disc(y, q)``; not a function of moments.

    Raises:
        ValueError: a quantile outside (0, 1), no unit, or an outcome that is NaN or infinite.
    """
    outcomes = np.asarray(y, dtype=np.float64)
    if not 0.0 < quantile < 1.0:
        raise ValueError(f"quantile: expected a number strictly between 0 and 1, got {quantile}")
    if outcomes.ndim != 1 or outcomes.size == 0 or not np.isfinite(outcomes).all():
        raise ValueError(f"y: expected a row of finite outcomes, got shape {outcomes.shape}")
    return float(np.quantile(outcomes, quantile, method="inverted_cdf"))


def difference_in_capped_means(
    y: ArrayLike,
    d: ArrayLike,
    *,
    cap: float | None = None,
    quantile: float | None = None,
    covariates: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    outcome: str,
    level: float = 0.95,
    estimand: str = "ATE",
) -> Estimate:
    """Treated minus control mean of min(y, cap), adjusted for ``covariates`` (n, k) as in ``difference_in_means``.

    ``y`` (n,) outcomes, ``d`` (n,) is 0 or 1. The cap is a number of the protocol or the ``pooled_cap`` at a quantile
    of it. The estimand is the capped mean's, at the cap that is written in its name: the cap counts as given, also
    where it was read from the data, and effects above it are not seen. With a fixed cap this is a function of moments
    of least(y, cap): the engine then takes one pass and no row is needed here. With ``cluster`` (n,) labels errors are
    CR2 and counts clusters, as in ``joint.clustered_influence``.

    Raises:
        ValueError: not exactly one of cap and quantile, a cap that is not finite, lengths that differ, a NaN, a
            treatment that is not 0 or 1, and as ``difference_in_means`` or ``clustered_influence``.
    """
    outcomes, dose = np.asarray(y, dtype=np.float64), np.asarray(d)
    if (cap is None) == (quantile is None):
        raise ValueError(f"cap, quantile: expected exactly one of them, got {cap} and {quantile}")
    if outcomes.shape != dose.shape or not np.isin(dose, (0, 1)).all():
        raise ValueError(f"d: expected a 0 or 1 for each of {outcomes.size} outcomes, got shape {dose.shape}")
    if cap is None and quantile is not None:
        cap = pooled_cap(outcomes, quantile)
    if cap is None or not np.isfinite(cap):
        raise ValueError(f"cap: expected a finite number, got {cap}")
    x = np.empty((outcomes.size, 0)) if covariates is None else np.asarray(covariates, dtype=np.float64)
    if x.ndim != 2 or len(x) != outcomes.size or not np.isfinite(outcomes).all():
        raise ValueError(f"covariates, y: expected ({outcomes.size}, k) and finite outcomes, got {x.shape}")
    capped, estimand = np.minimum(outcomes, cap), f"{estimand} on the mean capped at {cap:g}"
    if cluster is not None:
        return clustered_effects(capped, dose, cluster, x).combine(
            [1.0], outcome=outcome, estimand=estimand, method="difference in means, clustered (CR2)", level=level
        )
    control, treated = (Moments.of(np.column_stack([capped, x])[dose == arm]) for arm in (0, 1))
    return difference_in_means(control, treated, outcome=outcome, level=level, estimand=estimand)
