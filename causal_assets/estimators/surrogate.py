"""The long-term effect of a short experiment, by way of the short-term outcomes that foretell the long term."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.inference import Floats, clustered_covariance
from causal_assets.estimators.joint import JointEffects, Part, joint_effects
from causal_assets.estimators.moments import COLLINEAR, Moments
from causal_assets.types import Estimate

# A unit farther out than 99 of 100 historical units is where the index extrapolates.
SUPPORT = 0.99


@dataclass(frozen=True, eq=False)
class SurrogateIndex:
    """Expected long-term outcome given k short-term columns: ``level + (columns - centre) @ slope``.

    ``cov`` (1 + k, 1 + k) is the robust covariance of (level, slope), ``df`` its degrees of freedom, ``explained`` the
    share of the long-term variance that the columns explain.
    """

    level: float
    slope: Floats
    centre: Floats
    cov: Floats
    df: float
    explained: float


def fit_index(long_term: ArrayLike, columns: ArrayLike, *, cluster: ArrayLike | None = None) -> SurrogateIndex:
    """Least squares of ``long_term`` (n,) on ``columns`` (n, k) of the history: surrogates first, then covariates.

    Errors are robust to heteroskedasticity and to a wrong linear form, or clustered. As grouped sums: one pass for the
    moments, a second for the k^2 sums of squared residuals.

    Source: Athey, Chetty, Imbens & Kang (2019), The surrogate index, NBER w26463, eq. (3) and sec. 4.

    Raises:
        ValueError: lengths that differ, NaN or infinite entries, a constant long-term outcome, columns that are
            constant or collinear, or too few rows.
    """
    y, z = np.asarray(long_term, dtype=np.float64), np.asarray(columns, dtype=np.float64)
    z = z[:, None] if z.ndim == 1 else z
    if y.ndim != 1 or len(y) != len(z):
        raise ValueError(f"long_term, columns: expected shapes (n,) and (n, k), got {y.shape} and {z.shape}")
    both = Moments.of(np.column_stack([y, z]))  # refuses NaN and infinite entries
    n, k = z.shape
    if n < k + 3:
        raise ValueError(f"columns: {k} columns need at least {k + 3} rows, got {n}")
    if both.cov[0, 0] == 0:
        raise ValueError("long_term: the outcome is constant, so no index can be learned")
    scale = np.sqrt(np.diag(both.cov)[1:])
    if not (scale > 0).all():
        raise ValueError(f"columns: {np.flatnonzero(scale == 0).tolist()} are constant")
    correlation = both.cov[1:, 1:] / np.outer(scale, scale)
    if np.linalg.eigvalsh(correlation)[0] < COLLINEAR:
        raise ValueError("columns: collinear columns; drop those that are sums or copies of others")
    slope = np.linalg.solve(correlation, both.cov[1:, 0] / scale) / scale
    centred = z - both.mean[1:]
    residual = y - both.mean[0] - centred @ slope
    inverse = np.linalg.inv(correlation) / np.outer(scale, scale) * n / (n - 1)
    influence = np.column_stack([residual, residual[:, None] * (centred @ inverse)])
    units = np.arange(n) if cluster is None else np.asarray(cluster)
    if units.shape != y.shape:
        raise ValueError(f"cluster: expected shape {y.shape}, got {units.shape}")
    groups = n if cluster is None else np.unique(units).size
    if groups < k + 3:
        raise ValueError(f"cluster: {k} columns need at least {k + 3} clusters, got {groups}")
    cov = clustered_covariance(influence, units) * (n - 1) / (n - k - 1)
    explained = 1 - float(residual @ residual) / (both.cov[0, 0] * (n - 1))
    return SurrogateIndex(float(both.mean[0]), slope, both.mean[1:], cov, float(min(groups - 1, n - k - 1)), explained)


def short_term_effects(control: Moments, treated: Moments, *, surrogates: int) -> JointEffects:
    """Effects on all columns of the experiment's arms: ``surrogates`` outcomes, adjusted for the covariates after them.

    Covariates stay in, with effect 0, because the index needs their means. Where rows hang together in clusters, the
    same effects are those of ``joint.clustered_effects``, all columns being its ``y``.

    Raises:
        ValueError: as ``joint_effects``.
    """
    k = control.mean.size
    columns = [*range(k), *range(surrogates, k)]
    return joint_effects(control.select(columns), treated.select(columns), outcomes=k)


def _first_stage(index: SurrogateIndex, control: Floats, value: Floats, sign: float) -> Part:
    """What not knowing the index adds to the covariance of (control mean, effect)."""
    rows = sign * np.array([[1.0, *(control - index.centre)], [0.0, *value]])
    return rows @ index.cov @ rows.T, index.df


def surrogate_effect(index: SurrogateIndex, effects: JointEffects, *, outcome: str, level: float = 0.95) -> Estimate:
    """Effect on the long-term outcome as the index foretells it: ``slope`` times the effects on the k columns.

    ``effects`` are those on the index's columns, in its order, in an experiment that shares no unit with the history.
    The error is that of the experiment plus that of the index: b' V_effects b + effects' V_b effects.

    It is the long-term ATE if (1) treatment was randomised, (2) *surrogacy*: it works on the long term only through
    these columns, and (3) *comparability*: given the columns, the long term follows as it did in history. The data
    cannot show (2) and (3) before the long term is in; ``back_test`` does afterwards.

    Source: Athey, Chetty, Imbens & Kang (2019), The surrogate index, NBER w26463, sec. 3-4.

    Raises:
        ValueError: effects on another number of columns, or an effect without variance.
    """
    if effects.value.shape != index.slope.shape:
        raise ValueError(f"effects: the index has {index.slope.size} columns, got {effects.value.size}")
    return effects.combine(
        index.slope,
        outcome=outcome,
        estimand="ATE through surrogates",
        method="surrogate index",
        level=level,
        offset=index.level - float(index.slope @ index.centre),
        more=(_first_stage(index, effects.control, effects.value, 1.0),),
    )


def back_test(index: SurrogateIndex, effects: JointEffects, *, outcome: str, level: float = 0.95) -> Estimate:
    """The part of the long-term effect that the index missed, where the experiment's long term is known by now.

    ``effects`` are on (long-term outcome, the index's columns): the effect on the outcome minus the index. Zero is what
    surrogacy and comparability promise; an interval without 0 refutes them for this treatment.

    Source: Athey, Chetty, Imbens & Kang (2019), NBER w26463, sec. 5 (validation where the long term is observed).

    Raises:
        ValueError: effects on another number of columns, or an effect without variance.
    """
    if effects.value.size != index.slope.size + 1:
        raise ValueError(
            f"effects: expected the outcome and {index.slope.size} columns, got {effects.value.size} columns"
        )
    return effects.combine(
        [1.0, *-index.slope],
        outcome=outcome,
        estimand="effect the surrogates miss",
        method="outcome minus surrogate index",
        level=level,
        offset=float(index.slope @ index.centre) - index.level,
        more=(_first_stage(index, effects.control[1:], effects.value[1:], -1.0),),
    )


def outside_support(history: ArrayLike, experiment: ArrayLike) -> int:
    """How many rows of ``experiment`` (m, k) lie farther from the history's centre than 99% of ``history`` (n, k).

    Distance is Mahalanobis's under the history's covariance; of units like the historical ones 1% lie outside.

    Raises:
        ValueError: different columns, or NaN or infinite entries.
    """
    past, now = Moments.of(history), np.asarray(experiment, dtype=np.float64)
    now = now[:, None] if now.ndim == 1 else now
    if now.shape[1] != past.mean.size:
        raise ValueError(f"experiment: expected {past.mean.size} columns, got {now.shape[1]}")
    if not np.isfinite(now).all():
        raise ValueError("experiment: entries may not be NaN or infinite")
    rows = np.asarray(history, dtype=np.float64).reshape(past.n, -1)
    root = np.linalg.pinv(past.cov, hermitian=True)
    distances = [np.einsum("ij,jk,ik->i", z - past.mean, root, z - past.mean) for z in (rows, now)]
    return int((distances[1] > np.quantile(distances[0], SUPPORT)).sum())
