"""Effects of one treatment on several outcomes of the same units, and the test of any combination of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.cluster_robust import cluster_fit, cluster_products, require_clusters
from causal_assets.estimators.inference import Floats, estimate
from causal_assets.estimators.moments import Moments, pseudo_inverse
from causal_assets.types import Estimate

# Below this many clusters in an arm an error from clusters is itself little more than noise.
FEWEST_CLUSTERS = 5

Part = tuple[Floats, float]  # a covariance and its degrees of freedom


def satterthwaite(variances: Sequence[float], dfs: Sequence[float]) -> float:
    """Degrees of freedom of a sum of independent variance estimates (Satterthwaite 1946)."""
    total = sum(variances)
    return total**2 / sum(v**2 / df for v, df in zip(variances, dfs, strict=True)) if total > 0 else min(dfs)


def t_estimate(
    *,
    outcome: str,
    estimand: str,
    method: str,
    value: float,
    variance: float,
    df: float,
    level: float,
    n_treated: int,
    n_control: int,
) -> Estimate:
    """The Estimate of a number that has no control level (a trend, a pooled effect), by one t test.

    Raises:
        ValueError: a level outside (0, 1), or a variance that is not a positive number.
    """
    from scipy.stats import t

    if not 0.0 < level < 1.0:
        raise ValueError(f"{outcome}: level must lie strictly between 0 and 1, got {level}")
    if not variance > 0:
        raise ValueError(f"{outcome}: the effect needs a positive variance, got {variance}")
    std_error = sqrt(variance)
    half_width = float(t.ppf((1 + level) / 2, df)) * std_error
    return Estimate(
        outcome=outcome,
        estimand=estimand,
        method=method,
        value=float(value),
        std_error=std_error,
        low=float(value) - half_width,
        high=float(value) + half_width,
        p_value=float(2 * t.sf(abs(value) / std_error, df)),
        level=level,
        n_treated=n_treated,
        n_control=n_control,
        control_mean=None,
    )


@dataclass(frozen=True, eq=False)
class JointEffects:
    """Control means and effects (k,) of k outcomes; ``parts`` are independent sources of their error.

    Each part is the covariance (2k, 2k) of (control, value) that one source gives, and its degrees of freedom.
    """

    control: Floats
    value: Floats
    parts: tuple[Part, ...]
    n_treated: int
    n_control: int

    @classmethod
    def of_arms(cls, control: Part, treated: Part, means: Floats, n_control: int, n_treated: int) -> Self:
        """From the means (2, k) of two independent arms and the covariance (k, k) of each."""
        zero = np.zeros_like(control[0])
        parts = (
            (np.block([[control[0], -control[0]], [-control[0], control[0]]]), control[1]),
            (np.block([[zero, zero], [zero, treated[0]]]), treated[1]),
        )
        return cls(means[0], means[1] - means[0], parts, n_treated, n_control)

    @property
    def cov(self) -> Floats:
        """Covariance (k, k) of the effects."""
        k = self.value.size
        return np.sum([cov for cov, _ in self.parts], axis=0)[k:, k:]

    def combine(
        self,
        weight: ArrayLike,
        *,
        outcome: str,
        estimand: str,
        method: str,
        level: float,
        offset: float = 0.0,
        more: tuple[Part, ...] = (),
    ) -> Estimate:
        """Effect on the sum of the outcomes times ``weight`` (k,), plus ``offset`` in the control mean.

        ``more`` are further sources of error: covariances (2, 2) of (control mean, effect) with degrees of freedom.

        Raises:
            ValueError: weights of another length, or an effect without variance.
        """
        w = np.asarray(weight, dtype=np.float64)
        if w.shape != self.value.shape:
            raise ValueError(f"weight: expected shape {self.value.shape}, got {w.shape}")
        rows = np.kron(np.eye(2), w)
        parts = [*((rows @ cov @ rows.T, df) for cov, df in self.parts), *more]
        return estimate(
            outcome=outcome,
            estimand=estimand,
            method=method,
            value=float(w @ self.value),
            control_mean=float(w @ self.control) + offset,
            cov=np.sum([cov for cov, _ in parts], axis=0),
            df=satterthwaite([float(cov[1, 1]) for cov, _ in parts], [df for _, df in parts]),
            level=level,
            n_treated=self.n_treated,
            n_control=self.n_control,
        )


def joint_effects(control: Moments, treated: Moments, *, outcomes: int) -> JointEffects:
    """Differences in means of the first ``outcomes`` columns, adjusted in each arm for the columns after them.

    One outcome gives exactly ``randomized.difference_in_means``. From moments: one pass, memory columns squared.

    Source: Lin (2013), Agnostic notes on regression adjustments to experimental data, Ann. Appl. Stat. 7(1).

    Raises:
        ValueError: different columns in the arms, no outcome, or an arm with too few units for its covariates.
    """
    if not 1 <= outcomes <= control.mean.size:
        raise ValueError(f"outcomes: expected 1 to {control.mean.size}, got {outcomes}")
    pooled = control.merge(treated)
    means, arms, slopes = [], [], []
    for name, arm in (("control", control), ("treated", treated)):
        inverse, rank = pseudo_inverse(arm.cov[outcomes:, outcomes:])
        df = arm.n - rank - 1
        if df < 1:
            raise ValueError(f"{name} arm: {rank} covariates need at least {rank + 2} units, got {arm.n}")
        slope = inverse @ arm.cov[outcomes:, :outcomes]
        gap = (pooled.mean - arm.mean)[outcomes:]
        residual = (arm.cov[:outcomes, :outcomes] - arm.cov[:outcomes, outcomes:] @ slope) * (arm.n - 1) / df
        means.append(arm.mean[:outcomes] + gap @ slope)
        arms.append((residual * (1 / arm.n + gap @ inverse @ gap / (arm.n - 1)), float(df)))
        slopes.append(slope)
    effects = JointEffects.of_arms(arms[0], arms[1], np.stack(means), control.n, treated.n)
    both = np.hstack([slopes[0], slopes[1] - slopes[0]])
    shared = both.T @ pooled.cov[outcomes:, outcomes:] @ both / pooled.n  # the covariate means are estimated too
    return JointEffects(
        effects.control, effects.value, (*effects.parts, (shared, pooled.n - 1.0)), treated.n, control.n
    )


def clustered_means(sums: Floats, counts: Floats) -> tuple[Floats, Part]:
    """Means sum / count (k,) over G clusters and their jackknife covariance (k, k) with G - 1 degrees of freedom.

    ``sums`` and ``counts`` (G, k); a count is how many rows stand behind a sum. Clusters of one row give the textbook
    s^2 / n. Leaving out whole clusters keeps honest errors where clusters differ in size (CR3).

    Source: Bell & McCaffrey (2002), Bias reduction in standard errors for linear regression, Survey Meth. 28(2).

    Raises:
        ValueError: fewer than ``FEWEST_CLUSTERS`` clusters, or a mean that rests on one cluster.
    """
    clusters = len(sums)
    if clusters < FEWEST_CLUSTERS:
        raise ValueError(f"cluster: an error from clusters needs at least {FEWEST_CLUSTERS} in an arm, got {clusters}")
    left = counts.sum(axis=0) - counts
    if (left <= 0).any():
        raise ValueError("cluster: a mean rests on one cluster only, so its error is unknown")
    mean = sums.sum(axis=0) / counts.sum(axis=0)
    # mean without g, minus the mean, without cancellation
    moved = (counts * mean - sums) / left
    moved = moved - moved.mean(axis=0)
    return mean, (moved.T @ moved * (clusters - 1) / clusters, clusters - 1.0)


def clustered_effects(y: ArrayLike, d: ArrayLike, cluster: ArrayLike, x: ArrayLike | None = None) -> JointEffects:
    """Differences in means of the columns of ``y`` (n, k) by ``d`` (n,), 0 or 1, rows being dependent in a cluster.

    As ``clustered_influence``; counts of the result are clusters that hold rows of the arm.

    Raises:
        ValueError: as ``clustered_influence``.
    """
    found = clustered_influence(y, d, cluster, x)
    return JointEffects(
        found.control, found.value, ((found.influence.T @ found.influence, found.df),), found.n_treated, found.n_control
    )


@dataclass(frozen=True, eq=False)
class ClusterInfluence:
    """Control means and effects (k,) and what each of the G clusters adds to their error, ``influence`` (G, 2k).

    Clusters are in the order of their labels; ``df`` are Bell and McCaffrey's of an effect.
    """

    control: Floats
    value: Floats
    influence: Floats
    df: float
    n_treated: int
    n_control: int


def clustered_influence(y: ArrayLike, d: ArrayLike, cluster: ArrayLike, x: ArrayLike | None = None) -> ClusterInfluence:
    """Least squares of each column of ``y`` (n, k) on the arm, on ``x`` (n, c) about its mean, and their products.

    ``cluster`` (n,) labels whole arms' clusters, or clusters that hold both arms. Errors are CR2, the working model
    being equal variances, and include those of the mean of ``x``; without ``x`` and with whole clusters this is
    ``difference_of_cluster_randomized``. One pass to cross-products by cluster, memory clusters x (2 + 2c)^2.

    Sources: Lin (2013), Ann. Appl. Stat. 7(1); Pustejovsky & Tipton (2018), JBES 36(4).

    Raises:
        ValueError: lengths that differ, NaN or infinite entries, another treatment than 0 or 1, or one cluster alone
            behind an effect.
        Refusal: fewer than five clusters with treated rows, or with controls.
    """
    rows, dose, labels = np.asarray(y, dtype=np.float64), np.asarray(d), np.asarray(cluster)
    rows = rows[:, None] if rows.ndim == 1 else rows
    before = np.empty((len(rows), 0)) if x is None else np.asarray(x, dtype=np.float64)
    if not len(rows) == len(dose) == len(labels) == len(before) or before.ndim != 2:
        raise ValueError(
            f"y, d, cluster, x: lengths must agree, got {len(rows)}, {len(dose)}, {len(labels)}, {before.shape}"
        )
    for name, values in (("y", rows), ("x", before)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: {int((~np.isfinite(values)).sum())} entries are NaN or infinite")
    if not np.isin(dose, (0, 1)).all():
        raise ValueError(f"d: treatment must be 0 or 1, got {np.unique(dose).tolist()[:5]}")
    n_control, n_treated = (np.unique(labels[dose == arm]).size for arm in (0, 1))
    require_clusters(n_treated, n_control)
    pilot, centred = rows.mean(axis=0), before - before.mean(axis=0)  # centring keeps the digits of y + 1e9
    arm = dose.astype(np.float64)[:, None]
    design = np.hstack([np.ones_like(arm), arm, centred, arm * centred])
    fits = [cluster_fit(*cluster_products(design, column, labels)) for column in (rows - pilot).T]
    coef = np.stack([fit.coef for fit in fits], axis=1)  # (2 + 2c, k)
    groups, c = fits[0].clusters, before.shape[1]
    slopes = np.hstack([coef[2 : 2 + c], coef[2 + c :]])
    code = np.unique(labels, return_inverse=True)[1]
    moved = np.stack([np.bincount(code, weights=column, minlength=groups) for column in (centred @ slopes).T], axis=1)
    influence = np.hstack([np.stack([fit.influence[:, j] for fit in fits], axis=1) for j in (0, 1)])
    influence = influence + moved * (np.sqrt(groups / (groups - 1)) / len(rows))
    df = fits[0].df(np.eye(2 + 2 * c)[1])
    return ClusterInfluence(coef[0] + pilot, coef[1], influence, df, n_treated, n_control)
