"""How an effect moves with the time since exposure: period by period, summed up, fading or growing."""

from collections.abc import Sequence
from math import inf

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.inference import Floats
from causal_assets.estimators.joint import JointEffects, t_estimate
from causal_assets.types import Estimate

# Rates are searched up to exp(-20) per shortest step: what fades faster is gone after one period.
FASTEST = 20.0
RATES = 2_001


def per_period(effects: JointEffects, *, outcomes: Sequence[str], level: float = 0.95) -> tuple[Estimate, ...]:
    """The effect in each period, each with its own interval (not adjusted for looking at several periods).

    Raises:
        ValueError: another number of names than periods, or a period without variance.
    """
    if len(outcomes) != effects.value.size:
        raise ValueError(f"outcomes: expected {effects.value.size} names, got {len(outcomes)}")
    return tuple(
        effects.combine(row, outcome=name, estimand="ATE", method="difference in means by period", level=level)
        for name, row in zip(outcomes, np.eye(len(outcomes)), strict=True)
    )


def cumulative(effects: JointEffects, *, outcome: str, level: float = 0.95) -> Estimate:
    """The sum of all periods' effects; periods of one unit are correlated, and the error counts that.

    Raises:
        ValueError: an effect without variance.
    """
    return effects.combine(
        np.ones_like(effects.value),
        outcome=outcome,
        estimand="cumulative ATE",
        method="sum of the effects by period",
        level=level,
    )


def _times(effects: JointEffects, period: ArrayLike, fewest: int) -> Floats:
    """Time since the first period, (k,)."""
    times = np.asarray(period, dtype=np.float64)
    if times.shape != effects.value.shape:
        raise ValueError(f"period: expected {effects.value.size} times, got shape {times.shape}")
    if times.size < fewest:
        raise ValueError(f"period: a course over time needs at least {fewest} periods, got {times.size}")
    if not np.isfinite(times).all() or not (np.diff(times) > 0).all():
        raise ValueError(f"period: times must be finite and increase, got {times.tolist()}")
    return times - times[0]


def _whitener(effects: JointEffects) -> Floats:
    """Matrix (k, k) under which the effects' errors are independent with variance 1."""
    spread = np.sqrt(np.diag(effects.cov))
    if not (spread > 0).all():
        raise ValueError(f"effects: periods {np.flatnonzero(spread == 0).tolist()} have no variance")
    correlation = effects.cov / np.outer(spread, spread)
    if np.linalg.eigvalsh(correlation)[0] < 1e-10:
        raise ValueError("effects: a period is a sum or a copy of others; give each period's own outcome")
    return np.linalg.inv(np.linalg.cholesky(correlation)) / spread


def trend(effects: JointEffects, period: ArrayLike, *, outcome: str, level: float = 0.95) -> Estimate:
    """Change of the effect per unit of time, by generalised least squares on the effects: novelty if below 0.

    A slope of 0 is what a lasting effect has; also the test of no decay in ``decay_rate``.

    Degrees of freedom are those of the smallest source of error.

    Source: Aitken (1936), On least squares and linear combination of observations, Proc. R. Soc. Edinb. 55.

    Raises:
        ValueError: fewer than 2 periods, times that do not increase, or periods that are sums of others.
    """
    times = _times(effects, period, 2)
    whiten = _whitener(effects)
    design = whiten @ np.column_stack([np.ones_like(times), times])
    weight = (np.linalg.pinv(design) @ whiten)[1]
    return t_estimate(
        outcome=outcome,
        estimand="change of the effect per period",
        method="linear trend by generalised least squares",
        value=float(weight @ effects.value),
        variance=float(weight @ effects.cov @ weight),
        df=min(df for _, df in effects.parts),
        level=level,
        n_treated=effects.n_treated,
        n_control=effects.n_control,
    )


def decay_rate(effects: JointEffects, period: ArrayLike, *, outcome: str, level: float = 0.95) -> Estimate:
    """Rate r of an effect that goes a * exp(-r t): 0 lasts, above 0 fades, below 0 grows; ln 2 / r is its half-life.

    The set holds each r at which the direction in which the curve would bend, t exp(-r t), adds nothing to the fit (a
    score test). It is exact whatever the size a, hence unbounded where the effect is too weak to tell its course, and
    may have several pieces. At r = 0 the test is that of ``trend``. The value minimises the weighted squared distance.

    Source: Kleibergen (2005), Testing parameters in GMM without assuming that they are identified, Econometrica 73(4).

    Raises:
        ValueError: fewer than 3 periods, times that do not increase, periods that are sums of others, or effects that
            follow no exponential at any rate.
    """
    from scipy.optimize import brentq, minimize_scalar
    from scipy.stats import t

    times = _times(effects, period, 3)
    whiten = _whitener(effects)
    y = whiten @ effects.value
    df = min(d for _, d in effects.parts)

    def fit(rate: ArrayLike) -> tuple[Floats, Floats]:
        """Score statistics and weighted squared distances (m,) at m rates."""
        rates = np.atleast_1d(np.asarray(rate, dtype=np.float64))
        since = times[:, None] - np.where(rates >= 0, 0.0, times[-1])  # the largest point of each curve is 1
        curve = np.exp(-rates * since)
        bend = since * curve
        g, h = whiten @ curve, whiten @ (bend / np.abs(bend).max(axis=0))
        size = (g**2).sum(axis=0)
        left = y[:, None] - g * (y @ g / size)
        direction = h - g * ((g * h).sum(axis=0) / size)
        return (direction * left).sum(axis=0) / np.sqrt((direction**2).sum(axis=0)), (left**2).sum(axis=0)

    if not 0.0 < level < 1.0:
        raise ValueError(f"{outcome}: level must lie strictly between 0 and 1, got {level}")
    critical = float(t.ppf((1 + level) / 2, df))
    fastest = FASTEST / np.diff(times).min()
    grid = fastest * np.linspace(-1, 1, RATES) ** 3  # finest around 0
    best = int(fit(grid)[1].argmin())
    around = grid[max(best - 1, 0)], grid[min(best + 1, RATES - 1)]
    value = float(minimize_scalar(lambda r: fit(r)[1][0], bounds=around, method="bounded", options={"xatol": 1e-12}).x)
    grid = np.sort(np.append(grid, value))  # the set around the value may be narrower than a step
    inside = np.abs(fit(grid)[0]) <= critical
    turns = np.flatnonzero(inside[1:] != inside[:-1])
    edges = [float(brentq(lambda r: abs(fit(r)[0][0]) - critical, grid[i], grid[i + 1], xtol=1e-12)) for i in turns]
    edges = [*([-inf] if inside[0] else []), *edges, *([inf] if inside[-1] else [])]
    pieces = tuple(zip(edges[::2], edges[1::2], strict=True))
    if not any(low <= value <= high for low, high in pieces):
        raise ValueError(f"{outcome}: the effects {effects.value.tolist()} follow no exponential course")
    return Estimate(
        outcome=outcome,
        estimand="decay rate of the effect",
        method="exponential decay, score test",
        value=value,
        std_error=None,
        low=pieces[0][0],
        high=pieces[-1][1],
        p_value=float(2 * t.sf(abs(fit(0.0)[0][0]), df)),
        level=level,
        n_treated=effects.n_treated,
        n_control=effects.n_control,
        control_mean=None,
        pieces=pieces if len(pieces) > 1 else (),
    )
