"""Two-way fixed effects: y_it = a_i + b_t + effect d_it + e_it, from sums by period and by unit."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.cluster_robust import (
    FEWEST_CLUSTERS,
    LARGEST_PRODUCTS,
    cluster_fit,
    cluster_products,
    require_clusters,
)
from causal_assets.estimators.inference import Floats, Refusal
from causal_assets.types import Estimate

# Below this many clusters in an arm CR1 with t(G - 1) covers too little and CR2 with its own df takes over.
FEW_CLUSTERS = 50
# A treatment of which less than this share is left after both effects is a sum of them.
ABSORBED = 1e-10


@dataclass(frozen=True)
class TwoWayFit:
    """The coefficient of ``d`` with its CR1 error by cluster, as packages print it, and its CR2 error if computed.

    ``treated`` and ``control`` count clusters that are ever and never treated.
    """

    value: float
    std_error: float
    rows: int
    treated: int
    control: int
    small_error: float | None = None  # CR2
    small_df: float | None = None  # Bell and McCaffrey's

    @property
    def needs_small_errors(self) -> bool:
        """Whether an arm has too few clusters for CR1, yet enough for CR2."""
        return FEWEST_CLUSTERS <= min(self.treated, self.control) < FEW_CLUSTERS

    def estimate(self, *, outcome: str, level: float = 0.95) -> Estimate:
        """One t test of the coefficient: CR1 and t(G - 1), or CR2 where an arm has few clusters.

        The coefficient weighs cohorts and periods by their variance, and negatively where treated units serve as
        controls: with several adoption dates it is no ATT (see ``bacon``, ``staggered``).

        Raises:
            Refusal: fewer than five treated or control clusters, or fewer than 50 where only CR1 was computed.
        """
        from scipy.stats import t

        if not 0.0 < level < 1.0:
            raise ValueError(f"{outcome}: level must lie strictly between 0 and 1, got {level}")
        require_clusters(self.treated, self.control)
        error, df, kind = self.std_error, self.treated + self.control - 1.0, "CR1"
        if min(self.treated, self.control) < FEW_CLUSTERS:
            if self.small_error is None or self.small_df is None:
                raise Refusal(
                    f"cluster: {self.treated} treated and {self.control} control clusters; with fewer than "
                    f"{FEW_CLUSTERS} in an arm the error is CR2, and here its cross-products would fill the memory"
                )
            error, df, kind = self.small_error, self.small_df, "CR2"
        if not error > 0:
            raise Refusal(f"{outcome}: the effect needs a positive variance; is the outcome constant?")
        critical = float(t.ppf((1 + level) / 2, df))
        return Estimate(
            outcome=outcome,
            estimand="variance-weighted ATT",
            method=f"two-way fixed effects, {kind}",
            value=self.value,
            std_error=error,
            low=self.value - critical * error,
            high=self.value + critical * error,
            p_value=float(2 * t.sf(abs(self.value) / error, df)),
            level=level,
            n_treated=self.treated,
            n_control=self.control,
            control_mean=None,
        )


@dataclass(frozen=True)
class ScoreSums:
    """Sums over clusters of p = sum of d~ y and q = sum of d~ d, d~ being ``d`` with both effects taken out."""

    rows: int
    periods: int
    treated: int
    control: int
    p: float
    q: float
    pp: float
    pq: float
    qq: float
    variation: float  # sum over rows of d minus its mean, squared

    def fit(self) -> TwoWayFit:
        """effect = p/q; a cluster's score is p_g - effect q_g; see ``cr1_factor``.

        Raises:
            ValueError: one cluster, or a treatment that both effects explain.
        """
        clusters = self.treated + self.control
        if clusters < 2:
            raise Refusal(f"cluster: an error needs at least 2 clusters, got {clusters}")
        if self.q <= ABSORBED * self.variation:
            raise Refusal(
                "d: unit and period effects explain the treatment; it must change in some units while others stay as "
                "they are (was everyone treated at once, or from the first period on?)"
            )
        value = self.p / self.q
        squares = max(self.pp - 2 * value * self.pq + value**2 * self.qq, 0.0)
        factor = cr1_factor(self.rows, clusters, 1 + self.periods)
        return TwoWayFit(value, float(np.sqrt(factor * squares) / self.q), self.rows, self.treated, self.control)


@dataclass(frozen=True, eq=False)
class Patterns:
    """Kinds of units by the periods they are ``seen`` and ``treated`` in, (P, T), and how many ``units`` (P,) of each.

    ``score`` (P,) is the mean over them of the covariance of y and d' over a unit's rows, d' being ``d`` less its
    period effect; ``spread`` (P,) is its variance over them, ddof 0, and ``y`` (P,) the mean over them of a unit's mean
    outcome, which only unbalanced panels need. A pattern is listed once for each ``cluster`` (P,), numbered from 0;
    units are their own clusters if there is none.
    """

    seen: NDArray[np.bool_]
    treated: NDArray[np.bool_]
    units: Floats
    score: Floats
    spread: Floats
    y: Floats
    cluster: NDArray[np.intp] | None = None

    def fit(self, effects: Floats) -> TwoWayFit:
        """The fit, given the period effects (T, 2) of y and d: a unit's p is its rows' sum of d' (y - the effect of y).

        Within a unit that sum is of deviations from its mean, so that the effect of y matters by pattern only.

        Raises:
            ValueError: as ``ScoreSums.fit``.
        """
        rows = self.seen.sum(axis=1)
        free = self.treated - self.seen * effects[:, 1]
        free -= self.seen * (free.sum(axis=1) / rows)[:, None]
        p, q = rows * self.score - free @ effects[:, 0], (free**2).sum(axis=1)
        ever = self.treated.any(axis=1)
        if self.cluster is None:
            treated = self.units[ever].sum()
            clusters = self.units.sum()
            pp, pq, qq = self.units @ (p**2 + rows**2 * self.spread), self.units @ (p * q), self.units @ q**2
        else:
            by_p, by_q = (np.bincount(self.cluster, self.units * sums) for sums in (p, q))
            clusters, treated = by_p.size, np.unique(self.cluster[ever]).size
            pp, pq, qq = by_p @ by_p, by_p @ by_q, by_q @ by_q
        total, doses = self.units @ rows, self.units @ self.treated.sum(axis=1)
        return ScoreSums(
            rows=int(total),
            periods=self.seen.shape[1],
            treated=int(treated),
            control=int(clusters - treated),
            p=float(self.units @ p),
            q=float(self.units @ q),
            pp=float(pp),
            pq=float(pq),
            qq=float(qq),
            variation=float(doses * (1 - doses / total)),
        ).fit()


def cr1_factor(rows: int, clusters: int, parameters: int) -> float:
    """G/(G-1) (N-1)/(N-k): k counts coefficients and periods, not units, which are nested in clusters.

    So do fixest (R), reghdfe (Stata) and, depending on the hash seed of the process, pyfixest 0.60, which otherwise
    counts coefficients plus one.

    Raises:
        ValueError: no more rows than parameters.
    """
    if rows <= parameters:
        raise Refusal(f"y: {rows} rows are too few for {parameters} parameters")
    return clusters / (clusters - 1) * (rows - 1) / (rows - parameters)


def period_effects(patterns: NDArray[np.bool_], units: Floats, unit_means: Floats, period_sums: Floats) -> Floats:
    """Period effects (T, m) of m columns regressed on unit and period effects.

    ``patterns`` (P, T) says which periods a kind of unit is observed in, ``units`` (P,) how many there are,
    ``unit_means`` (P, m) the sum of their means, ``period_sums`` (T, m) the sum of the columns by period. Solves the
    normal equations left when units are swept out; cost P T^2, memory P T.

    Raises:
        ValueError: the panel falls into parts that share no period through any unit.
    """
    seen = patterns.astype(np.float64)
    per_unit = seen / seen.sum(axis=1, keepdims=True)
    gram = np.diag(units @ seen) - (seen * units[:, None]).T @ per_unit
    right = period_sums - seen.T @ unit_means
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-10 * values[-1]
    if kept.sum() < len(values) - 1:
        raise Refusal("period: the panel falls apart, some periods share no unit with the others")
    return vectors[:, kept] / values[kept] @ (vectors[:, kept].T @ right)


def unpack(masks: NDArray[np.int32], places: int, bits: int) -> NDArray[np.bool_]:
    """Which of ``places`` are set (P, places) in integers (P, places / bits) of ``bits``, the lowest bit first."""
    index = np.arange(places)
    return (masks[:, index // bits] >> (index % bits)) & 1 == 1


def check_panel(y: Floats, d: Floats, unit: NDArray[np.intp], period: NDArray[np.intp]) -> None:
    """What every panel must be: finite, ``d`` 0 or 1, one row per unit and period, no unit treated from its start.

    Raises:
        ValueError: it is not; the message names the argument.
    """
    if not np.isfinite(y).all():
        raise ValueError("y: outcomes may not be NaN or infinite")
    if not np.isin(d, (0.0, 1.0)).all():
        raise ValueError(f"d: expected 0 and 1, got {np.unique(d)[:5].tolist()}")
    _, counts = np.unique(unit * (period.max() + 1) + period, return_counts=True)
    if (counts > 1).any():
        raise Refusal(f"unit, period: {(counts > 1).sum()} pairs of unit and period have more than one row")
    if period.max() == 0:
        raise Refusal("period: at least 2 periods are needed, one of them before treatment, got 1")
    start = np.lexsort((period, unit))
    first = start[np.flatnonzero(np.diff(unit[start], prepend=-1))]
    if (d[first] == 1).any():
        raise Refusal(
            f"d: {int(d[first].sum())} units are treated before the panel starts and have no pre-period; leave them out"
        )


def two_way(
    y: ArrayLike, d: ArrayLike, unit: ArrayLike, period: ArrayLike, *, cluster: ArrayLike | None = None
) -> TwoWayFit:
    """Least squares of ``y`` (n,) on ``d`` (n,) with unit and period effects, balanced or not; errors by cluster.

    ``unit``, ``period`` and ``cluster`` (n,) are labels; clusters hold whole units and are the units by default. CR2 is
    computed as well where an arm has fewer than 50 clusters, by sweeping units out and keeping periods as columns.

    Source: Abadie, Athey, Imbens & Wooldridge (2023), When should you adjust standard errors for clustering?, QJE
    138(1); Pustejovsky & Tipton (2018) for CR2.

    Raises:
        ValueError: as ``check_panel``, ``period_effects``, ``ScoreSums.fit``; or a unit in two clusters.
    """
    response, dose = np.asarray(y, np.float64), np.asarray(d, np.float64)
    labels = [np.asarray(a) for a in (unit, period, unit if cluster is None else cluster)]
    if any(a.shape != response.shape or a.ndim != 1 for a in (dose, *labels)) or not response.size:
        raise ValueError(f"y, d, unit, period: expected equal lengths, got {response.shape}, {dose.shape}, ...")
    i, t, g = (np.unique(a, return_inverse=True)[1] for a in labels)
    check_panel(response, dose, i, t)
    owner = np.zeros(i.max() + 1, dtype=np.intp)
    owner[i] = g
    if (owner[i] != g).any():
        raise ValueError("cluster: a unit may not be in two clusters")
    rows = np.asarray(np.bincount(i), dtype=np.float64)
    centred = np.stack([response - response.mean(), dose], axis=1)
    sums = np.stack([np.bincount(t, c) for c in centred.T], axis=1).astype(np.float64)
    means = np.stack([np.bincount(i, c) for c in centred.T], axis=1) / rows[:, None]
    seen = np.zeros((rows.size, t.max() + 1), dtype=bool)
    seen[i, t] = True
    centred -= period_effects(seen, np.ones(len(seen)), means, sums)[t]
    centred -= (np.stack([np.bincount(i, c) for c in centred.T], axis=1) / rows[:, None])[i]
    p, q = np.bincount(g, centred[:, 1] * centred[:, 0]), np.bincount(g, centred[:, 1] ** 2)
    treated = np.bincount(g, dose) > 0
    found = ScoreSums(
        rows=response.size,
        periods=int(t.max()) + 1,
        treated=int(treated.sum()),
        control=int((~treated).sum()),
        p=float(p.sum()),
        q=float(q.sum()),
        pp=float(p @ p),
        pq=float(p @ q),
        qq=float(q @ q),
        variation=float(((dose - dose.mean()) ** 2).sum()),
    ).fit()
    return with_small_errors(found, centred[:, 0], dose, i, t, g) if found.needs_small_errors else found


def with_small_errors(
    fit: TwoWayFit,
    y: Floats,
    d: Floats,
    unit: NDArray[np.intp],
    period: NDArray[np.intp],
    cluster: NDArray[np.intp],
    size: Floats | None = None,
) -> TwoWayFit:
    """The fit with its CR2 error, which sweeps units out and keeps periods as columns.

    ``y``, ``d`` and the codes ``unit``, ``period``, ``cluster`` (n,) are rows of kinds of unit: ``size`` (n,) units of
    one cluster with the same periods and treatment, and their mean outcome. Memory clusters x periods squared.
    """
    width = int(period.max()) + 1
    if (fit.treated + fit.control) * width**2 > LARGEST_PRODUCTS:
        return fit
    columns = np.column_stack([d, period[:, None] == np.arange(1, width)]).astype(np.float64)
    rows = np.bincount(unit)
    columns -= (np.stack([np.bincount(unit, c) for c in columns.T], axis=1) / rows[:, None])[unit]
    root = np.ones(y.size) if size is None else np.sqrt(size)
    small = cluster_fit(*cluster_products(columns * root[:, None], y * root, cluster))
    return replace(fit, small_error=float(np.sqrt(small.cov[0, 0])), small_df=small.df(np.eye(width)[0]))


def wide_panel(y: ArrayLike, d: ArrayLike, unit: ArrayLike, period: ArrayLike) -> tuple[Floats, Floats]:
    """Outcome and treatment (units, periods) of rows ``y``, ``d``, ``unit``, ``period`` (n,), both in order of label.

    Raises:
        ValueError: as ``check_panel``; an unbalanced panel; treatment that ends.
    """
    response, dose = np.asarray(y, np.float64), np.asarray(d, np.float64)
    labels = [np.asarray(a) for a in (unit, period)]
    if any(a.shape != response.shape or a.ndim != 1 for a in (dose, *labels)) or not response.size:
        raise ValueError(f"y, d, unit, period: expected equal lengths, got {response.shape}, {dose.shape}, ...")
    i, t = (np.unique(a, return_inverse=True)[1] for a in labels)
    check_panel(response, dose, i, t)
    shape = (int(i.max()) + 1, int(t.max()) + 1)
    missing = shape[0] * shape[1] - response.size
    if missing:
        raise Refusal(
            f"unit, period: the panel is unbalanced, {missing} of {shape[0]} x {shape[1]} rows are missing; keep the "
            "units observed in every period, or use two_way"
        )
    outcome, doses = np.empty(shape), np.empty(shape)
    outcome[i, t], doses[i, t] = response, dose
    if (np.diff(doses, axis=1) < 0).any():
        raise Refusal(f"d: treatment ends in {int((np.diff(doses, axis=1) < 0).any(axis=1).sum())} units")
    return outcome, doses
