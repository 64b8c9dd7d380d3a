"""Placebo in space: would units that were not treated have shown the same gap?"""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from math import comb

import numpy as np

from causal_assets.estimators.inference import Floats
from causal_assets.estimators.inversion import TIE, Pieces, confidence_set
from causal_assets.estimators.simplex import Mask
from causal_assets.estimators.synthetic_control import Method, Panel, centred, donor_weights, set_estimate
from causal_assets.types import Estimate

# (donors,) weights of a panel's donors, in the order of its units.
WeightsOf = Callable[[Panel], Floats]
# All groups of placebo units are tried where there are no more than this many, else as many are drawn.
GROUPS = 1_000
# A pre-period fit better than this share of the series' spread is exact: gaps in units of it mean nothing.
EXACT_FIT = 1e-6


def placebo_in_space(
    panel: Panel,
    method: Method,
    *,
    outcome: str,
    level: float = 0.95,
    seed: int = 0,
    groups: int = GROUPS,
    weights_of: WeightsOf | None = None,
) -> Estimate:
    """Mean effect on the treated, with every constant effect whose gap is not too large among placebo gaps.

    To test an effect theta it is taken off the treated units. Each group of as many units is then treated in turn,
    with all others as donors, and its statistic is |mean gap after| / RMSPE before; p is the share of groups, the true
    one included, that reach the statistic of the true one. The true group's series, less theta, serves as a donor too:
    the test is symmetric in the units and hence exact if the treated were chosen at random, whatever the method. p is
    at least 1 / groups: with fewer than 19 donors of one treated unit a 5% test can never reject, and the set is the
    whole line.

    A placebo's gap is a line in theta and so is the treated gap, hence the set is exact; it always holds the value,
    and may be unbounded or a union (``pieces``). ``std_error`` is None. Where there are more than ``groups`` groups,
    that many are drawn by ``seed``. All fits are one batch on one Gram matrix: memory O(groups n). ``weights_of`` finds
    the donors' weights of a panel in another way (from predictors, say), one panel at a time; they may depend on
    outcomes before the treatment only.

    Sources: Abadie, Diamond & Hainmueller (2010), JASA 105(490); Firpo & Possebom (2018), J. Causal Inference 6(2), for
    the inversion.

    Raises:
        ValueError: a level outside (0, 1), fewer than one group, a treated or placebo group of all units, or an exact
            fit of the treated before the treatment.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"{outcome}: level must lie strictly between 0 and 1, got {level}")
    members = groups_of_units(panel.treated, groups, seed)
    level_of, slope_of, rmspe = placebo_gaps(panel, method, members, weights_of)
    if rmspe[0] <= EXACT_FIT * float(np.ptp(panel.y[:, : panel.pre])):
        raise ValueError(
            f"pre: {panel.pre} periods before treatment are fitted exactly by {len(panel.donors)} donors, so gaps "
            "after it cannot be compared with gaps before it; give more periods or fewer donors"
        )
    p_value, pieces = invert(level_of, slope_of, rmspe, level=level)
    tried = "all" if comb(len(panel.units), int(panel.treated.sum())) == len(members) else "drawn"
    return set_estimate(
        panel,
        outcome=outcome,
        method=f"{method.name}, placebo in space over {len(members)} groups, {tried} "
        f"(p at least {1 / len(members):.2g})",
        value=float(level_of[0]),
        pieces=pieces,
        p_value=p_value,
        level=level,
    )


def groups_of_units(treated: Mask, most: int, seed: int) -> Mask:
    """Groups (g, n) of as many units as are treated, the treated group first, none twice."""
    n, size = treated.size, int(treated.sum())
    if most < 2:
        raise ValueError(f"groups: expected at least 2, got {most}")
    truth = tuple(np.flatnonzero(treated).tolist())
    if comb(n, size) <= most:
        chosen = [truth, *(g for g in combinations(range(n), size) if g != truth)]
    else:
        rng, drawn = np.random.default_rng(seed), {truth: None}
        while len(drawn) < most:
            drawn[tuple(sorted(rng.choice(n, size, replace=False).tolist()))] = None
        chosen = list(drawn)
    members = np.zeros((len(chosen), n), dtype=bool)
    members[np.arange(len(chosen))[:, None], np.array(chosen)] = True
    return members


def placebo_gaps(
    panel: Panel, method: Method, members: Mask, weights_of: WeightsOf | None = None
) -> tuple[Floats, Floats, Floats]:
    """Of each group: mean gap after treatment as ``level + theta * slope`` (g,), theta off the treated, and RMSPE."""
    everyone = np.ones(len(panel.units), dtype=bool)
    z = centred(panel.y, everyone, panel.pre, method.demeaned)
    share = members / members.sum(axis=1, keepdims=True)
    before = z[:, : panel.pre]
    if weights_of is None:
        contrast = share - donor_weights(before, share @ before, method, allowed=~members)
    else:
        contrast = share.copy()
        for row, group in zip(contrast, members, strict=True):
            row[~group] = -weights_of(replace(panel, treated=group))
    after = z[:, panel.pre :].mean(axis=1)
    rmspe = np.sqrt(((contrast @ before) ** 2).mean(axis=1))
    return contrast @ after, -contrast @ panel.treated.astype(np.float64), rmspe


def invert(level_of: Floats, slope_of: Floats, rmspe: Floats, *, level: float) -> tuple[float, Pieces]:
    """P-value of theta = 0 and the pieces of {theta: p(theta) > 1 - level}; the first group is the treated one.

    Group j counts against rejection where |level_j + theta slope_j| rmspe_0 >= |level_0 - theta| rmspe_j, which changes
    only where one of the two lines meets plus or minus the other.
    """
    a, b = level_of * rmspe[0], slope_of * rmspe[0]
    c, d = level_of[0] * rmspe, -1.0 * rmspe

    def p_values(theta: Floats) -> Floats:
        placebo, treated = np.abs(a + theta[:, None] * b), np.abs(c + theta[:, None] * d)
        return (placebo >= treated * (1 - TIE)).mean(axis=1)

    with np.errstate(divide="ignore", invalid="ignore"):
        roots = np.concatenate([(c - a)[1:] / (b - d)[1:], -(c + a)[1:] / (b + d)[1:]])
    return confidence_set(p_values, np.append(roots, level_of[0]), level=level)
