"""How far an event study leans on parallel trends: sensitivity, a linear trend taken out, the pre-test's power."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np

from causal_assets.estimators.event_study import EventStudy
from causal_assets.estimators.inference import Floats, Refusal
from causal_assets.types import Estimate

# Violations beyond this multiple of the largest one before adoption are not searched for.
LARGEST_MULTIPLE = 10.0
# Halvings of a bracket: a millionth of it is more than anybody reads.
BISECTIONS = 20
# A normal this many errors from zero is never on its other side.
FAR = 10.0


@dataclass(frozen=True)
class PreTrend:
    """The pre-trend test, what it could have seen, and how large a violation the claim survives."""

    p_value: float  # of no trend and no other effect before adoption
    power: float  # of the test against a linear trend that would produce half the estimate
    breakdown: float  # multiple of the largest violation before adoption that the claim survives; 0 without a claim
    bend: float  # change of the drift's slope from period to period that the claim survives; 0 without a claim
    claimed: bool  # the effect's interval excludes the threshold if trends are parallel


def pre_trend(study: EventStudy, *, threshold: float = 0.0, level: float = 0.95) -> PreTrend:
    """Judge the average effect after adoption against ``threshold``, the effect that the decision asks for.

    Power is against the slope whose bias, averaged over the periods after adoption, is half the estimate, or half the
    smallest estimate its own interval would tell from zero, whichever is larger.

    Raises:
        ValueError: fewer than two periods before adoption or none after, or covariances that were not computed.
    """
    from scipy.stats import norm

    _, after = sides(study)
    weight = np.full(len(after), 1 / len(after))
    value = float(weight @ study.coef[after])
    error = float(np.sqrt(weight @ study.cov[np.ix_(after, after)] @ weight))
    distance = np.array(study.relative, dtype=np.float64) - study.reference
    critical = float(norm.ppf((1 + level) / 2))
    slope = max(abs(value), critical * error) / 2 / (weight @ distance[after])
    return PreTrend(
        *pre_test(study, slope=slope, level=level),
        breakdown=breakdown(study, weight, threshold=threshold, level=level),
        bend=breakdown_bend(study, weight, threshold=threshold, level=level),
        claimed=abs(value - threshold) > critical * error,
    )


def pre_test(study: EventStudy, *, slope: float, level: float = 0.95) -> tuple[float, float]:
    """P-value that nothing moves before adoption, and power against a drift of ``slope`` a period.

    Two tests, p by Bonferroni: that all effects before adoption are zero, and that they follow no line. The second sees
    the trend that is feared far better than a test against everything, so that power is its own, a little understated.

    Raises:
        ValueError: as ``pre_trend``.
    """
    from scipy.stats import norm, t

    before, _ = sides(study)
    line = np.array(study.relative, dtype=np.float64)[before] - study.reference
    inverse = np.linalg.pinv(study.cov[np.ix_(before, before)], hermitian=True)
    information = float(line @ inverse @ line)
    z = float(line @ inverse @ study.coef[before]) / sqrt(information)
    p_value = min(1.0, 2 * min(study.pre_trend()[2], float(2 * t.sf(abs(z), study.df))))
    shift, critical = slope * sqrt(information), float(t.ppf((3 + level) / 4, study.df))
    return p_value, float(norm.sf(critical - shift) + norm.cdf(-critical - shift))


def breakdown(study: EventStudy, weight: Floats, *, threshold: float = 0.0, level: float = 0.95) -> float:
    """Largest Mbar for which the effect's interval still excludes ``threshold``, at most 10; 0 where none does.

    From one period to the next the treated may drift from the controls by Mbar times the largest such drift before
    adoption. ``weight`` (q,) averages the q effects after adoption. Where drifts d_s before adoption bound the bias by
    Mbar C max|d_s|, C = sum over s of |sum of weights from s on|, the threshold is excluded if effect - threshold
    exceeds +-Mbar C d_s significantly for every s and sign: an intersection-union test, which holds its level with the
    noise of the d_s and their covariance with the effect in it, and is conservative where several d_s are alike.

    Source: Rambachan & Roth (2023), A more credible approach to parallel trends, REStud 90(5), restriction RM; Berger
    (1982), Multiparameter hypothesis testing and acceptance sampling, Technometrics 24(4).

    Raises:
        ValueError: as ``pre_trend``.
    """
    return _largest(lambda m: relative_bounds(study, weight, m, level=level), LARGEST_MULTIPLE, threshold)


def _largest(bounds: Callable[[float], tuple[float, float]], most: float, threshold: float) -> float:
    """Largest violation up to ``most`` whose bounds, wider for larger ones, do not hold the threshold; 0 where none."""

    def excluded(violation: float) -> bool:
        low, high = bounds(violation)
        return not low <= threshold <= high

    if excluded(most):
        return most
    low, high = 0.0, most
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if excluded(middle) else (low, middle)
    return low


def relative_bounds(study: EventStudy, weight: Floats, multiple: float, *, level: float = 0.95) -> tuple[float, float]:
    """Every effect that ``breakdown``'s test accepts where drifts are up to ``multiple`` times the largest before.

    The lower end is the lowest of effect - multiple C d_s less its own error, over all drifts s and signs; the upper
    end likewise. Multiple 0 gives the interval under parallel trends.

    Raises:
        ValueError: as ``pre_trend``; a negative multiple.
    """
    from scipy.stats import norm

    if not multiple >= 0:
        raise ValueError(f"multiple: expected 0 or more, got {multiple}")
    before, after = sides(study)
    target = np.zeros(len(study.relative))
    target[after] = weight
    # Drifts between neighbouring periods before adoption, the reference (0) among them.
    drifts = np.zeros((len(before), len(study.relative)))
    for s, k in enumerate(before):
        drifts[s, k] = -1.0
        if s + 1 < len(before):
            drifts[s, before[s + 1]] = 1.0
    reach = float(np.abs(np.cumsum(np.asarray(weight)[::-1])).sum())
    contrasts = target - multiple * reach * np.concatenate([drifts, -drifts])
    centre = contrasts @ study.coef
    error = np.sqrt(np.maximum(((contrasts @ study.cov) * contrasts).sum(axis=1), 0.0))
    critical = float(norm.ppf((1 + level) / 2))
    return float((centre - critical * error).min()), float((centre + critical * error).max())


def smooth_bounds(study: EventStudy, weight: Floats, bend: float, *, level: float = 0.95) -> tuple[float, float]:
    """The effect's interval where the slope of the drift changes by at most ``bend`` from one period to the next.

    The drift is read off a line through the reference and the last h periods before it and taken on to the periods
    after (generalised least squares). Such a contrast is blind to lines; its largest bias is ``bend`` times the sum of
    what it makes of a kink in each period, and the interval is as long as the folded normal asks. Of all h the shortest
    interval is taken; that choice depends on the covariance alone, so the level is kept. At ``bend`` 0 it is
    ``detrended``'s, but for the normal quantile.

    Source: Rambachan & Roth (2023), restriction SD(M); Armstrong & Kolesar (2018), Optimal inference in a class of
    regression models, Econometrica 86(2).

    Raises:
        ValueError: as ``pre_trend``; a negative bend.
    """
    if not bend >= 0:
        raise ValueError(f"bend: expected 0 or more, got {bend}")
    before, _ = sides(study)
    intervals = []
    for h in range(1, len(before) + 1):
        contrast = _less_a_line(study, weight, before[-h:])
        error = sqrt(contrast @ study.cov @ contrast)
        half = error * _folded_quantile(bend * _kinks(study, contrast) / error, level)
        intervals.append((half, float(contrast @ study.coef)))
    half, value = min(intervals)
    return value - half, value + half


def breakdown_bend(study: EventStudy, weight: Floats, *, threshold: float = 0.0, level: float = 0.95) -> float:
    """Largest ``bend`` whose ``smooth_bounds`` exclude ``threshold``, at most 10 times the effect; 0 where none do.

    Raises:
        ValueError: as ``pre_trend``.
    """
    _, after = sides(study)
    most = LARGEST_MULTIPLE * abs(float(weight @ study.coef[after]) - threshold)
    return _largest(lambda bend: smooth_bounds(study, weight, bend, level=level), most, threshold)


def _less_a_line(study: EventStudy, weight: Floats, near: list[int]) -> Floats:
    """Weights (K,) of the average effect less the line through the reference and the periods ``near`` before it."""
    _, after = sides(study)
    distance = np.array(study.relative, dtype=np.float64) - study.reference
    inverse = np.linalg.pinv(study.cov[np.ix_(near, near)], hermitian=True)
    line = distance[near]
    slope = inverse @ line / (line @ inverse @ line)  # weights of the fitted slope
    cross = weight @ study.cov[np.ix_(after, near)] @ inverse  # the effect given the periods before
    contrast = np.zeros(len(study.relative))
    contrast[after] = weight
    contrast[near] = -cross - (weight @ distance[after] - cross @ line) * slope
    return contrast


def _kinks(study: EventStudy, contrast: Floats) -> float:
    """Largest value of a contrast, blind to lines, on drifts whose second differences are at most 1 in size.

    A drift that is 0 at the reference is a line plus kinks: max(t - s, 0) for every s from the reference on, max(s - t,
    0) for every s before it.
    """
    distance = np.array(study.relative, dtype=np.float64) - study.reference
    bends = [
        np.maximum(distance - s, 0.0) if s >= 0 else np.maximum(s - distance, 0.0)
        for s in range(int(distance.min()) + 1, int(distance.max()))
    ]
    return float(np.abs(np.array(bends) @ contrast).sum())


def _folded_quantile(shift: float, level: float) -> float:
    """The ``level`` quantile of |N(shift, 1)|."""
    from scipy.special import chndtrix, ndtri

    if shift > FAR:
        return shift + float(ndtri(level))
    return sqrt(float(chndtrix(level, 1, shift**2)))


def detrended(study: EventStudy, weight: Floats, *, outcome: str, level: float = 0.95) -> Estimate:
    """The average effect if the arms drift apart along a straight line, fitted to the periods before adoption.

    Best linear unbiased under that drift: generalised least squares with the full covariance. It is the bound on second
    differences at M = 0.

    Source: Rambachan & Roth (2023), restriction SD(0).

    Raises:
        ValueError: as ``pre_trend``.
    """
    from scipy.stats import t

    before, _ = sides(study)
    contrast = _less_a_line(study, weight, before)
    value = float(contrast @ study.coef)
    error = float(np.sqrt(contrast @ study.cov @ contrast))
    critical = float(t.ppf((1 + level) / 2, study.df))
    return Estimate(
        outcome=outcome,
        estimand="ATT, average after adoption",
        method="event study less a linear trend",
        value=value,
        std_error=error,
        low=value - critical * error,
        high=value + critical * error,
        p_value=float(2 * t.sf(abs(value) / error, study.df)),
        level=level,
        n_treated=study.n_treated,
        n_control=study.n_control,
        control_mean=None,
    )


def sides(study: EventStudy) -> tuple[list[int], list[int]]:
    """Indices before the reference and after it."""
    if not study.joint:
        raise ValueError("study: the full covariance of the event study is needed, not only its errors")
    before = [k for k, when in enumerate(study.relative) if when < study.reference]
    after = [k for k, when in enumerate(study.relative) if when > study.reference]
    if not before or not after:
        raise Refusal("relative: 2 periods before adoption and 1 after are needed, with a universal base period")
    return before, after
