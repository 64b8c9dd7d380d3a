"""What an event study shows before adoption, where nothing should: an effect at an earlier date, or just ahead of it.

Both are weighted sums of the effects before adoption against one universal base, with their full covariance. The
untreated units alone say whether the error is honest: none of them has an effect, whoever is called treated.
"""

from math import sqrt

import numpy as np

from causal_assets.estimators.event_study import EventStudy
from causal_assets.estimators.inference import Floats, Refusal
from causal_assets.estimators.parallel_trends import sides
from causal_assets.types import Estimate

PLACEBOS = 499
# Fewer untreated units than this make no two groups whose difference is near normal.
FEWEST_UNTREATED = 20


def placebo_in_time(study: EventStudy, *, outcome: str, level: float = 0.95) -> Estimate:
    """The average effect had adoption been earlier, from the periods before adoption only.

    The made-up date leaves as many periods after it as there are after adoption, but no more than half of those before
    adoption; as at the true date, effects are against the period before it.

    Raises:
        ValueError: as ``parallel_trends.pre_trend``.
    """
    before, after = sides(study)
    counted = min(len(after), (len(before) + 1) // 2)
    # The reference, 0 by definition, is the last of the periods counted.
    contrast = np.zeros(len(study.relative))
    contrast[before[len(before) + 1 - counted :]] = 1 / counted
    contrast[before[len(before) - counted]] = -1.0
    return _estimate(study, contrast, f"ATT of an adoption {counted} periods earlier", outcome, level)


def anticipation(study: EventStudy, *, outcome: str, level: float = 0.95) -> Estimate:
    """How far the last period before adoption lies off those before it: what the treated did ahead of time.

    The earlier periods are averaged with the weights that make the error smallest (generalised least squares).

    Raises:
        ValueError: as ``parallel_trends.pre_trend``.
    """
    before, _ = sides(study)
    inverse = np.linalg.pinv(study.cov[np.ix_(before, before)], hermitian=True)
    contrast = np.zeros(len(study.relative))
    contrast[before] = -inverse.sum(axis=0) / inverse.sum()
    return _estimate(study, contrast, "difference of the last period before adoption", outcome, level)


def _estimate(study: EventStudy, contrast: Floats, estimand: str, outcome: str, level: float) -> Estimate:
    from scipy.stats import t

    value, error = float(contrast @ study.coef), sqrt(max(contrast @ study.cov @ contrast, 0.0))
    if not error > 0:
        raise Refusal(f"{outcome}: nothing varies before adoption")
    half = float(t.ppf((1 + level) / 2, study.df)) * error
    return Estimate(
        outcome=outcome,
        estimand=estimand,
        method="event study before adoption",
        value=value,
        std_error=error,
        low=value - half,
        high=value + half,
        p_value=float(2 * t.sf(abs(value) / error, study.df)),
        level=level,
        n_treated=study.n_treated,
        n_control=study.n_control,
        control_mean=None,
    )


def rejections_among_untreated(
    change: Floats, treated: int, *, level: float = 0.95, draws: int = PLACEBOS, seed: int = 0
) -> float:
    """Share of made-up treated groups among untreated units whose difference in mean ``change`` (n,) is significant.

    Each of ``draws`` groups has as many units as are ``treated``, at most half of the untreated. Nothing happened to
    any of them, so the share is 1 - level if a normal interval is honest for outcomes like these.

    Raises:
        Refusal: fewer than 20 untreated units, or fewer than two treated.
    """
    from scipy.stats import norm

    n = change.size
    size = min(treated, n // 2)
    if n < FEWEST_UNTREATED or size < 2:
        raise Refusal(f"placebo: {n} untreated and {treated} treated units are too few for made-up groups")
    order = np.random.default_rng(seed).random((draws, n)).argsort(axis=1)
    drawn = (change - change.mean())[order]
    chosen, rest = drawn[:, :size], drawn[:, size:]
    error = np.sqrt(chosen.var(axis=1, ddof=1) / size + rest.var(axis=1, ddof=1) / (n - size))
    z = np.abs(chosen.mean(axis=1) - rest.mean(axis=1)) / np.maximum(error, np.finfo(float).tiny)
    return float((z > norm.ppf((1 + level) / 2)).mean())
