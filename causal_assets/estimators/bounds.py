"""What can be said of an effect when outcomes are missing: bounds, and intervals around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.inference import Floats
from causal_assets.estimators.joint import clustered_influence
from causal_assets.estimators.moments import Moments
from causal_assets.types import Estimate

MANSKI = "Manski bounds"
# Errors below this share of the largest part of a bound are rounding.
ROUNDING = 1e-14


@dataclass(frozen=True)
class Bounds:
    """The smallest and largest effect that the data allow, in the outcome's unit, and their standard errors.

    The effect's place between them is not known; ``estimate`` names the middle only to have a value, and its interval
    and p-value are those of the effect, wherever it lies.
    """

    lower: float
    upper: float
    lower_error: float
    upper_error: float
    estimate: Estimate


def imbens_manski(
    lower: float, upper: float, lower_error: float, upper_error: float, level: float, df: float = inf
) -> tuple[float, float, float]:
    """Interval (low, high) of an effect known to lie in [lower, upper], and the p-value of 0 by the same inversion.

    The critical value falls from two-sided to one-sided as the bounds part, for the effect cannot be near both. It is
    normal, or that of t with ``df`` degrees of freedom.

    Source: Imbens & Manski (2004), Confidence intervals for partially identified parameters, Econometrica 72(6), eq. 7.

    Raises:
        ValueError: a level outside (0, 1), bounds in the wrong order, or a standard error that is not positive.
    """
    from scipy.optimize import brentq
    from scipy.special import stdtr, stdtrit

    if not 0.0 < level < 1.0:
        raise ValueError(f"level: expected a number strictly between 0 and 1, got {level}")
    if not (lower <= upper and lower_error > 0 and upper_error > 0):
        raise ValueError(
            f"lower, upper: expected ordered bounds with positive standard errors, got {lower} ({lower_error}) and "
            f"{upper} ({upper_error})"
        )
    apart = (upper - lower) / max(lower_error, upper_error)

    def covered(critical: float) -> float:
        return float(stdtr(df, critical + apart) - stdtr(df, -critical))

    widest = float(stdtrit(df, (1 + level) / 2))
    critical = 0.0 if covered(0.0) >= level else float(brentq(lambda c: covered(c) - level, 0.0, widest + 1e-9))
    distance = max(lower / lower_error, -upper / upper_error, 0.0)
    # Written with tails, so that a small p keeps its digits.
    p_value = float(stdtr(df, -distance - apart) + stdtr(df, -distance)) if distance > 0 else 1.0
    return lower - critical * lower_error, upper + critical * upper_error, min(p_value, 1.0)


def _bounds(
    lower: float,
    upper: float,
    variances: tuple[float, float],
    *,
    method: str,
    estimand: str,
    outcome: str,
    level: float,
    n_control: int,
    n_treated: int,
    df: float = inf,
) -> Bounds:
    if not min(variances) > 0:
        raise ValueError(f"{outcome}: {method} need an outcome that varies, got variances {variances}")
    errors = sqrt(variances[0]), sqrt(variances[1])
    low, high, p_value = imbens_manski(lower, upper, *errors, level, df)
    estimate = Estimate(
        outcome=outcome,
        estimand=estimand,
        method=method,
        value=(lower + upper) / 2,
        std_error=None,
        low=low,
        high=high,
        p_value=p_value,
        level=level,
        n_treated=n_treated,
        n_control=n_control,
        control_mean=None,
    )
    return Bounds(lower, upper, *errors, estimate)


def _observed(name: str, y: ArrayLike, n: int) -> Floats:
    outcomes = np.sort(np.asarray(y, dtype=np.float64))
    if outcomes.ndim != 1 or not np.isfinite(outcomes).all() or not 2 <= outcomes.size <= n:
        raise ValueError(f"{name}: expected between 2 and n = {n} finite observed outcomes, got shape {outcomes.shape}")
    return outcomes


def _lowest(y: Floats, kept: float) -> tuple[Floats, float, float]:
    """How much each of sorted ``y`` (n,) is in the lowest share ``kept``; their mean, and the value where they end.

    A row on the edge counts in part, so that ties do not matter.
    """
    rows = kept * y.size
    weight = np.clip(rows - np.arange(y.size), 0.0, 1.0)
    return weight, float(weight @ y / rows), float(y[min(int(np.ceil(rows)), y.size) - 1])


def _trimmed(y: Floats, kept: float, rate_variance: float) -> tuple[float, float]:
    """Mean of the lowest share ``kept`` of sorted ``y`` and its variance.

    ``rate_variance`` is the squared relative standard error of ``kept``, which is itself estimated.
    """
    weight, mean, highest = _lowest(y, kept)
    rows, edge = kept * y.size, highest - mean
    within = weight @ (y - mean) ** 2 / rows
    return mean, float((within + edge**2 * (1 - kept)) / rows + edge**2 * rate_variance)


def lee_bounds(
    control: ArrayLike, treated: ArrayLike, *, n_control: int, n_treated: int, outcome: str, level: float = 0.95
) -> Bounds:
    """Bounds on the effect among the units whose outcome is observed in either arm.

    ``control`` and ``treated`` are the outcomes that were observed, of ``n_control`` and ``n_treated`` assigned units.
    The arm that is observed more often is trimmed from above and from below by the excess. Valid where treatment moves
    observation in one direction only. Sorts the rows: not a function of moments. Units are independent; where they are
    not, use ``lee_bounds_clustered``.

    Source: Lee (2009), Training, wages, and sample selection, Rev. Econ. Stud. 76(3), propositions 2 and 3.

    Raises:
        ValueError: fewer than two outcomes or more outcomes than units in an arm, a NaN, or no variance.
    """
    c, t = _observed("control", control, n_control), _observed("treated", treated, n_treated)
    rate_c, rate_t = c.size / n_control, t.size / n_treated
    rate_variance = (1 - rate_c) / c.size + (1 - rate_t) / t.size
    kept = min(rate_c, rate_t) / max(rate_c, rate_t)
    sides = []
    # Trimming the controls is trimming the treated in the mirror; at equal rates it may be either arm's turn.
    for more, less in ([(t, c)] if rate_t >= rate_c else []) + ([(-c[::-1], -t)] if rate_c >= rate_t else []):
        low, low_variance = _trimmed(more, kept, rate_variance)
        high, high_variance = _trimmed(-more[::-1], kept, rate_variance)
        base, base_variance = less.mean(), less.var(ddof=1) / less.size
        sides.append((low - base, -high - base, low_variance + base_variance, high_variance + base_variance))
    lower, upper, lower_variance, upper_variance = map(float, np.max(sides, axis=0))
    return _bounds(
        lower,
        max(lower, upper),
        (lower_variance, upper_variance),
        method="Lee bounds",
        estimand="ATE on the always observed",
        outcome=outcome,
        level=level,
        n_control=n_control,
        n_treated=n_treated,
    )


def _of_rows(y: ArrayLike, d: ArrayLike, observed: ArrayLike) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Outcomes less the first one known, who is treated and whose outcome is known, (n,) each; 0 where it is not."""
    rows, dose, known = np.asarray(y, dtype=np.float64), np.asarray(d), np.asarray(observed)
    if rows.ndim != 1 or not rows.shape == dose.shape == known.shape:
        raise ValueError(f"y, d, observed: shapes must agree, got {rows.shape}, {dose.shape} and {known.shape}")
    if not np.isin(dose, (0, 1)).all() or not np.isin(known, (0, 1)).all():
        raise ValueError("d, observed: expected 0 or 1 for each row and nothing else")
    treated, known = dose == 1, known == 1
    for name, arm in (("control", ~treated), ("treated", treated)):
        if (held := int((arm & known).sum())) < 2:
            raise ValueError(f"{name} arm: expected at least 2 observed outcomes, got {held}")
    if not np.isfinite(rows[known]).all():
        raise ValueError(f"y: {int((~np.isfinite(rows[known])).sum())} observed entries are NaN or infinite")
    # Bounds do not depend on the origin; digits do.
    return np.where(known, rows - rows[known][0], 0.0), treated, known


