"""How far an event study leans on parallel trends: sensitivity, a linear trend taken out, the pre-test's power."""

from dataclasses import dataclass

import numpy as np

from causal_assets.estimators.event_study import EventStudy
from causal_assets.estimators.inference import Floats, Refusal
from causal_assets.types import Estimate

# Violations beyond this multiple of the largest one before adoption are not searched for.
LARGEST_MULTIPLE = 10.0


@dataclass(frozen=True)
class PreTrend:
    """The pre-trend test, what it could have seen, and how large a violation the claim survives."""

    p_value: float
    power: float  # of the test against a linear trend that would produce half the estimate
    breakdown: float  # multiple of the largest violation before adoption that the claim survives; 0 without a claim
    claimed: bool  # the effect's interval excludes the threshold if trends are parallel


def pre_trend(study: EventStudy, *, threshold: float = 0.0, level: float = 0.95) -> PreTrend:
    """Judge the average effect after adoption against ``threshold``, the effect that the decision asks for.

    Power is against the slope whose bias, averaged over the periods after adoption, is half the estimate, or half the
    smallest estimate its own interval would tell from zero, whichever is larger.

    Raises:
        ValueError: fewer than two periods before adoption or none after, or covariances that were not computed.
    """
    from scipy.stats import chi2, ncx2, norm

    from causal_assets.estimators.moments import pseudo_inverse

    _, rank, p_value = study.pre_trend()
    before, after = _sides(study)
    weight = np.full(len(after), 1 / len(after))
    value = float(weight @ study.coef[after])
    error = float(np.sqrt(weight @ study.cov[np.ix_(after, after)] @ weight))
    distance = np.array(study.relative, dtype=np.float64) - study.reference
    critical = float(norm.ppf((1 + level) / 2))
    slope = max(abs(value), critical * error) / 2 / (weight @ distance[after])
    inverse, _ = pseudo_inverse(study.cov[np.ix_(before, before)])
    trend = slope * distance[before]
    power = float(ncx2.sf(chi2.ppf(level, rank), rank, trend @ inverse @ trend))
    claimed = abs(value - threshold) > critical * error
    return PreTrend(p_value, power, breakdown(study, weight, threshold=threshold, level=level), claimed)


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
    from scipy.stats import norm

    before, after = _sides(study)
    target = np.zeros(len(study.relative))
    target[after] = weight
    # Drifts between neighbouring periods before adoption, the reference (0) among them.
    drifts = np.zeros((len(before), len(study.relative)))
    for s, k in enumerate(before):
        drifts[s, k] = -1.0
        if s + 1 < len(before):
            drifts[s, before[s + 1]] = 1.0
    reach = float(np.abs(np.cumsum(np.asarray(weight)[::-1])).sum())
    critical = float(norm.ppf((1 + level) / 2))
    sign = 1.0 if target @ study.coef >= threshold else -1.0

    def excluded(multiple: float) -> bool:
        for drift in (*drifts, *-drifts):
            contrast = sign * target - multiple * reach * drift
            error = np.sqrt(max(contrast @ study.cov @ contrast, 0.0))
            if contrast @ study.coef - sign * threshold <= critical * error:
                return False
        return True

    if not excluded(0.0):
        return 0.0
    if excluded(LARGEST_MULTIPLE):
        return LARGEST_MULTIPLE
    low, high = 0.0, LARGEST_MULTIPLE
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if excluded(middle) else (low, middle)
    return low


def detrended(study: EventStudy, weight: Floats, *, outcome: str, level: float = 0.95) -> Estimate:
    """The average effect if the arms drift apart along a straight line, fitted to the periods before adoption.

    Best linear unbiased under that drift: generalised least squares with the full covariance. It is the bound on second
    differences at M = 0.

    Source: Rambachan & Roth (2023), restriction SD(0).

    Raises:
        ValueError: as ``pre_trend``.
    """
    from scipy.stats import t

    before, after = _sides(study)
    distance = np.array(study.relative, dtype=np.float64) - study.reference
    inverse = np.linalg.pinv(study.cov[np.ix_(before, before)], hermitian=True)
    line = distance[before]
    slope = inverse @ line / (line @ inverse @ line)  # weights of the fitted slope
    cross = weight @ study.cov[np.ix_(after, before)] @ inverse  # the effect given the periods before
    contrast = np.zeros(len(study.relative))
    contrast[after] = weight
    contrast[before] = -cross - (weight @ distance[after] - cross @ line) * slope
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


def _sides(study: EventStudy) -> tuple[list[int], list[int]]:
    """Indices before the reference and after it."""
    if not study.joint:
        raise ValueError("study: the full covariance of the event study is needed, not only its errors")
    before = [k for k, when in enumerate(study.relative) if when < study.reference]
    after = [k for k, when in enumerate(study.relative) if when > study.reference]
    if not before or not after:
        raise Refusal("relative: 2 periods before adoption and 1 after are needed, with a universal base period")
    return before, after
