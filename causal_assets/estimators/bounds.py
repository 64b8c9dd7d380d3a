"""What can be said of an effect when outcomes are missing: bounds, and intervals around them."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.inference import Floats
from causal_assets.estimators.moments import Moments
from causal_assets.types import Estimate

MANSKI = "Manski bounds"


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
    lower: float, upper: float, lower_error: float, upper_error: float, level: float
) -> tuple[float, float, float]:
    """Interval (low, high) of an effect known to lie in [lower, upper], and the p-value of 0 by the same inversion.

    The critical value falls from two-sided to one-sided as the bounds part, for the effect cannot be near both.

    Source: Imbens & Manski (2004), Confidence intervals for partially identified parameters, Econometrica 72(6), eq. 7.

    Raises:
        ValueError: a level outside (0, 1), bounds in the wrong order, or a standard error that is not positive.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    if not 0.0 < level < 1.0:
        raise ValueError(f"level: expected a number strictly between 0 and 1, got {level}")
    if not (lower <= upper and lower_error > 0 and upper_error > 0):
        raise ValueError(
            f"lower, upper: expected ordered bounds with positive standard errors, got {lower} ({lower_error}) and "
            f"{upper} ({upper_error})"
        )
    apart = (upper - lower) / max(lower_error, upper_error)

    def covered(critical: float) -> float:
        return float(ndtr(critical + apart) - ndtr(-critical))

    widest = float(ndtri((1 + level) / 2))
    critical = 0.0 if covered(0.0) >= level else float(brentq(lambda c: covered(c) - level, 0.0, widest + 1e-9))
    distance = max(lower / lower_error, -upper / upper_error, 0.0)
    # Written with tails, so that a small p keeps its digits.
    p_value = float(ndtr(-distance - apart) + ndtr(-distance)) if distance > 0 else 1.0
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
) -> Bounds:
    if not min(variances) > 0:
        raise ValueError(f"{outcome}: {method} need an outcome that varies, got variances {variances}")
    errors = sqrt(variances[0]), sqrt(variances[1])
    low, high, p_value = imbens_manski(lower, upper, *errors, level)
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


def _trimmed(y: Floats, kept: float, rate_variance: float) -> tuple[float, float]:
    """Mean of the lowest share ``kept`` of sorted ``y`` and its variance.

    ``rate_variance`` is the squared relative standard error of ``kept``, which is itself estimated. A row on the edge
    counts in part, so that ties do not matter.
    """
    rows = kept * y.size
    weight = np.clip(rows - np.arange(y.size), 0.0, 1.0)
    mean = weight @ y / rows
    edge = y[min(int(np.ceil(rows)), y.size) - 1] - mean
    within = weight @ (y - mean) ** 2 / rows
    return float(mean), float((within + edge**2 * (1 - kept)) / rows + edge**2 * rate_variance)


def lee_bounds(
    control: ArrayLike, treated: ArrayLike, *, n_control: int, n_treated: int, outcome: str, level: float = 0.95
) -> Bounds:
    """Bounds on the effect among the units whose outcome is observed in either arm.

    ``control`` and ``treated`` are the outcomes that were observed, of ``n_control`` and ``n_treated`` assigned units.
    The arm that is observed more often is trimmed from above and from below by the excess. Valid where treatment moves
    observation in one direction only. Sorts the rows: not a function of moments. Units are independent: no cluster.

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
    The range is the protocol's, not the data's. Takes moments, no rows. Units are independent: no cluster.

    Source: Manski (1990), Nonparametric bounds on treatment effects, AER 80(2); Horowitz & Manski (2000), JASA 95(449).

    Raises:
        ValueError: more outcomes than units in an arm, moments that no outcome within the range can have, no variance.
    """
    if not np.isfinite([lowest, highest]).all() or not lowest < highest:
        raise ValueError(f"lowest, highest: expected a finite range, got [{lowest}, {highest}]")
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