def _clustered_bounds(
    ways: Sequence[Floats],
    treated: NDArray[np.bool_],
    cluster: ArrayLike,
    *,
    method: str,
    estimand: str,
    outcome: str,
    level: float,
) -> Bounds:
    """Bounds that are differences in means of (lower, upper) parts (n, 2); of several ways, the larger errors."""
    every = [clustered_influence(parts, treated * 1, cluster) for parts in ways]
    variances = np.max([(way.influence[:, 2:] ** 2).sum(axis=0) for way in every], axis=0)
    variances[variances < (ROUNDING * np.abs(ways).max()) ** 2] = 0.0
    found = every[0]
    lower, upper = map(float, found.value)
    return _bounds(
        lower,
        max(lower, upper),
        (float(variances[0]), float(variances[1])),
        method=f"{method}, clustered (CR2)",
        estimand=estimand,
        outcome=outcome,
        level=level,
        n_control=found.n_control,
        n_treated=found.n_treated,
        df=found.df,
    )


def lee_bounds_clustered(
    y: ArrayLike, d: ArrayLike, observed: ArrayLike, cluster: ArrayLike, *, outcome: str, level: float = 0.95
) -> Bounds:
    """``lee_bounds`` where rows of a ``cluster`` (n,) hang together, assigned as a whole or not; counts clusters.

    Rows (n,) are all that were assigned: ``d`` and ``observed`` are 0 or 1, and ``y`` is not read where it was not
    observed. The bound is the difference of the arms' means of what each row adds to it, the linear part of the
    trimmed mean, the other arm's mean and the share to trim together (the influence function behind proposition 3);
    its error is therefore that of a difference in means by cluster, CR2 with Bell and McCaffrey's degrees of freedom,
    and the interval's critical value is of t. Clusters of one row give ``lee_bounds``' errors but for n / (n - 1).
    Sorts the rows.

    Source: Lee (2009), Rev. Econ. Stud. 76(3), propositions 2 and 3; the sums by cluster are ours.

    Raises:
        ValueError: lengths that differ, fewer than two outcomes in an arm, a NaN among them, or no variance.
        Refusal: fewer than five clusters of an arm.
    """
    rows, treated, known = _of_rows(y, d, observed)
    rate_c, rate_t = (float(known[arm].mean()) for arm in (~treated, treated))
    # As in ``lee_bounds``: trimming the controls is trimming the treated in the mirror.
    sides = ([(treated, 1.0)] if rate_t >= rate_c else []) + ([(~treated, -1.0)] if rate_c >= rate_t else [])
    ways = [
        np.stack([s * sign * _lowest_parts(s * sign * rows, more, known) for s in (1.0, -1.0)], axis=1)
        for more, sign in sides
    ]
    estimand = "ATE on the always observed"
    return _clustered_bounds(
        ways, treated, cluster, method="Lee bounds", estimand=estimand, outcome=outcome, level=level
    )


