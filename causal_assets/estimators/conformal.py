"""Conformal inference for one treated series: permute blocks of residuals in time, invert the test exactly.

No cluster: the reference is time, in which blocks keep what hangs together; units are only weighted.
"""

from itertools import pairwise
from typing import Literal, get_args

import numpy as np

from causal_assets.estimators.inference import Floats
from causal_assets.estimators.inversion import TIE, Pieces, confidence_set, inside
from causal_assets.estimators.simplex import RIDGE, simplex_weights
from causal_assets.estimators.synthetic_control import Method, Panel, centred, fit, set_estimate
from causal_assets.types import Estimate

Statistic = Literal["mean", "absolute"]

# A working set of donors is left behind by this share of the outcome's spread, so that the next one is found.
NUDGE = 1e-9
# An effect of more spreads than this is infinite: a slope that small is rounding.
FAR = 1e8
# Each donor enters and leaves the path a few times at most.
PIECES_PER_DONOR = 50


def conformal(
    panel: Panel, method: Method, *, outcome: str, level: float = 0.95, statistic: Statistic = "mean"
) -> Estimate:
    """Mean effect on the treated, with every constant effect that a permutation test over blocks of time accepts.

    To test an effect theta it is taken off the treated periods, the weights are found anew on *all* periods, and the
    treated block's residuals are compared with those of every block of the same length, the end of time joined to its
    beginning: by the size of their mean, or by their mean size (``statistic="absolute"``, which also rejects where the
    effect is not constant, as GeoLift does). Neighbouring periods stay together, so the test is exact for stationary
    residuals of any dependence as periods grow; permutations of single periods are not. p is at least 1 / periods.

    The residuals are piecewise linear in theta: the weights are followed from one working set of donors to the next,
    and p can change only where two lines cross, so the set is exact, without a grid. It may be unbounded, or a union
    (``pieces``) which need not hold the value; 0 is in the pieces exactly when p > 1 - level. The value is that of
    ``fit``, matched before treatment only; ``std_error`` is None; the ridge penalty is held fixed. One simplex fit per
    working set on the path; memory is O(periods^2) for each.

    Source: Chernozhukov, Wuethrich & Zhu (2021), An exact and robust conformal inference method for counterfactual and
    synthetic controls, JASA 116(536), with moving-block permutations.

    Raises:
        ValueError: a level outside (0, 1); an unknown statistic; treated periods that are half of all or more, so that
            no two blocks are apart; or a set that is empty or lies to one side of the value.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"{outcome}: level must lie strictly between 0 and 1, got {level}")
    if statistic not in get_args(Statistic):
        raise ValueError(f"statistic: expected one of {get_args(Statistic)}, got {statistic!r}")
    periods = panel.y.shape[1]
    block = periods - panel.pre
    if 2 * block >= periods:
        raise ValueError(f"pre: a block test needs more periods before treatment than after, got {panel.pre}, {block}")
    value = fit(panel, method).effect
    p_value, pieces = invert(*residual_path(panel, method), block=block, level=level, statistic=statistic)
    if not pieces or not pieces[0][0] <= value <= pieces[-1][1]:
        raise ValueError(
            f"{outcome}: the effect of {value:.4g} that the fit before treatment gives is outside the {level:.0%} "
            f"conformal set {pieces}: no constant effect explains the series; try a shorter window or a placebo test"
        )
    by = "size of the mean" if statistic == "mean" else "mean size"
    return set_estimate(
        panel,
        outcome=outcome,
        method=f"{method.name}, conformal test over blocks of {block} in {periods} periods by {by} "
        f"(p at least {1 / periods:.2g})",
        value=value,
        pieces=pieces,
        p_value=p_value,
        level=level,
    )


def residual_path(panel: Panel, method: Method) -> tuple[Floats, Floats, Floats]:
    """Residuals of all periods after an effect theta is taken off and the weights refitted, for every theta.

    Returns ``knots`` (s + 1,), rising from -inf to inf, and ``level``, ``slope`` (s, periods): between knots k and
    k + 1 the residuals are ``level[k] + theta * slope[k]``.
    """
    donors, periods = ~panel.treated, panel.y.shape[1]
    z = centred(panel.y, donors, periods, method.demeaned)
    x, y = z[donors], z[panel.treated].mean(axis=0)
    shift = (np.arange(periods) >= panel.pre).astype(np.float64)
    shift = shift - shift.mean() if method.demeaned else shift
    ends = np.stack([y, shift])

    if method.weights == "uniform":
        stretches = [(-np.inf, np.inf, np.full((2, len(x)), 1 / len(x)) * [[1.0], [0.0]])]
    else:
        stretches = _weight_path(x @ x.T, ends @ x.T, spread=float(np.ptp(y) + np.ptp(x)))
    knots = np.array([stretches[0][0], *(high for _, high, _ in stretches)])
    # weights are W0 + theta W1 and the target is y - theta shift
    coefficients = np.stack([w for _, _, w in stretches])
    lines = ends * np.array([[1.0], [-1.0]]) - coefficients @ x
    if method.ridge is not None:
        # x is centred over donors, so the penalised fit of what is left adds weights that sum to zero
        hat = x.T @ np.linalg.solve(x @ x.T + method.ridge * np.eye(len(x)), x)
        lines = lines - lines @ hat
    return knots, lines[:, 0], lines[:, 1]


def _weight_path(gram: Floats, linear: Floats, spread: float) -> list[tuple[float, float, Floats]]:
    """Simplex weights for the target ``linear[0] - theta linear[1]`` as lines in theta.

    Returns stretches (low, high, coefficients (2, n)) over the whole line, weights ``c[0] + theta c[1]``.
    """
    step, far = NUDGE * spread, FAR * spread
    start = _solve(gram, linear, 0.0, None)
    here = _stretch(gram, linear, start, 0.0, far)
    found = {0: here}
    for direction in (-1, 1):
        stretch, weights, k, nudge = here, start, 0, step
        edge = stretch[1] if direction > 0 else stretch[0]
        while np.isfinite(edge):
            theta = edge + direction * nudge
            weights = _solve(gram, linear, theta, weights)
            low, high, coefficients = _stretch(gram, linear, weights, theta, far)
            beyond = high if direction > 0 else low
            if direction * (beyond - theta) <= 0:  # rounding: the working set holds nowhere beyond; look further on
                nudge *= 10
                continue
            k, nudge = k + direction, step
            found[k] = (edge, beyond, coefficients) if direction > 0 else (beyond, edge, coefficients)
            edge = beyond
            if len(found) > PIECES_PER_DONOR * (len(gram) + 10):
                raise ArithmeticError(f"the path of the weights did not end after {len(found)} pieces")
    return [found[k] for k in sorted(found)]


def _solve(gram: Floats, linear: Floats, theta: float, start: Floats | None) -> Floats:
    target = linear[0] - theta * linear[1]
    return simplex_weights(gram, target[None], start=None if start is None else start[None])[0]


def _stretch(gram: Floats, linear: Floats, weights: Floats, theta: float, far: float) -> tuple[float, float, Floats]:
    """The line that the weights follow while their donors stay the same, and from where to where they do."""
    n = len(weights)
    scale = float(np.trace(gram)) / n or 1.0
    linear = linear / scale
    held = np.flatnonzero(weights > 0)
    out = np.flatnonzero(weights <= 0)
    k = held.size
    quadratic = gram / scale + RIDGE * np.eye(n)
    system = np.zeros((k + 1, k + 1))
    system[:k, :k] = quadratic[np.ix_(held, held)]
    system[k, :k] = system[:k, k] = 1.0
    right = np.zeros((k + 1, 2))
    right[:k, 0], right[:k, 1], right[k, 0] = linear[0, held], -linear[1, held], 1.0
    solution = np.linalg.solve(system, right)
    lines = np.zeros((2, n))
    lines[:, held] = solution[:k].T
    # reduced gradients of the donors left out: gram w - linear + multiplier, also lines in theta
    reduced = lines @ quadratic - linear * np.array([[1.0], [-1.0]]) + solution[k][:, None]
    bounds = np.concatenate([lines[:, held], reduced[:, out]], axis=1)
    slope = bounds[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        zero = -bounds[0] / slope
    rising, falling = (slope > 0) & (np.abs(zero) < far), (slope < 0) & (np.abs(zero) < far)
    low, high = zero[rising].max(initial=-np.inf), zero[falling].min(initial=np.inf)
    return float(min(low, theta)), float(max(high, theta)), lines


def invert(
    knots: Floats, level_of: Floats, slope_of: Floats, *, block: int, level: float, statistic: Statistic
) -> tuple[float, Pieces]:
    """P-value of theta = 0 and the pieces of {theta: p(theta) > 1 - level}, for residuals as from ``residual_path``.

    The statistic of the last ``block`` periods is compared with that of all cyclic blocks.
    """
    lows, highs, a, b = knots[:-1], knots[1:], level_of, slope_of
    if statistic == "absolute":
        lows, highs, a, b = _split_at_signs(knots, a, b)
        sign = np.sign(a + inside(lows, highs)[:, None] * b)
        a, b = a * sign, b * sign
    # every block's sum is a line in theta now, and p can change only where one meets plus or minus the treated block's
    flat, steep = _block_sums(a, block), _block_sums(b, block)
    with np.errstate(divide="ignore", invalid="ignore"):
        roots = np.stack([-(flat + s * flat[:, -1:]) / (steep + s * steep[:, -1:]) for s in (-1, 1)], axis=1)
    here = (roots > lows[:, None, None]) & (roots < highs[:, None, None])

    def p_values(theta: Floats) -> Floats:
        k = np.clip(np.searchsorted(knots, theta, side="right") - 1, 0, len(level_of) - 1)
        residuals = level_of[k] + theta[:, None] * slope_of[k]
        sums = np.abs(_block_sums(np.abs(residuals) if statistic == "absolute" else residuals, block))
        return (sums >= sums[:, -1:] * (1 - TIE)).mean(axis=1)

    return confidence_set(p_values, np.concatenate([roots[here], lows]), level=level)


def _split_at_signs(knots: Floats, a: Floats, b: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Stretches on which no residual changes its sign: lows, highs and the lines of each."""
    with np.errstate(divide="ignore", invalid="ignore"):
        zeros = -a / b
    lows, highs, stretch = [], [], []
    for k, (low, high) in enumerate(pairwise(knots.tolist())):
        inner = np.unique(zeros[k][(zeros[k] > low) & (zeros[k] < high)])
        lows.append(np.concatenate([[low], inner]))
        highs.append(np.concatenate([inner, [high]]))
        stretch.append(np.full(inner.size + 1, k))
    which = np.concatenate(stretch)
    return np.concatenate(lows), np.concatenate(highs), a[which], b[which]


def _block_sums(values: Floats, block: int) -> Floats:
    """Sums (s, t) over cyclic blocks; the last column is the last ``block`` periods."""
    total = np.cumsum(np.concatenate([values[:, -block:], values], axis=1), axis=1)
    return total[:, block:] - total[:, :-block]
