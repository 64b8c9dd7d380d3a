"""A treated unit against the weighted average of untreated ones that moved like it before: the panel and the fit."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.inference import Floats
from causal_assets.estimators.simplex import Mask, simplex_weights
from causal_assets.types import Estimate

# Candidate penalties of the ridge augmentation run from the largest squared singular value of the donors' pre-period
# outcomes down to this share of it, evenly on the log scale, as in augsynth.
SMALLEST_RIDGE = 1e-8
RIDGES = 21


@dataclass(frozen=True, eq=False)
class Panel:
    """Outcomes ``y`` (n, t) of ``units`` over ``periods``; those ``treated`` (n,) are so from period number ``pre`` on.

    Raises:
        ValueError: a NaN or infinite outcome, shapes or labels that do not fit, fewer than 2 periods before the
            treatment or none after it, no treated unit, fewer than 2 donors, treated or donor series that are constant
            before the treatment (a constant donor among others is allowed: it is a level like any other).
    """

    y: Floats
    treated: Mask
    pre: int
    units: tuple[str, ...]
    periods: tuple

    def __post_init__(self) -> None:
        n, t = self.y.shape
        if (n, n, t) != (self.treated.size, len(self.units), len(self.periods)):
            raise ValueError(f"y: expected {len(self.units)} units x {len(self.periods)} periods, got {self.y.shape}")
        if not np.isfinite(self.y).all():
            bad = [self.units[i] for i in np.flatnonzero(~np.isfinite(self.y).all(axis=1))]
            raise ValueError(f"y: outcomes may not be NaN or infinite, units {bad[:5]} have such")
        if self.pre < 2:
            raise ValueError(f"pre: a fit needs at least 2 periods before the treatment, got {self.pre} of {t}")
        if self.pre >= t:
            raise ValueError(f"pre: an effect needs at least 1 treated period, got {self.pre} of {t} before it")
        if not self.treated.any():
            raise ValueError("treated: no unit is treated")
        if (~self.treated).sum() < 2:
            raise ValueError(f"treated: a synthetic control needs at least 2 donors, got {int((~self.treated).sum())}")
        constant = np.ptp(self.y[:, : self.pre], axis=1) == 0
        for name, group in (("treated unit", self.treated), ("donor", ~self.treated)):
            if constant[group].all():
                raise ValueError(f"y: every {name} is constant before the treatment, there is no movement to match")

    @classmethod
    def of(
        cls,
        unit: ArrayLike,
        period: ArrayLike,
        y: ArrayLike,
        *,
        treated: Iterable,
        start: object,
        donors: Iterable | None = None,
    ) -> Self:
        """Panel from long rows (m,): one row per unit and period, in any order.

        ``treated`` units are treated from period ``start`` on; all others are donors, or ``donors`` only.

        Raises:
            ValueError: as the class; also lengths that differ, a unit and period twice or missing, a treated or donor
                unit without rows, a unit that is both, a start outside the periods.
        """
        names, when, values = np.asarray(unit).astype(str), np.asarray(period), np.asarray(y, dtype=np.float64)
        if not names.shape == when.shape == values.shape or names.ndim != 1:
            raise ValueError(f"unit, period, y: lengths must agree, got {names.shape}, {when.shape}, {values.shape}")
        given = [str(u) for u in treated]
        pool = [str(u) for u in donors] if donors is not None else sorted(set(names.tolist()) - set(given))
        if unknown := sorted((set(given) | set(pool)) - set(names.tolist())):
            raise ValueError(f"treated, donors: no rows of {unknown[:5]}; the units are {sorted(set(names))[:9]} ...")
        if both := sorted(set(given) & set(pool)):
            raise ValueError(f"donors: {both[:5]} are treated")
        kept = np.isin(names, [*given, *pool])
        units, row = np.unique(names[kept], return_inverse=True)
        periods, column = np.unique(when[kept], return_inverse=True)
        cells = np.bincount(row * periods.size + column, minlength=units.size * periods.size)
        for count, fault in ((cells > 1, "more than one row"), (cells == 0, "no row: the panel must be balanced")):
            if count.any():
                i, j = divmod(int(np.flatnonzero(count)[0]), periods.size)
                raise ValueError(
                    f"unit, period: {int(count.sum())} cells, first {units[i]} at {periods[j]}, have {fault}"
                )
        grid = np.empty((units.size, periods.size))
        grid[row, column] = values[kept]
        if not periods[0] < start <= periods[-1]:
            raise ValueError(f"start: expected a period after {periods[0]} and up to {periods[-1]}, got {start}")
        return cls(
            y=grid,
            treated=np.isin(units, given),
            pre=int((periods < start).sum()),
            units=tuple(units.tolist()),
            periods=tuple(periods.tolist()),
        )

    @property
    def donors(self) -> tuple[str, ...]:
        """Labels of the untreated units, in the order of their weights."""
        return tuple(u for u, d in zip(self.units, self.treated, strict=True) if not d)

    @property
    def mean_treated(self) -> Floats:
        """(t,) mean outcome of the treated units."""
        return self.y[self.treated].mean(axis=0)

    def without(self, *units: str) -> Self:
        """The panel without some units."""
        kept = ~np.isin(self.units, units)
        return replace(
            self,
            y=self.y[kept],
            treated=self.treated[kept],
            units=tuple(u for u, k in zip(self.units, kept, strict=True) if k),
        )

    def earlier(self, periods: int, *, ends: int = 0) -> Self:
        """Made-up treatment of the last ``periods`` before the treatment, less the ``ends`` very last of them.

        Raises:
            ValueError: as the class; fewer than 2 periods before the made-up one.
        """
        last = self.pre - ends
        return replace(self, y=self.y[:, :last], pre=last - periods, periods=self.periods[:last])

    def outside(self, *, demeaned: bool) -> int:
        """Periods before the treatment in which the mean of the treated is outside the range of the donors."""
        z = centred(self.y, ~self.treated, self.pre, demeaned)[:, : self.pre]
        target, donors = z[self.treated].mean(axis=0), z[~self.treated]
        return int(((target < donors.min(axis=0)) | (target > donors.max(axis=0))).sum())

    def one_by_one(self) -> dict[str, Self]:
        """One panel per treated unit, each beside all donors."""
        treated = [u for u, d in zip(self.units, self.treated, strict=True) if d]
        return {unit: self.without(*(other for other in treated if other != unit)) for unit in treated}


@dataclass(frozen=True, kw_only=True)
class Method:
    """How the weights are found.

    ``demeaned`` subtracts each unit's own mean over the fitted periods first (a fixed effect per unit). ``ridge`` is
    the penalty, in squared outcomes, of the augmentation that corrects what the simplex weights leave unmatched; None
    for no augmentation. ``weights="uniform"`` weighs all donors alike; demeaned, this is difference-in-differences.
    """

    demeaned: bool = False
    ridge: float | None = None
    weights: Literal["simplex", "uniform"] = "simplex"

    def __post_init__(self) -> None:
        if self.ridge is not None and not self.ridge > 0:
            raise ValueError(f"ridge: expected a positive penalty or None, got {self.ridge}")
        if self.weights not in ("simplex", "uniform"):
            raise ValueError(f"weights: expected 'simplex' or 'uniform', got {self.weights!r}")

    @property
    def name(self) -> str:
        """As printed beside an estimate."""
        if self.weights == "uniform":
            plain = "difference-in-differences of group means" if self.demeaned else "difference of group means"
        else:
            plain = "demeaned synthetic control" if self.demeaned else "synthetic control"
        return plain if self.ridge is None else f"ridge-augmented {plain}"


@dataclass(frozen=True, eq=False)
class Fit:
    """Weights (donors,), gaps (t,) between treated and synthetic series, and how well they match before treatment.

    ``effect`` is the mean gap after the treatment started; ``l2`` the root of the summed squared gaps before it, and
    ``scaled_l2`` the same as a share of what equal weights leave; ``rmspe`` the root mean squared gap before it.
    """

    weights: Floats
    gaps: Floats
    effect: float
    l2: float
    scaled_l2: float
    rmspe: float


def centred(y: Floats, donors: Mask, fitted: int, demeaned: bool) -> Floats:
    """Series (n, t) less the donors' mean of each period, and less their own mean over the first ``fitted`` periods.

    Weights that sum to one are the same for centred series, and so are gaps; digits are kept.
    """
    z = y - y[0]
    z = z - z[donors].mean(axis=0)
    return z - z[:, :fitted].mean(axis=1, keepdims=True) if demeaned else z


def donor_weights(x: Floats, targets: Floats, method: Method, allowed: Mask | None = None) -> Floats:
    """Weights (b, n) of donors' series ``x`` (n, k) for ``targets`` (b, k), all centred.

    ``allowed`` (b, n) says who may be a donor of whom.
    """
    may = np.ones((len(targets), len(x)), dtype=bool) if allowed is None else allowed
    if method.weights == "uniform":
        weights = may / may.sum(axis=1, keepdims=True)
    else:
        weights = simplex_weights(x @ x.T, targets @ x.T, allowed=may)
    return weights if method.ridge is None else weights + _augmentation(x, targets, weights, may, method.ridge)


def _augmentation(x: Floats, targets: Floats, weights: Floats, may: Mask, ridge: float) -> Floats:
    """What ridge regression on the donors adds to the weights (b, n) to reach the targets; sums to zero.

    Source: Ben-Michael, Feller & Rothstein (2021), The augmented synthetic control method, JASA 116(536), eq. 11.
    """
    added = np.zeros_like(weights)
    for pool in np.unique(may, axis=0):
        rows = (may == pool).all(axis=1)
        donors = x[pool] - x[pool].mean(axis=0)
        missed = targets[rows] - weights[rows] @ x
        system = donors @ donors.T + ridge * np.eye(len(donors))
        added[np.ix_(rows, pool)] = np.linalg.solve(system, donors @ missed.T).T
    return added


def fit(panel: Panel, method: Method) -> Fit:
    """Synthetic control of the mean of the treated units, matched on all periods before the treatment.

    Memory is O(n t + n^2) for n donors and t periods.

    Source: Abadie, Diamond & Hainmueller (2010), JASA 105(490), with equal weights on all pre-period outcomes.
    """
    donors, pre = ~panel.treated, panel.pre
    z = centred(panel.y, donors, pre, method.demeaned)
    target = z[panel.treated].mean(axis=0)
    return fit_of(z[donors], target, pre, donor_weights(z[donors, :pre], target[None, :pre], method)[0])


def fit_of(donors: Floats, target: Floats, pre: int, weights: Floats) -> Fit:
    """The Fit of given weights to a target series (t,) and donors' series (n, t)."""
    gaps = target - weights @ donors
    l2, naive = float(np.linalg.norm(gaps[:pre])), float(np.linalg.norm((target - donors.mean(axis=0))[:pre]))
    return Fit(
        weights=weights,
        gaps=gaps,
        effect=float(gaps[pre:].mean()),
        l2=l2,
        scaled_l2=l2 / naive if naive else 1.0,
        rmspe=l2 / pre**0.5,
    )