def _lowest_parts(y: Floats, more: NDArray[np.bool_], known: NDArray[np.bool_]) -> Floats:
    """What each row (n,) adds to Lee's lower bound of the arm ``more``, which is the one to trim, minus the other.

    The bound is the difference of the two arms' means of it, and to first order so are its errors: with the trimmed
    arm's edge e, the other arm's rate of observation r and the bound b, e + min(y - e, 0) / r and
    (e - b) + (y - e + b) / r for the rows observed, e and e - b for the others.
    """
    kept = known[~more].mean() / known[more].mean()
    _, mean, edge = _lowest(np.sort(y[more & known]), float(kept))
    bound = mean - y[~more & known].mean()
    origin = np.where(more, edge, edge - bound)
    beyond = np.where(more, np.minimum(y - edge, 0.0), y - edge + bound)
    return origin + np.where(known, beyond, 0.0) / known[~more].mean()


def _filled(name: str, arm: Moments, n: int, fill: float, lowest: float, highest: float) -> Moments:
    """Moments of the arm with ``fill`` for every missing outcome."""
    mean, spread = arm.mean[0], arm.cov[0, 0] * (arm.n - 1) / arm.n
    # No variable within [lowest, highest] varies more (Bhatia & Davis 2000), so moments betray a wrong range.
    most = (highest - mean) * (mean - lowest)
    if not lowest <= mean <= highest or spread > most * (1 + 1e-9):
        raise ValueError(
            f"{name} arm: outcomes with mean {mean:.4g} and sd {sqrt(spread):.4g} do not fit in "
            f"[{lowest:g}, {highest:g}]"
        )
    if arm.n > n:
        raise ValueError(f"{name} arm: {arm.n} outcomes of {n} units")
    observed = arm.select([0])
    return observed if arm.n == n else observed.merge(Moments(n - arm.n, np.array([fill]), np.zeros((1, 1))))


