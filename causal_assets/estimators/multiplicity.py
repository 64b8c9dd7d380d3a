"""Several effects at once: adjusted p-values and the intervals that belong to them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf, isclose, ulp

import numpy as np

from causal_assets.estimators.inference import Floats, degrees_of_freedom
from causal_assets.types import Estimate

# An analysis that can be repeated at another level; its p-value is the same at all.
Analysis = Callable[[float], Estimate]
Family = Sequence[Estimate | Analysis]

# The open end of a set of all positive numbers: the next number after 0.
ABOVE_ZERO = ulp(0.0)


def at_level(estimate: Estimate, level: float) -> Estimate:
    """The same t or normal test inverted at another level, its df read from the interval; no relative interval.

    Raises:
        ValueError: an interval that is not value +- critical * std_error, or a p-value of another test.
    """
    from scipy.special import stdtr, stdtrit

    error, p = estimate.std_error, estimate.p_value
    if error is None or p is None or estimate.pieces or not 0 < error < inf:
        raise ValueError(
            f"{estimate.outcome}/{estimate.method}: not a t test; give the analysis as a function of level"
        )
    df = degrees_of_freedom(estimate)
    centred = isclose(estimate.high - estimate.value, estimate.value - estimate.low, rel_tol=1e-6)
    if not centred or not isclose(p, 2 * stdtr(df, -abs(estimate.value) / error), rel_tol=1e-4, abs_tol=1e-12):
        raise ValueError(
            f"{estimate.outcome}/{estimate.method}: not a t test; give the analysis as a function of level"
        )
    half = float(stdtrit(df, (1 + level) / 2)) * error
    return replace(
        estimate,
        low=estimate.value - half,
        high=estimate.value + half,
        level=level,
        relative_low=None,
        relative_high=None,
    )


def _again(member: Estimate | Analysis, level: float) -> Estimate:
    return at_level(member, level) if isinstance(member, Estimate) else member(level)


def _first(family: Family, level: float) -> tuple[list[Estimate], Floats]:
    """Every estimate at ``level`` and their p-values."""
    if not family or not 0.0 < level < 1.0:
        raise ValueError(f"family, level: expected estimates and a level in (0, 1), got {len(family)} and {level}")
    estimates = [_again(member, level) for member in family]
    if unpaired := [e.outcome for e in estimates if e.p_value is None]:
        raise ValueError(f"family: a posterior has no p-value to adjust, got {unpaired}")
    return estimates, np.array([e.p_value for e in estimates], dtype=np.float64)


def _adjusted(member: Estimate | Analysis, each: float, p_value: float, level: float, name: str) -> Estimate:
    """The estimate with its interval at level ``each``, under the family's level and adjusted p."""
    found = _again(member, each)
    return replace(found, p_value=float(min(p_value, 1.0)), level=level, method=f"{found.method}, {name}")


def bonferroni(family: Family, *, level: float = 0.95) -> list[Estimate]:
    """Intervals that all hold their effects at once with probability ``level``, and m p; any dependence.

    Members are estimates, or functions of the level that return one; the latter keep every kind of interval.

    Raises:
        ValueError: an empty family, a level outside (0, 1), an estimate without a p-value, or one that is not a t test.
    """
    _, p = _first(family, level)
    each = 1 - (1 - level) / len(p)
    return [_adjusted(m, each, len(p) * x, level, "Bonferroni") for m, x in zip(family, p, strict=True)]


def step_down(p: Floats) -> Floats:
    """Holm's adjusted p-values of p-values (k,), under any dependence. Source: as for ``holm``."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)).clip(max=1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return adjusted


def holm(family: Family, *, level: float = 0.95) -> list[Estimate]:
    """Holm's step-down test of each direction at half the error, with the intervals that belong to it.

    All intervals hold their effects at once with probability ``level``, and every rejection states a sign, under any
    dependence. What Holm rejects beyond Bonferroni it pays for in the interval: the end towards 0 of a rejected
    effect is 0 itself (excluded) as long as any other effect stands, so read sizes from ``bonferroni``. Where all
    rejected effects point the same way p-values are Holm's own; otherwise they may be larger. Members as there.

    Source: Holm (1979), Scand. J. Stat. 6(2); Strassburger & Bretz (2008), Compatible simultaneous lower confidence
    bounds for the Holm procedure, Stat. in Medicine 27(24); Guilbaud (2008), Biometrical J. 50(5).

    Raises:
        ValueError: as ``bonferroni``.
    """
    estimates, p = _first(family, level)
    alpha, positive = 1 - level, np.array([e.value > 0 for e in estimates])
    # One-sided p-values of the equal-tailed tests: against "not above 0" and against "not below 0".
    up, down = (step_down(np.where(side, p / 2, 1 - p / 2)) for side in (positive, ~positive))
    standing = [int((adjusted > alpha / 2).sum()) for adjusted in (up, down)]
    ends: list[list[tuple[float, float | None]]] = []
    for member, above, below in zip(family, up, down, strict=True):
        found = {left: _again(member, 1 - alpha / (left or len(p))) for left in set(standing)}
        ends.append(
            [
                _end(found[left], adjusted <= alpha / 2, left > 0, lower=lower)
                for adjusted, left, lower in zip((above, below), standing, (True, False), strict=True)
            ]
        )
    return [
        replace(
            e,
            low=low,
            high=high,
            relative_low=relative_low,
            relative_high=relative_high,
            p_value=float(min(1.0, 2 * min(above, below))),
            level=level,
            method=f"{e.method}, Holm",
        )
        for e, above, below, ((low, relative_low), (high, relative_high)) in zip(estimates, up, down, ends, strict=True)
    ]


def _end(found: Estimate, rejected: bool, others_stand: bool, *, lower: bool) -> tuple[float, float | None]:
    """One end of the interval and of the relative interval, which exists beside a positive control mean."""
    end, relative = (found.low, found.relative_low) if lower else (found.high, found.relative_high)
    if found.control_mean is None or found.control_mean <= 0:
        relative = None
    if not rejected:
        return end, relative
    open_end = ABOVE_ZERO if lower else -ABOVE_ZERO
    if others_stand:
        return open_end, None if relative is None else open_end
    away = max if lower else min
    return away(end, open_end), None if relative is None else away(relative, open_end)


def benjamini_hochberg(family: Family, *, level: float = 0.95) -> list[Estimate]:
    """Control of the expected share of false findings among the findings, and of false intervals around them.

    With R findings among m the intervals have level 1 - R (1 - level) / m: of the intervals around findings, on
    average at most 1 - level miss. It says nothing of the intervals of effects that are not found. Holds for
    independent or positively dependent tests. Members as for ``bonferroni``.

    Source: Benjamini & Hochberg (1995), JRSS B 57(1); Benjamini & Yekutieli (2005), False discovery rate-adjusted
    multiple confidence intervals for selected parameters, JASA 100(469).

    Raises:
        ValueError: as ``bonferroni``.
    """
    _, p = _first(family, level)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * p.size / np.arange(1, p.size + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    found = max(int((adjusted <= 1 - level).sum()), 1)
    each = 1 - found * (1 - level) / p.size
    return [_adjusted(member, each, x, level, "Benjamini-Hochberg") for member, x in zip(family, adjusted, strict=True)]
