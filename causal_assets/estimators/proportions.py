"""The difference and the ratio of two proportions, exact functions of four counts."""

from collections.abc import Callable
from dataclasses import dataclass
from math import acos, copysign, cos, exp, inf, log, pi, sqrt

from causal_assets.types import Estimate

# Cochran's rule for the chi-square test; with fewer events the score test's own size is no longer near its level.
LEAST_EXPECTED = 5
# Logarithm of a ratio of rates beyond what counts of units can show: e^30 is 10^13.
WIDEST = 30.0


@dataclass(frozen=True)
class Events:
    """``events`` of ``n`` units of one arm.

    Raises:
        ValueError: no unit, or events outside [0, n].
    """

    events: int
    n: int

    def __post_init__(self) -> None:
        if self.n < 1 or not 0 <= self.events <= self.n:
            raise ValueError(f"events: expected 0 <= events <= n and n >= 1, got {self.events} of {self.n}")

    @property
    def rate(self) -> float:
        """Share of the units with an event."""
        return self.events / self.n


def _variance(control: Events, treated: Events, p0: float, p1: float, ratio: float = 1.0) -> float:
    """Of ``rate1 - ratio * rate0`` at true rates p0 and p1, with Miettinen and Nurminen's N / (N - 1)."""
    total = control.n + treated.n
    return (p1 * (1 - p1) / treated.n + ratio**2 * p0 * (1 - p0) / control.n) * total / (total - 1)


def _control_rate_at_difference(control: Events, treated: Events, delta: float) -> float:
    """Likeliest control rate among rates that differ by ``delta``: a root of a cubic, in closed form."""
    total, events = control.n + treated.n, control.events + treated.events
    a = (treated.n + 2 * control.n) * delta - total - events
    b = (control.n * delta - total - 2 * control.events) * delta + events
    c = control.events * delta * (1 - delta)
    third = a / (3 * total)
    q = third**3 - a * b / (6 * total**2) + c / (2 * total)
    p = sqrt(max(third**2 - b / (3 * total), 0.0)) * (1 if q > 0 else -1)
    angle = (pi + acos(min(max(q / p**3, -1.0), 1.0))) / 3 if p else 0.0
    return min(max(2 * p * cos(angle) - third, 0.0, -delta), 1.0, 1.0 - delta)


def _control_rate_at_ratio(control: Events, treated: Events, ratio: float) -> float:
    """Likeliest control rate among rates whose quotient is ``ratio``: the smaller root of a quadratic."""
    a = (control.n + treated.n) * ratio
    b = treated.n * ratio + treated.events + control.n + control.events * ratio
    c = control.events + treated.events
    return 2 * c / (b + sqrt(max(b * b - 4 * a * c, 0.0)))


def _standardized(gap: float, variance: float) -> float:
    if variance > 0 or gap == 0:
        return gap / sqrt(variance) if gap else 0.0
    return copysign(inf, gap)


def _score_of_difference(control: Events, treated: Events, delta: float) -> float:
    p0 = _control_rate_at_difference(control, treated, delta)
    gap = treated.rate - control.rate - delta
    variance = _variance(control, treated, p0, p0 + delta)
    return _standardized(gap, variance)


def _score_of_ratio(control: Events, treated: Events, log_ratio: float) -> float:
    ratio = exp(log_ratio)
    p0 = _control_rate_at_ratio(control, treated, ratio)
    gap = treated.rate - ratio * control.rate
    variance = _variance(control, treated, p0, min(ratio * p0, 1.0), ratio)
    return _standardized(gap, variance)


def _inverted(score: Callable[[float], float], critical: float, point: float, low: float, high: float) -> list[float]:
    """Where a score that falls over [low, high] and is 0 at ``point`` passes +- critical."""
    from scipy.optimize import brentq

    ends = []
    for target, end in ((critical, low), (-critical, high)):
        beyond = (score(end) - target) * target > 0
        left, right = min(end, point), max(end, point)
        ends.append(float(brentq(lambda x, t=target: score(x) - t, left, right, xtol=1e-15)) if beyond else end)
    return ends


def _relative(control: Events, treated: Events, critical: float) -> tuple[float, float]:
    """Relative lift by the score test of the ratio; unbounded above when no control has an event."""
    point = log(treated.rate / control.rate) if treated.events and control.events else 0.0
    point = WIDEST if not control.events else -WIDEST if not treated.events else point
    low, high = _inverted(lambda x: _score_of_ratio(control, treated, x), critical, point, -WIDEST, WIDEST)
    return exp(low) - 1 if treated.events else -1.0, exp(high) - 1 if control.events else inf


def difference_in_proportions(
    control: Events, treated: Events, *, outcome: str, level: float = 0.95, estimand: str = "ATE"
) -> Estimate:
    """Treated minus control share of units with an event; p and both intervals from the score test.

    The interval holds every difference, the relative one every ratio, that Miettinen and Nurminen's score test does
    not reject; at a difference of 0 and a ratio of 1 both are one test, the p-value's. ``std_error`` is the usual
    unpooled one and is not what the interval is made of. Takes four counts, no rows. A score test knows no
    cluster: where rows hang together ``difference_of_cluster_randomized`` compares the same shares.

    Source: Miettinen & Nurminen (1985), Comparative analysis of two rates, Statistics in Medicine 4(2).

    Raises:
        ValueError: a level outside (0, 1), or fewer than 5 expected events or non-events in an arm without effect.
    """
    from scipy.stats import norm

    if not 0.0 < level < 1.0:
        raise ValueError(f"{outcome}: level must lie strictly between 0 and 1, got {level}")
    pooled = (control.events + treated.events) / (control.n + treated.n)
    expected = min(pooled, 1 - pooled) * min(control.n, treated.n)
    if expected < LEAST_EXPECTED:
        raise ValueError(
            f"{outcome}: a test of proportions needs {LEAST_EXPECTED} expected events and non-events in each arm, "
            f"got {expected:.2g} with {control.events} of {control.n} and {treated.events} of {treated.n}"
        )
    critical = float(norm.ppf((1 + level) / 2))
    value = treated.rate - control.rate
    low, high = _inverted(lambda x: _score_of_difference(control, treated, x), critical, value, -1.0, 1.0)
    relative_low, relative_high = _relative(control, treated, critical)
    z = value / sqrt(_variance(control, treated, pooled, pooled))
    unpooled = sum(arm.rate * (1 - arm.rate) / arm.n for arm in (control, treated))
    return Estimate(
        outcome=outcome,
        estimand=estimand,
        method="difference in proportions, score test",
        value=value,
        std_error=sqrt(unpooled),
        low=low,
        high=high,
        p_value=float(2 * norm.sf(abs(z))),
        level=level,
        n_treated=treated.n,
        n_control=control.n,
        control_mean=control.rate,
        relative=value / control.rate if control.events else None,
        relative_low=relative_low,
        relative_high=relative_high,
    )
