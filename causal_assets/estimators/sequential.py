"""A difference that may be looked at at any time: the asymptotic confidence sequence."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf, isclose, isfinite, log

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.inference import Floats
from causal_assets.types import Estimate

# Below this many units in an arm the means are not near enough to normal for any look to count.
BURN_IN = 100


def _spread_of_mixture(n: ArrayLike, planned_n: float, level: float) -> Floats:
    """n rho^2, with rho such that the sequence is narrowest at ``planned_n``; it never depends on the data.

    Source: Waudby-Smith et al. (2021), arXiv 2103.06476, appendix on optimising the boundary.
    """
    alpha = 1 - level
    return np.asarray(n, dtype=np.float64) * (-2 * log(alpha) + log(1 - 2 * log(alpha))) / planned_n


def critical_value(n: ArrayLike, *, planned_n: float, level: float) -> Floats:
    """Standard errors on either side of the estimate that the sequence spans after ``n`` units of both arms.

    Source: Waudby-Smith et al. (2021), arXiv 2103.06476, theorem 2.2 (Robbins' normal mixture).
    """
    k = _spread_of_mixture(n, planned_n, level)
    return np.sqrt(2 * (1 + 1 / k) * (np.log1p(k) / 2 - log(1 - level)))


def p_values(z: ArrayLike, n: ArrayLike, *, planned_n: float, level: float) -> Floats:
    """Smallest alpha at which the sequence, with the rho of ``level``, excludes 0 after ``n`` units; ``z`` is value/SE.

    One over the e-value of the mixture; the minimum over looks is a p-value at every stopping time.
    """
    k = _spread_of_mixture(n, planned_n, level)
    return np.exp(np.minimum(np.log1p(k) / 2 - np.square(z) * k / (2 * (1 + k)), 0.0))


def confidence_sequence(look: Estimate, *, planned_n: int, burn_in: int = BURN_IN) -> Estimate:
    """``look``, an estimate with a standard error from all data so far, as one member of a sequence valid at all looks.

    P(any look's interval misses the effect) <= 1 - level in large samples, however often one looks and whenever one
    stops. ``planned_n`` is the number of units of both arms expected at the end; it fixes rho and must be written down
    before the first look. Units are what the look counts: of a look by cluster all are clusters, the burn-in's too, and
    each must be whole when it is first looked at, for looks are sums over independent units. The p-value inverts this
    look's interval; ``running`` gives that of all looks so far. With fewer than ``burn_in`` units in an arm the
    interval is the whole line and p = 1. The relative interval is Fieller's at the same critical value. Needs nothing
    but the look: no pass over the data.

    Sources: Howard et al. (2021), Time-uniform, nonparametric, nonasymptotic confidence sequences, Ann. Stat. 49(2);
    Waudby-Smith et al. (2021), arXiv 2103.06476.

    Raises:
        ValueError: ``planned_n`` below two burn-ins, ``burn_in`` below 100, or a look that is not value +- c SE.
    """
    if burn_in < BURN_IN:
        raise ValueError(f"burn_in: at least {BURN_IN} units in each arm, got {burn_in}")
    if planned_n < 2 * burn_in:
        raise ValueError(f"planned_n: at least two burn-ins ({2 * burn_in} units of both arms), got {planned_n}")
    z = z_value(look)
    if min(look.n_treated, look.n_control) < burn_in:
        return at_critical(look, inf, 1.0, f"confidence sequence, in burn-in (under {burn_in} units in an arm)")
    n = look.n_treated + look.n_control
    critical = float(critical_value(n, planned_n=planned_n, level=look.level))
    p = float(p_values(z, n, planned_n=planned_n, level=look.level))
    return at_critical(look, critical, p, f"confidence sequence, planned n {planned_n}")


def running(looks: Sequence[Estimate], *, planned_n: int, burn_in: int = BURN_IN) -> Estimate:
    """What all ``looks`` so far, oldest first and each over all data until then, say together; see ``intersection``.

    Raises:
        ValueError: as ``confidence_sequence`` and ``intersection``.
    """
    return intersection([confidence_sequence(look, planned_n=planned_n, burn_in=burn_in) for look in looks])


def z_value(look: Estimate) -> float:
    """Value over standard error of a look whose interval is symmetric about its value.

    Raises:
        ValueError: a look that is not value +- c SE.
    """
    error = look.std_error
    if error is None or not 0 < error < inf or look.pieces or look.p_value is None:
        raise ValueError(f"look: needs an estimate with a standard error and one interval, got {look}")
    if not isfinite(look.high) or not isclose(look.high - look.value, look.value - look.low, rel_tol=1e-6):
        raise ValueError(f"look: needs an interval of value +- c standard errors, got {look}")
    return look.value / error


def at_critical(look: Estimate, critical: float, p_value: float, rule: str) -> Estimate:
    """``look`` with an interval of value +- ``critical`` standard errors and the p-value of the same inversion."""
    if look.std_error is None:
        raise ValueError(f"look: needs a standard error, got {look}")
    low, high = _fieller_again(look, critical)
    return replace(
        look,
        method=f"{look.method}, {rule}",
        low=look.value - critical * look.std_error,
        high=look.value + critical * look.std_error,
        p_value=p_value,
        relative_low=low,
        relative_high=high,
    )


def _fieller_again(look: Estimate, critical: float) -> tuple[float | None, float | None]:
    """Fieller's interval of ``look`` at another critical value, from the one it has.

    Its ends solve a r^2 - 2 h r + q = 0 with a = m^2 - c^2 v_m, h = e m - c^2 v_me, q = e^2 - c^2 v_e, and a, h, q are
    linear in c^2: two ends and q give a and h at the look's own c, hence v_m and v_me.
    """
    r1, r2 = look.relative_low, look.relative_high
    if r1 is None or r2 is None or look.std_error is None or not look.control_mean:
        return None, None
    own = ((look.high - look.low) / (2 * look.std_error)) ** 2
    q = look.value**2 - own * look.std_error**2
    if not (isfinite(r1) and isfinite(r2) and isfinite(critical)) or r1 * r2 == 0 or q == 0:
        return -inf, inf
    mean, square, share = look.control_mean, critical**2, critical**2 / own
    a = mean**2 + share * (q / (r1 * r2) - mean**2)
    if a <= 0:
        return -inf, inf
    h = look.value * mean + share * (q / (r1 * r2) * (r1 + r2) / 2 - look.value * mean)
    root = max(h**2 - a * (look.value**2 - square * look.std_error**2), 0.0) ** 0.5
    return (h - root) / a, (h + root) / a


def intersection(looks: Sequence[Estimate]) -> Estimate:
    """The intersection of intervals that all hold at once, and the smallest of their p-values.

    0 is in it exactly when every p exceeds 1 - level. The value is the last look's, moved to the nearest end where it
    lies outside, and the method says so.

    Raises:
        ValueError: no look, looks of different outcomes or levels or in the wrong order, or an empty intersection.
    """
    if not looks:
        raise ValueError("looks: needs at least one look, got none")
    last = looks[-1]
    if len({(look.outcome, look.estimand, look.level) for look in looks}) > 1:
        raise ValueError("looks: all must share outcome, estimand and level")
    sizes = [look.n_treated + look.n_control for look in looks]
    if sizes != sorted(sizes):
        raise ValueError(f"looks: must be in order of time, got {sizes} units")
    low, high = max(look.low for look in looks), min(look.high for look in looks)
    if low > high:
        raise ValueError(f"{last.outcome}: no effect is in all {len(looks)} intervals: it changes over time")
    value = min(max(last.value, low), high)
    moved = "" if value == last.value else ", moved into the intersection of all looks"
    ratios = [(r.relative_low, r.relative_high) for r in looks if r.relative_low is not None]
    relative_low = max((a for a, _ in ratios), default=None)
    relative_high = min((b for _, b in ratios if b is not None), default=None)
    return replace(
        last,
        method=f"{last.method}, over {len(looks)} looks{moved}",
        value=value,
        low=low,
        high=high,
        p_value=min(look.p_value for look in looks if look.p_value is not None),
        relative=value / last.control_mean if last.control_mean else None,
        relative_low=relative_low,
        relative_high=relative_high,
    )