def leave_one_out(panel: Panel, method: Method) -> dict[str, float]:
    """Effect without each donor that has weight, in one batch on one Gram matrix.

    Raises:
        ValueError: fewer than 3 donors.
    """
    donors, pre = ~panel.treated, panel.pre
    if donors.sum() < 3:
        raise ValueError(f"donors: leaving one out needs at least 3, got {int(donors.sum())}")
    z = centred(panel.y, donors, pre, method.demeaned)
    x, target = z[donors], z[panel.treated].mean(axis=0)
    used = np.flatnonzero(donor_weights(x[:, :pre], target[None, :pre], method)[0])
    allowed = np.arange(len(x)) != used[:, None]
    weights = donor_weights(x[:, :pre], np.tile(target[:pre], (used.size, 1)), method, allowed)
    effects = (target - weights @ x)[:, pre:].mean(axis=1)
    return {panel.donors[j]: float(effect) for j, effect in zip(used, effects, strict=True)}


def choose_ridge(panel: Panel, *, demeaned: bool = False) -> float:
    """The largest penalty whose error in predicting one left-out pre-period is within one standard error of the best.

    Every pre-period is left out in turn and the augmented weights found on the others: T0 simplex fits and T0 times 21
    ridge solutions from one eigendecomposition each.

    Source: Ben-Michael, Feller & Rothstein (2021), sec. 5.3, with augsynth's grid and one-standard-error rule.

    Raises:
        ValueError: fewer than 3 periods before the treatment.
    """
    donors, pre = ~panel.treated, panel.pre
    if pre < 3:
        raise ValueError(f"pre: choosing a penalty needs at least 3 periods before the treatment, got {pre}")
    z = centred(panel.y, donors, pre, demeaned)[:, :pre]
    x, target = z[donors], z[panel.treated].mean(axis=0)
    grid = np.linalg.norm(x, 2) ** 2 * np.geomspace(1.0, SMALLEST_RIDGE, RIDGES)
    errors = np.empty((pre, RIDGES))
    for left_out in range(pre):
        kept = np.arange(pre) != left_out
        weights = donor_weights(x[:, kept], target[None, kept], Method())[0]
        values, vectors = np.linalg.eigh(x[:, kept] @ x[:, kept].T)
        missed = vectors.T @ (x[:, kept] @ (target[kept] - weights @ x[:, kept]))
        added = (missed / (np.maximum(values, 0.0) + grid[:, None])) @ (vectors.T @ x[:, left_out])
        errors[left_out] = target[left_out] - weights @ x[:, left_out] - added
    squared = errors**2
    mean, error = squared.mean(axis=0), squared.std(axis=0, ddof=1) / pre**0.5
    best = mean.argmin()
    return float(grid[mean <= mean[best] + error[best]].max())


