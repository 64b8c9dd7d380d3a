"""Who is still there: retention curves per arm under censoring, and the differences between them."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.inference import Floats, estimate
from causal_assets.estimators.joint import clustered_effects
from causal_assets.types import Estimate

# With fewer departures or stayers in an arm the normal interval of a share is too short (as for proportions).
FEWEST = 5
# Estimand and method.
SHARE = ("difference in retention", "Kaplan-Meier")
TIME = ("difference in time retained", "restricted mean")


@dataclass(frozen=True, eq=False)
class Retention:
    """Kaplan-Meier curve of one arm at its distinct times (m,): how many were at risk and how many left there.

    ``followed`` is the last time at which anyone was still observed, ``n`` the number of units. A unit censored at a
    time was at risk at it.
    """

    time: Floats
    at_risk: Floats
    left: Floats
    n: int
    followed: float

    @classmethod
    def of(cls, duration: ArrayLike, left: ArrayLike) -> Self:
        """From one row per unit: how long it was observed (n,), and whether it left then (1) or was censored (0).

        As grouped counts: one pass, memory the number of distinct times.

        Raises:
            ValueError: no unit, lengths that differ, durations that are negative, NaN or infinite, or other codes.
        """
        times, gone = np.asarray(duration, dtype=np.float64), np.asarray(left)
        if times.ndim != 1 or times.shape != gone.shape or times.size == 0:
            raise ValueError(f"duration, left: expected equal shapes (n,), got {times.shape} and {gone.shape}")
        if not np.isfinite(times).all() or (times < 0).any():
            raise ValueError(f"duration: expected finite numbers from 0, got {times.min()} to {times.max()}")
        if not np.isin(gone, (0, 1)).all():
            raise ValueError(f"left: expected 0 or 1, got {np.unique(gone).tolist()[:5]}")
        distinct, code = np.unique(times, return_inverse=True)
        observed = np.bincount(code)
        at_risk = observed[::-1].cumsum()[::-1]
        departures: Floats = np.bincount(code, weights=gone.astype(np.float64)).astype(np.float64)
        return cls(distinct, at_risk.astype(np.float64), departures, times.size, float(distinct[-1]))

    @property
    def share(self) -> Floats:
        """Share retained just after each time (m,). Source: Kaplan & Meier (1958), JASA 53(282)."""
        return np.cumprod(1 - self.left / self.at_risk)

    def _until(self, horizon: float) -> NDArray[np.intp]:
        return np.flatnonzero((self.time <= horizon) & (self.left > 0))

    def _after(self, horizon: float) -> tuple[float, Floats]:
        """Expected time retained within ``horizon``, and of it what lies after each departure until then (s,)."""
        steps = self._until(horizon)
        shares = np.concatenate([[1.0], self.share[steps]])
        pieces = np.diff(np.concatenate([[0.0], self.time[steps], [horizon]])) * shares
        return float(pieces.sum()), pieces[1:][::-1].cumsum()[::-1]

    def retained(self, horizon: float) -> tuple[float, float]:
        """Share retained after ``horizon`` and its variance (Greenwood 1926)."""
        steps = self._until(horizon)
        share = float(np.prod(1 - self.left[steps] / self.at_risk[steps]))
        stayed = self.at_risk[steps] - self.left[steps]
        return share, share**2 * float((self.left[steps] / (self.at_risk[steps] * stayed)).sum()) if share > 0 else 0.0

    def mean(self, horizon: float) -> tuple[float, float]:
        """Expected time retained within ``horizon``: the area under the curve, and its variance.

        Source: Klein & Moeschberger (2003), Survival Analysis, eq. 4.5.1-4.5.3.
        """
        steps = self._until(horizon)
        mean, after = self._after(horizon)
        stayed = self.at_risk[steps] - self.left[steps]
        # Where all left there is no area to come, hence no error from that step.
        terms = np.divide(
            after**2 * self.left[steps], self.at_risk[steps] * stayed, out=np.zeros_like(after), where=stayed > 0
        )
        return mean, float(terms.sum())

    def parts(self, duration: ArrayLike, left: ArrayLike, horizon: float, *, restricted: bool) -> Floats:
        """What each of the arm's rows (n,) adds to the share retained, or to the time; their mean is that number.

        To first order the errors of the number are those of the mean: with units of one row they are Greenwood's.

        Source: Andersen, Borgan, Gill & Keiding (1993), Statistical Models Based on Counting Processes, sec. IV.3;
        Ying & Wei (1994), The Kaplan-Meier estimate for dependent failure time observations, J. Multivar. An. 50(1).
        """
        times, gone = np.asarray(duration, dtype=np.float64), np.asarray(left) == 1
        steps = self._until(horizon)
        value, weight = self._after(horizon) if restricted else (self.retained(horizon)[0], np.ones(steps.size))
        weight = weight if restricted else weight * value
        stayed = self.at_risk[steps] - self.left[steps]
        own = np.divide(weight, stayed, out=np.zeros_like(weight), where=stayed > 0)
        own, through = (np.append(0.0, c) for c in (own, np.cumsum(own * self.left[steps] / self.at_risk[steps])))
        passed = np.searchsorted(self.time[steps], times, side="right")
        return value + self.n * (through[passed] - np.where(gone & (times <= horizon), own[passed], 0.0))


def _checked(control: Retention, treated: Retention, horizon: float) -> None:
    for name, arm in (("control", control), ("treated", treated)):
        if not 0 < horizon <= arm.followed:
            raise ValueError(
                f"horizon: expected above 0 and at most {arm.followed:g}, the {name} arm's follow-up, got {horizon:g}"
            )
        departures = float(arm.left[arm.time <= horizon].sum())
        stayers = float(arm.at_risk[arm.time >= horizon][0]) - float(arm.left[arm.time == horizon].sum())
        if min(departures, stayers) < FEWEST:
            raise ValueError(
                f"horizon: {horizon:g} leaves {departures:g} departures and {stayers:g} stayers in the {name} arm, "
                f"at least {FEWEST} of each are needed"
            )


def _difference(
    control: Retention,
    treated: Retention,
    arms: tuple[tuple[float, float], tuple[float, float]],
    names: tuple[str, str],
    outcome: str,
    level: float,
) -> Estimate:
    (c, c_variance), (t, t_variance) = arms
    return estimate(
        outcome=outcome,
        estimand=names[0],
        method=names[1],
        value=t - c,
        control_mean=c,
        cov=np.array([[c_variance, -c_variance], [-c_variance, c_variance + t_variance]]),
        df=np.inf,
        level=level,
        n_treated=treated.n,
        n_control=control.n,
    )


def retention_difference(
    control: Retention, treated: Retention, *, horizon: float, outcome: str, level: float = 0.95
) -> Estimate:
    """Treated minus control share retained after ``horizon`` time units, with Greenwood errors and a normal test.

    Censoring must tell nothing about leaving, given the arm. Units are independent, one row each: Greenwood's variance
    is that of counts at risk. Where units hang together, use ``retention_difference_clustered``.

    Raises:
        ValueError: a horizon beyond either arm's follow-up, or fewer than ``FEWEST`` departures or stayers in an arm.
    """
    _checked(control, treated, horizon)
    shares = control.retained(horizon), treated.retained(horizon)
    return _difference(control, treated, shares, SHARE, outcome, level)


def restricted_mean_difference(
    control: Retention, treated: Retention, *, horizon: float, outcome: str, level: float = 0.95
) -> Estimate:
    """Treated minus control expected time retained within ``horizon`` time units, in time units.

    Needs no proportional hazards. Censoring must tell nothing about leaving, given the arm. Where units hang together,
    use ``restricted_mean_difference_clustered``.

    Source: Royston & Parmar (2013), Restricted mean survival time, BMC Med. Res. Meth. 13:152.

    Raises:
        ValueError: a horizon beyond either arm's follow-up, or fewer than ``FEWEST`` departures or stayers in an arm.
    """
    _checked(control, treated, horizon)
    means = control.mean(horizon), treated.mean(horizon)
    return _difference(control, treated, means, TIME, outcome, level)


def _clustered(
    duration: ArrayLike,
    left: ArrayLike,
    d: ArrayLike,
    cluster: ArrayLike,
    horizon: float,
    names: tuple[str, str],
    outcome: str,
    level: float,
) -> Estimate:
    times, gone, dose = np.asarray(duration, dtype=np.float64), np.asarray(left), np.asarray(d)
    if dose.shape != times.shape or not np.isin(dose, (0, 1)).all():
        raise ValueError(f"d: expected a 0 or 1 for each of {times.size} rows, got {np.unique(dose).tolist()[:5]}")
    sides = [dose == arm for arm in (0, 1)]
    arms = [Retention.of(times[side], gone[side]) for side in sides]
    _checked(*arms, horizon)
    parts = np.empty(times.size)
    for arm, side in zip(arms, sides, strict=True):
        parts[side] = arm.parts(times[side], gone[side], horizon, restricted=names is TIME)
    return clustered_effects(parts, dose, cluster).combine(
        [1.0], outcome=outcome, estimand=names[0], method=f"{names[1]}, clustered (CR2)", level=level
    )


def retention_difference_clustered(
    duration: ArrayLike,
    left: ArrayLike,
    d: ArrayLike,
    cluster: ArrayLike,
    *,
    horizon: float,
    outcome: str,
    level: float = 0.95,
) -> Estimate:
    """``retention_difference`` where units of a ``cluster`` (n,) hang together, assigned whole or not; counts clusters.

    ``duration``, ``left`` and ``d`` (n,) as in ``Retention.of`` and 0 or 1 for the arm. The difference in means of
    ``Retention.parts``: CR2 errors by cluster, t with Bell and McCaffrey's degrees of freedom.

    Raises:
        ValueError: as ``Retention.of`` and ``retention_difference``, or an arm other than 0 and 1.
        Refusal: fewer than five clusters of an arm.
    """
    return _clustered(duration, left, d, cluster, horizon, SHARE, outcome, level)


def restricted_mean_difference_clustered(
    duration: ArrayLike,
    left: ArrayLike,
    d: ArrayLike,
    cluster: ArrayLike,
    *,
    horizon: float,
    outcome: str,
    level: float = 0.95,
) -> Estimate:
    """``restricted_mean_difference`` where units of a ``cluster`` (n,) hang together; otherwise as its neighbour above.

    Raises:
        ValueError, Refusal: as ``retention_difference_clustered``.
    """
    return _clustered(duration, left, d, cluster, horizon, TIME, outcome, level)
