"""Synthetic difference-in-differences: donors weighted to move like the treated, periods to be like those after.

No cluster: errors are of whole series left out or put in the treated's place; add up a cluster's series beforehand.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from causal_assets.estimators.inference import Floats
from causal_assets.estimators.placebo_space import groups_of_units
from causal_assets.estimators.simplex import Mask, simplex_weights
from causal_assets.estimators.synthetic_control import Panel, set_estimate
from causal_assets.types import Estimate

# Unit weights are shrunk by the noise of one period; period weights only as much as makes them unique.
PERIOD_SHRINKAGE = 1e-6
# With fewer treated units the jackknife has too few terms; the placebo variance then assumes that treated and untreated
# units are equally noisy.
JACKKNIFE_FROM = 10
PLACEBOS = 200
# First differences smaller than this share of the donors' spread are rounding.
STILL = 1e-9


@dataclass(frozen=True, eq=False)
class SyntheticDid:
    """``effect``, unit weights (donors,) and period weights (pre,)."""

    effect: float
    units: Floats
    periods: Floats


def fit_synthetic_did(panel: Panel) -> SyntheticDid:
    """Weighted 2x2 difference: (treated - weighted donors) after, less the same over weighted periods before.

    Unit weights are a simplex fit with an intercept and penalty zeta^2 pre |w|^2, where zeta is (treated cells)^(1/4)
    standard deviations of the donors' first differences; period weights are one, with an intercept, of the mean after.

    Source: Arkhangelsky, Athey, Hirshberg, Imbens & Wager (2021), Synthetic difference-in-differences, AER 111(12),
    algorithm 1; solved to the optimum, where the authors' Frank-Wolfe stops early.

    Raises:
        ValueError: donors that move in step before the treatment, all by the same amount.
    """
    effects, units, periods = _fits(panel.y, panel.treated[None], (~panel.treated)[None], panel.pre, _noise(panel))
    return SyntheticDid(float(effects[0]), units[0, ~panel.treated], periods[0])


def _noise(panel: Panel) -> tuple[float, float]:
    """Variance of the donors' first differences before treatment, and zeta^2 of the unit weights."""
    before = panel.y[~panel.treated, : panel.pre]
    variance = float(np.diff(before, axis=1).var(ddof=1))
    if variance <= (STILL * np.ptp(before)) ** 2:
        raise ValueError("y: the donors move in step before the treatment, there is no noise to shrink by")
    treated_cells = int(panel.treated.sum()) * (panel.y.shape[1] - panel.pre)
    return variance, sqrt(treated_cells) * variance


def _fits(
    y: Floats, treated: Mask, donors: Mask, pre: int, noise: tuple[float, float]
) -> tuple[Floats, Floats, Floats]:
    """Effects (g,), unit weights (g, n) and period weights (g, pre) with each of g groups (g, n) taken as treated.

    All groups share one Gram matrix of units; each has one of periods, over its own donors.
    """
    variance, shrinkage = noise
    z = y - y[0]  # weights sum to one: what all units share changes nothing but digits
    z = z - z.mean(axis=0)
    target = treated / treated.sum(axis=1, keepdims=True) @ z
    before, goal = (s[:, :pre] - s[:, :pre].mean(axis=1, keepdims=True) for s in (z, target))
    units = simplex_weights(
        before @ before.T + shrinkage * pre * np.eye(len(y)),
        goal @ before.T,
        allowed=donors,
        start=donors / donors.sum(axis=1, keepdims=True),
    )
    # periods: least squares over a group's donors, each period around the donors' mean and the mean of all before
    counts = donors.sum(axis=1)
    across = np.concatenate([z[:, :pre], z[:, pre:].mean(axis=1, keepdims=True)], axis=1)
    across = across - across[:, :pre].mean(axis=1, keepdims=True)
    means = donors @ across / counts[:, None]
    products = np.einsum("gn,ns,nt->gst", donors.astype(np.float64), across, across, optimize=True)
    products = products - counts[:, None, None] * means[:, :, None] * means[:, None, :]
    gram = products[:, :pre, :pre] + (PERIOD_SHRINKAGE**2 * variance * counts)[:, None, None] * np.eye(pre)
    periods = simplex_weights(gram, products[:, :pre, pre])
    gaps = target - units @ z
    return gaps[:, pre:].mean(axis=1) - (periods * gaps[:, :pre]).sum(axis=1), units, periods


def synthetic_did(
    panel: Panel, *, outcome: str, level: float = 0.95, seed: int = 0, placebos: int = PLACEBOS
) -> Estimate:
    """Effect on the treated with a normal interval; errors by jackknife from 10 treated units on, else by placebos.

    The jackknife leaves out one unit at a time with the weights kept (algorithm 3). The placebo variance (algorithm 4)
    is that of the effect on groups of donors of the treated group's size: all such groups where there are at most
    ``placebos``, else as many drawn by ``seed``; it holds only if treated and untreated units are equally noisy.

    Source: as ``fit_synthetic_did``.

    Raises:
        ValueError: as ``fit_synthetic_did``; a level outside (0, 1); or too few donors for placebos of the treated
            group's size.
    """
    from scipy.stats import norm

    if not 0.0 < level < 1.0:
        raise ValueError(f"{outcome}: level must lie strictly between 0 and 1, got {level}")
    found = fit_synthetic_did(panel)
    size = int(panel.treated.sum())
    if size >= JACKKNIFE_FROM:
        error, how = _jackknife(panel, found), "jackknife error"
    else:
        error, how = _placebo_error(panel, seed, placebos), "placebo error, equal noise in all units assumed"
    if not error > 0:
        raise ValueError(f"{outcome}: the effect needs a positive variance, got {error}; is the outcome constant?")
    half = float(norm.ppf((1 + level) / 2)) * error
    return set_estimate(
        panel,
        outcome=outcome,
        method=f"synthetic difference-in-differences, {how}",
        value=found.effect,
        pieces=[(found.effect - half, found.effect + half)],
        p_value=float(2 * norm.sf(abs(found.effect) / error)),
        level=level,
        std_error=error,
    )


def _jackknife(panel: Panel, found: SyntheticDid) -> float:
    """Effects without each unit in turn, weights kept and brought back to sum to one.

    Raises:
        ValueError: one donor carries all the weight.
    """
    if found.units.max() > 1 - 1e-9:
        raise ValueError(f"treated: all weight is on {panel.donors[found.units.argmax()]}, no donor can be left out")
    pre = panel.pre
    change = panel.y[:, pre:].mean(axis=1) - panel.y[:, :pre] @ found.periods
    treated, donors = change[panel.treated], change[~panel.treated]
    synthetic = found.units @ donors
    without_treated = (treated.sum() - treated) / (treated.size - 1) - synthetic
    without_donor = treated.mean() - (synthetic - found.units * donors) / (1 - found.units)
    effects = np.concatenate([without_treated, without_donor])
    return sqrt((effects.size - 1) * effects.var())


def _placebo_error(panel: Panel, seed: int, placebos: int) -> float:
    donors, size = panel.y[~panel.treated], int(panel.treated.sum())
    if len(donors) < size + 2:
        raise ValueError(
            f"treated: placebos of {size} treated units need at least {size + 2} donors, got {len(donors)}"
        )
    groups = groups_of_units(np.arange(len(donors)) < size, placebos, seed)
    effects, _, _ = _fits(donors, groups, ~groups, panel.pre, _noise(panel))
    return float(effects.std(ddof=1))
