"""The effect of a point treatment that was not randomised, where treated and untreated can be compared."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.crossfit import grouped, matrix, splits, standardized, validated
from causal_assets.estimators.inference import Floats, clustered_covariance, estimate
from causal_assets.estimators.propensity import (
    CLIP,
    PENALTY,
    Calibration,
    Clip,
    Learner,
    boosted,
    bounds,
    check_learner,
    predict,
    require_overlap,
)
from causal_assets.types import Estimate

Estimand = Literal["ATO", "ATT", "ATE"]
Regression = Literal["ridge", "boosting"]


@dataclass(frozen=True, eq=False)
class Nuisances:
    """Out-of-fold predictions for n rows and m outcomes, one set per repeat of the sample split.

    ``propensity`` (repeats, n) is P(treated | x), clipped; ``control`` and ``treated`` (repeats, n, m) are the expected
    outcomes without and with treatment. ``clipped`` counts the rows whose propensity met a bound in any repeat.
    """

    propensity: Floats
    control: Floats
    treated: Floats
    clipped: int = 0

    def take(self, column: int) -> Iterator[tuple[Floats, Floats, Floats]]:
        """Propensity and both expected values (n,) of one outcome, repeat by repeat."""
        return zip(self.propensity, self.control[..., column], self.treated[..., column], strict=True)


def _ridge(x: Floats, y: Floats, x_new: Floats) -> Floats:
    """Ridge predictions (n_new, m) of the columns of ``y``; in closed form a third of the cost of scikit-learn's."""
    centre, level = x.mean(axis=0), y.mean(axis=0)
    gram = (x - centre).T @ (x - centre) + PENALTY * len(x) * np.eye(x.shape[1])
    return level + (x_new - centre) @ np.linalg.solve(gram, (x - centre).T @ (y - level))


def regress(kind: Regression, x: Floats, y: Floats, units: int, x_new: Floats, seed: int) -> Floats:
    """Predictions (n_new, m) of the columns of ``y`` (n, m) at ``x_new``; ``units`` is how many the rows belong to."""
    if kind == "ridge":
        return _ridge(x, y, x_new)
    from sklearn.ensemble import HistGradientBoostingRegressor

    models = (boosted(HistGradientBoostingRegressor, len(x), units, seed).fit(x, column) for column in y.T)
    return np.stack([model.predict(x_new) for model in models], axis=1)


def fit_nuisances(
    x: ArrayLike,
    d: ArrayLike,
    y: ArrayLike,
    unit: ArrayLike,
    *,
    cluster: ArrayLike | None = None,
    propensity: Learner = "logistic",
    outcome: Regression = "ridge",
    calibration: Calibration | None = None,
    clip: Clip = CLIP,
    folds: int = 5,
    repeats: int = 3,
    seed: int,
) -> Nuisances:
    """Propensity by logistic regression, outcomes by ridge regression in each arm, all cross-fitted; or both boosted.

    ``x`` (n, k) are covariates as of assignment, ``d`` (n,) is 0 or 1, ``y`` (n, m) or (n,) outcomes that share one
    propensity model, ``unit`` (n,) labels. Folds are drawn over units, stratified by treatment, ``repeats`` times; they
    depend on ``seed`` and on the sorted labels, not on the order of rows. Propensities are clipped to [clip, 1 - clip].
    Where units hang together, ``cluster`` (n,) labels groups of them, which may hold both arms and stay in one fold.

    Raises:
        ValueError: lengths that differ, a NaN or infinite entry, a unit in both arms or several clusters, fewer units
            in an arm than folds, an unknown learner or calibration, a clip outside (0, 0.5).
    """
    check_learner(propensity, calibration, clip)
    if outcome not in get_args(Regression):
        raise ValueError(f"outcome: expected one of {get_args(Regression)}, got {outcome!r}")
    treated, outcomes, code = validated(d, y, unit)
    covariates = matrix(x, len(treated))
    raw = np.empty((repeats, len(treated)))
    expected = np.empty((2, repeats, *outcomes.shape))
    for r, fold in enumerate(splits(treated, grouped(code, cluster), folds, repeats, seed)):
        for k in range(folds):
            out = fold == k
            inside, outside = standardized(covariates[~out], covariates[out])
            arm, units = treated[~out], code[~out]
            raw[r, out] = predict(inside, arm, units, outside, learner=propensity, calibration=calibration, seed=seed)
            for a, rows in enumerate((~arm, arm)):
                given, number = outcomes[~out][rows], np.unique(units[rows]).size
                expected[a, r, out] = regress(outcome, inside[rows], given, number, outside, seed)
    score = raw.clip(*bounds(clip))
    return Nuisances(score, expected[0], expected[1], int((score != raw).any(axis=0).sum()))


def weights(propensity: Floats, d: ArrayLike, estimand: Estimand) -> Floats:
    """Weights (n,) that make the arms alike in the estimand's population.

    ATO: each unit by the probability of the other arm (Li, Morgan & Zaslavsky 2018). ATT: controls by the odds.
    ATE: each unit by the inverse probability of its own arm.
    """
    treated = np.asarray(d).astype(bool)
    if estimand == "ATO":
        return np.where(treated, 1 - propensity, propensity)
    if estimand == "ATT":
        return np.where(treated, 1.0, propensity / (1 - propensity))
    return np.where(treated, 1 / propensity, 1 / (1 - propensity))


def effective_sample_size(weight: Floats) -> float:
    """How many equally weighted units carry as much information: (sum w)^2 / sum w^2 (Kish 1965)."""
    return float(weight.sum() ** 2 / (weight**2).sum())


