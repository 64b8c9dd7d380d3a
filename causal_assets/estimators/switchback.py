"""Treatment switched on and off over blocks of time: one assignment is a unit's block, not a row.

The unit is the cluster: its blocks share an error; units that hang together are added up into one beforehand.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.inference import Floats, estimate
from causal_assets.estimators.randomization import randomization_test
from causal_assets.types import Estimate

# A leverage this near 1 leaves a block no residual, hence no say in the variance.
SATURATED = 1 - 1e-9
# Blocks that must follow one of either arm for a comparison of them to say anything.
FEWEST_FOLLOWING = 10
# Residuals below this share of the largest outcome are rounding.
ROUNDING = 1e-14


@dataclass(frozen=True, eq=False)
class Blocks:
    """One row per assigned block, sorted by unit and block: mean outcome after burn-in, arm and unit, each (b,)."""

    mean: Floats
    treated: NDArray[np.bool_]
    unit: NDArray[np.intp]


def block_means(
    y: ArrayLike, d: ArrayLike, unit: ArrayLike, period: ArrayLike, block: ArrayLike, *, burn_in: int
) -> Blocks:
    """Mean outcome of each block of a unit (region, market) without its first ``burn_in`` periods.

    Rows (n,) are unit-periods: ``y`` outcome, ``d`` 0 or 1, ``period`` numbers in order of time, ``block`` labels of
    what was assigned at once within a unit (such as the day, or the hours of a shift). What treatment still does after
    a switch, up to ``burn_in`` periods, then falls outside the comparison; every block loses them, whatever ran before
    it, so that what is dropped does not depend on treatment. Blocks count equally.

    Raises:
        ValueError: lengths that differ, NaN or infinite outcomes, arms other than 0 and 1, a unit twice in a period, a
            block with both arms or split by another, a negative burn-in, or a block not longer than it.
    """
    outcomes, arms, times = (np.asarray(a, dtype=np.float64) for a in (y, d, period))
    units, blocks = np.unique(np.asarray(unit), return_inverse=True)[1], np.asarray(block)
    if outcomes.ndim != 1 or len({outcomes.shape, arms.shape, times.shape, units.shape, blocks.shape}) > 1:
        raise ValueError(f"y, d, unit, period, block: expected one length, got {outcomes.shape}, {arms.shape}")
    if not np.isfinite(outcomes).all() or not np.isfinite(times).all():
        raise ValueError("y, period: may not be NaN or infinite")
    if set(np.unique(arms)) != {0.0, 1.0}:
        raise ValueError(f"d: expected both 0 and 1 and nothing else, got {np.unique(arms).tolist()[:5]}")
    if burn_in < 0:
        raise ValueError(f"burn_in: periods dropped after a switch, at least 0, got {burn_in}")
    order = np.lexsort((times, units))
    outcomes, arms, times, units, blocks = outcomes[order], arms[order], times[order], units[order], blocks[order]
    same_unit = units[1:] == units[:-1]
    if (same_unit & (times[1:] == times[:-1])).any():
        raise ValueError("period: a unit has two rows in one period")
    starts = np.flatnonzero(np.r_[True, ~same_unit | (blocks[1:] != blocks[:-1])])
    cell = np.repeat(np.arange(starts.size), np.diff(np.r_[starts, outcomes.size]))
    if len(set(zip(units[starts].tolist(), blocks[starts].tolist(), strict=True))) < starts.size:
        raise ValueError("block: a block of a unit is split by another block")
    if (arms != arms[starts][cell]).any():
        raise ValueError(f"d: {np.unique(cell[arms != arms[starts][cell]]).size} blocks hold both arms")
    kept = np.arange(outcomes.size) - starts[cell] >= burn_in
    size = np.bincount(cell[kept], minlength=starts.size)
    if size.min() == 0:
        raise ValueError(f"burn_in: {int((size == 0).sum())} blocks have no period after the first {burn_in}")
    pilot = outcomes.mean()
    mean = pilot + np.bincount(cell[kept], weights=outcomes[kept] - pilot, minlength=starts.size) / size
    return Blocks(mean, arms[starts] == 1, units[starts])


def _mixed(blocks: Blocks) -> tuple[Blocks, str]:
    """The blocks of units that had both arms, the only ones that compare anything, and a word on those left out."""
    share = np.bincount(blocks.unit, weights=blocks.treated) / np.bincount(blocks.unit)
    mixed = (share > 0) & (share < 1)
    if not mixed.any():
        raise ValueError(f"d: none of {mixed.size} units has both treated and untreated blocks")
    kept = mixed[blocks.unit]
    unit = np.unique(blocks.unit[kept], return_inverse=True)[1]
    note = "" if mixed.all() else f", {int((~mixed).sum())} of {mixed.size} units with only one arm left out"
    return Blocks(blocks.mean[kept], blocks.treated[kept], unit), note


def switchback(blocks: Blocks, *, outcome: str, level: float = 0.95) -> Estimate:
    """Effect of having the treatment on, by least squares of block means on treatment with a level for each unit.

    Errors are by block, HC2 with Bell-McCaffrey degrees of freedom: the block is what was assigned, so that its periods
    never count as independent. Right where blocks were randomised independently within units and what carries over ends
    within the burn-in; autocorrelation between blocks then does no harm. A unit weighs by its blocks times the variance
    of their treatment, w; ``control_mean`` is the mean of its control blocks, weighted by w; counts are blocks. Units
    with one arm only are left out, and the method says so. Time and memory O(blocks).

    Sources: Bojinov, Simchi-Levi & Zhao (2023), Design and analysis of switchback experiments, Mgmt. Sci. 69(7); Bell &
    McCaffrey (2002), Survey Methodology 28(2).

    Raises:
        ValueError: no unit with both arms, a block that the model fits exactly whatever its outcome, or no variance.
    """
    blocks, note = _mixed(blocks)
    unit, dose = blocks.unit, blocks.treated.astype(np.float64)
    pilot = blocks.mean.mean()
    y, n = blocks.mean - pilot, np.bincount(unit).astype(np.float64)
    x = dose - (np.bincount(unit, weights=dose) / n)[unit]
    square = x @ x
    controls = np.bincount(unit, weights=1 - dose)
    share = np.bincount(unit, weights=x**2) / square
    rows = np.stack([(1 - dose) * (share / controls)[unit], x / square])  # control mean and effect are rows @ y
    control_mean, value = rows @ y
    residual = y - value * x - (np.bincount(unit, weights=y) / n)[unit]
    leverage = 1 / n[unit] + x**2 / square
    if leverage.max() > SATURATED:
        raise ValueError(f"block: {dose.size} blocks in {n.size} units are too few, some are fitted exactly")
    if not np.abs(residual).max() > ROUNDING * np.abs(blocks.mean).max():
        raise ValueError(f"{outcome}: zero variance within units and arms, nothing can be tested")
    cov = (rows * (residual**2 / (1 - leverage))) @ rows.T
    return estimate(
        outcome=outcome,
        estimand="ATE of being switched on",
        method=f"switchback, errors by block{note}",
        value=value,
        control_mean=pilot + control_mean,
        cov=cov,
        df=_bell_mccaffrey(rows[1] ** 2 / (1 - leverage), leverage, x / np.sqrt(square), unit, n),
        level=level,
        n_treated=int(dose.sum()),
        n_control=int((1 - dose).sum()),
    )


def _bell_mccaffrey(weight: Floats, leverage: Floats, direction: Floats, unit: NDArray[np.intp], n: Floats) -> float:
    """Degrees of freedom of sum(weight e^2) for residuals e = M u: tr(WM)^2 / tr(WMWM).

    M = I - QQ' with Q the unit dummies over sqrt(n) and ``direction``, so that tr(WMWM) needs only Q'WQ.
    """
    own = np.bincount(unit, weights=weight) / n
    cross = np.bincount(unit, weights=weight * direction) / np.sqrt(n)
    corner = weight @ direction**2
    traces = weight**2 @ (1 - 2 * leverage) + own @ own + 2 * (cross @ cross) + corner**2
    return float((weight @ (1 - leverage)) ** 2 / traces)


def switchback_test(blocks: Blocks, *, outcome: str, draws: int = 9_999, seed: int, level: float = 0.95) -> Estimate:
    """The same question by replaying the assignment of blocks within units; for few blocks.

    Units weigh by their blocks. See ``randomization.randomization_test`` for what is raised.
    """
    blocks, note = _mixed(blocks)
    result = randomization_test(
        blocks.mean,
        blocks.treated,
        np.arange(blocks.mean.size),
        stratum=blocks.unit,
        outcome=outcome,
        draws=draws,
        seed=seed,
        level=level,
    )
    return replace(result, estimand="ATE of being switched on", method=f"switchback, {result.method}{note}")


def carry_over(blocks: Blocks, effect: float, *, outcome: str, level: float = 0.95) -> Estimate | None:
    """Effect of the arm of a unit's block before, on block means less ``effect`` where the treatment is on.

    Which arm ran before is as random as which runs now, and independent of it. None where fewer than ten blocks follow
    one of either arm. Errors as in ``switchback``.

    Raises:
        ValueError: as ``switchback``.
    """
    after = np.flatnonzero(blocks.unit[1:] == blocks.unit[:-1]) + 1
    before = blocks.treated[after - 1]
    if min(before.sum(), (~before).sum()) < FEWEST_FOLLOWING:
        return None
    left = blocks.mean[after] - effect * blocks.treated[after]
    found = switchback(Blocks(left, before, blocks.unit[after]), outcome=outcome, level=level)
    return replace(found, estimand="effect of the block before")