def _require_range(lowest: float, highest: float) -> None:
    if not np.isfinite([lowest, highest]).all() or not lowest < highest:
        raise ValueError(f"lowest, highest: expected a finite range, got [{lowest}, {highest}]")


def manski_bounds(
    control: Moments,
    treated: Moments,
    *,
    n_control: int,
    n_treated: int,
    lowest: float,
    highest: float,
    outcome: str,
    level: float = 0.95,
) -> Bounds:
    """Bounds on the effect on all assigned units that assume nothing but the range of the outcome.

    Column 0 of the moments is the observed outcome; the missing ones are ``lowest`` or ``highest``, whichever is worst.
    The range is the protocol's, not the data's. Takes moments, no rows. Units are independent; where they are not, use
    ``manski_bounds_clustered``.

    Source: Manski (1990), Nonparametric bounds on treatment effects, AER 80(2); Horowitz & Manski (2000), JASA 95(449).

    Raises:
        ValueError: more outcomes than units in an arm, moments that no outcome within the range can have, no variance.
    """
    _require_range(lowest, highest)
    arms = ("control", control, n_control), ("treated", treated, n_treated)
    floor_c, floor_t = (_filled(*arm, lowest, lowest, highest) for arm in arms)
    top_c, top_t = (_filled(*arm, highest, lowest, highest) for arm in arms)
    ends = [(top_c, floor_t), (floor_c, top_t)]
    lower, upper = (float(t.mean[0] - c.mean[0]) for c, t in ends)
    variances = [float(c.cov[0, 0] / c.n + t.cov[0, 0] / t.n) for c, t in ends]
    return _bounds(
        lower,
        max(lower, upper),
        (variances[0], variances[1]),
        method=MANSKI,
        estimand="ATE",
        outcome=outcome,
        level=level,
        n_control=n_control,
        n_treated=n_treated,
    )


def manski_bounds_clustered(
    y: ArrayLike,
    d: ArrayLike,
    observed: ArrayLike,
    cluster: ArrayLike,
    *,
    lowest: float,
    highest: float,
    outcome: str,
    level: float = 0.95,
) -> Bounds:
    """``manski_bounds`` where rows of a ``cluster`` (n,) hang together, assigned as a whole or not; counts clusters.

    Rows (n,) are all that were assigned: ``d`` and ``observed`` are 0 or 1, and ``y`` is not read where it was not
    observed. Either bound is a difference in means by cluster: CR2 errors, Bell and McCaffrey's degrees of freedom, and
    the interval's critical value is of t. Clusters of one row give the errors of ``manski_bounds``.

    Raises:
        ValueError: lengths that differ, outcomes outside the range, fewer than two in an arm, or no variance.
        Refusal: fewer than five clusters of an arm.
    """
    _require_range(lowest, highest)
    _, treated, known = _of_rows(y, d, observed)
    rows = np.where(known, np.asarray(y, dtype=np.float64), lowest)
    if beyond := int(((rows < lowest) | (rows > highest)).sum()):
        raise ValueError(f"y: {beyond} observed outcomes do not fit in [{lowest:g}, {highest:g}]")
    ends = [np.where(known, rows, np.where(treated, *fill)) for fill in ((lowest, highest), (highest, lowest))]
    ways = [np.stack(ends, axis=1)]
    return _clustered_bounds(ways, treated, cluster, method=MANSKI, estimand="ATE", outcome=outcome, level=level)