def relative_to_counterfactual(effect: float, treated_mean: float) -> float:
    """An effect as a share of the outcome without treatment, ``treated_mean - effect``; rises with the effect.

    -1 where the effect is minus infinity, infinity where nothing would be left without treatment.
    """
    if effect == -np.inf:
        return -1.0
    return effect / (treated_mean - effect) if effect < treated_mean else float(np.inf)


def set_estimate(
    panel: Panel,
    *,
    outcome: str,
    method: str,
    value: float,
    pieces: Sequence[tuple[float, float]],
    p_value: float,
    level: float,
    std_error: float | None = None,
) -> Estimate:
    """The Estimate of a mean effect on the treated from a confidence set; its hull is the interval.

    The relative effect is the same set with every effect divided by the outcome that it implies without treatment.
    """
    treated_mean = float(panel.mean_treated[panel.pre :].mean())
    low, high = pieces[0][0], pieces[-1][1]
    ratios = [relative_to_counterfactual(e, treated_mean) for e in (value, low, high)]
    positive = treated_mean > max(value, 0.0)  # a share of a level that is not positive says nothing
    return Estimate(
        outcome=outcome,
        estimand="ATT",
        method=method,
        value=value,
        std_error=std_error,
        low=low,
        high=high,
        p_value=p_value,
        level=level,
        n_treated=int(panel.treated.sum()),
        n_control=int((~panel.treated).sum()),
        control_mean=treated_mean - value,
        relative=ratios[0] if positive else None,
        relative_low=ratios[1] if positive else None,
        relative_high=ratios[2] if positive else None,
        pieces=tuple(pieces) if len(pieces) > 1 else (),
    )