def _arm_scores(e: Floats, d: Floats, y: Floats, mu0: Floats, mu1: Floats, estimand: Estimand) -> tuple[Floats, ...]:
    """Rows (n,) whose sums are the control mean, the treated mean and the size of the estimand's population.

    For the ATO, treated minus control is (d - e)(y - e mu1 - (1 - e) mu0) and the size (d - e)^2: the residual-on-
    residual regression.
    """
    if estimand == "ATO":
        size = (d - e) ** 2
        return (1 - d) * e * (y - mu0) + size * mu0, d * (1 - e) * (y - mu1) + size * mu1, size
    if estimand == "ATT":
        return (1 - d) * e / (1 - e) * (y - mu0) + d * mu0, d * y, d
    return (1 - d) / (1 - e) * (y - mu0) + mu0, d / e * (y - mu1) + mu1, np.ones_like(d)


@dataclass(frozen=True, eq=False)
class Scores:
    """Rows (n, 2) whose sums over those of ``size`` (n,) are control mean and effect, for one split of the sample."""

    sums: Floats
    size: Floats

    @property
    def point(self) -> Floats:
        """Control mean and effect (2,)."""
        return self.sums.sum(axis=0) / self.size.sum()

    @property
    def influence(self) -> Floats:
        """Influence function (n, 2) of both."""
        return (self.sums - self.size[:, None] * self.point) / self.size.mean()


def scores(
    nuisances: Nuisances, treated: NDArray[np.bool_], y: Floats, *, estimand: Estimand, column: int, trim: float
) -> list[Scores]:
    """Doubly robust scores of each repeat, for the outcome ``y`` (n,) that is ``column`` of the nuisances."""
    dose, found = treated.astype(np.float64), []
    for e, mu0, mu1 in nuisances.take(column):
        control, other, size = _arm_scores(e, dose, y, mu0, mu1, estimand)
        sums = np.stack([control, other - control], axis=1)
        if trim:
            kept = (e >= trim) & (e <= 1 - trim)
            sums, size = np.where(kept[:, None], sums, 0.0), np.where(kept, size, 0.0)
        if not size.sum() > 0:
            raise ValueError(f"trim: no unit has a propensity in [{trim}, {1 - trim}]")
        found.append(Scores(sums, size))
    return found


def effect(
    nuisances: Nuisances,
    d: ArrayLike,
    y: ArrayLike,
    unit: ArrayLike,
    *,
    estimand: Estimand,
    outcome: str,
    cluster: ArrayLike | None = None,
    column: int = 0,
    level: float = 0.95,
    trim: float = 0.0,
) -> Estimate:
    """Doubly robust effect on outcome ``column`` of ``y`` in the overlap population (ATO), the treated (ATT) or all.

    The ATO weighs each unit by e(1 - e); its efficient score is the residual-on-residual regression of Robinson (1988).
    ATT and ATE are augmented inverse-propensity weighting (the interactive model of double machine learning).
    Errors come from the influence function summed by unit, or by ``cluster`` (n,), the interval from t with (units or
    clusters - 1) degrees of freedom, repeats are combined by medians. ``control_mean`` is the outcome without treatment
    in the estimand's population.
    ``trim`` keeps only units with a propensity in [trim, 1 - trim]: another population, which the estimand then names
    (Crump et al. 2009 take 0.1). Arrays as given to ``fit_nuisances``.

    Sources: Crump, Hotz, Imbens & Mitnik (2006), NBER t0330; Chernozhukov et al. (2018), Econometrics J. 21(1).

    Raises:
        ValueError: as ``fit_nuisances``, an unknown estimand, a trim outside [0, 0.5) or that keeps nobody, or an
            outcome without variance.
        Refusal: fewer than five units, or clusters, with treated or with untreated rows; arms without overlap.
    """
    if estimand not in get_args(Estimand):
        raise ValueError(f"estimand: expected one of {get_args(Estimand)}, got {estimand!r}")
    if not 0 <= trim < 0.5:
        raise ValueError(f"trim: expected a number in [0, 0.5), got {trim}")
    treated, outcomes, code = validated(d, y, unit)
    group = grouped(code, cluster, treated)
    require_overlap(np.median(nuisances.propensity, axis=0), treated)
    target = outcomes[:, column]
    pilot = target[~treated].mean()  # effects do not depend on the origin; digits do
    centred = Nuisances(nuisances.propensity, nuisances.control - pilot, nuisances.treated - pilot)
    found = scores(centred, treated, target - pilot, estimand=estimand, column=column, trim=trim)
    point, cov = median_of_splits([(s.point, clustered_covariance(s.influence, group)) for s in found])
    n_treated = np.unique(code[treated]).size
    return estimate(
        outcome=outcome,
        estimand=f"{estimand} where {trim:g} <= e <= {1 - trim:g}" if trim else estimand,
        method="cross-fitted augmented weighting",
        value=float(point[1]),
        control_mean=float(pilot + point[0]),
        cov=cov,
        df=int(group.max()),
        level=level,
        n_treated=n_treated,
        n_control=int(code.max()) + 1 - n_treated,
    )


def median_of_splits(splits: list[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Combine points (2,) and covariances (2, 2) of repeats; the spread between them widens the errors."""
    points, covs = map(np.stack, zip(*splits, strict=True))
    point = np.median(points, axis=0)
    variances = covs[:, [0, 1], [0, 1]]
    errors = np.sqrt(np.median(variances + (points - point) ** 2, axis=0))
    scale = np.sqrt(variances.prod(axis=1))
    correlation = np.median(np.divide(covs[:, 0, 1], scale, out=np.zeros_like(scale), where=scale > 0))
    return point, np.outer(errors, errors) * np.array([[1.0, correlation], [correlation, 1.0]])
