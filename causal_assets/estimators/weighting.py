"""Effects by weighting, stratifying or standardising: one model of treatment, or one of the outcome."""

from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.crossfit import grouped, matrix, validated
from causal_assets.estimators.inference import Floats, clustered_covariance, estimate
from causal_assets.estimators.overlap import Estimand, weights
from causal_assets.estimators.propensity import Logit
from causal_assets.types import Estimate

# Five strata take away about nine tenths of the bias of one covariate (Cochran 1968, Biometrics 24(2)).
STRATA = 5
# A unit that is its whole arm has no error of its own to speak of; this keeps it finite until the variance is refused.
MOST_LEVERAGE = 0.99


def weighted_effect(
    score: ArrayLike | Logit,
    d: ArrayLike,
    y: ArrayLike,
    unit: ArrayLike,
    *,
    estimand: Estimand,
    outcome: str,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """Difference of weighted means of the arms, each arm's weights adding up to one (Hajek).

    ``score`` (n,) are propensities, ``d`` (n,) is 0 or 1, ``y`` (n,), ``unit`` (n,) labels. Stabilised weights, which
    multiply an arm by a constant, give the same numbers. Errors come from the influence function summed by unit, or by
    ``cluster`` (n,), groups of units that may hold both arms; the pull of each on the fit is taken out as in HC3, t
    with (units or clusters - 1) degrees of freedom: large-sample inference, which a few heavy weights make too
    confident (see ``overlap.effective_sample_size``). A ``Logit`` has its estimation accounted for, which shortens the
    interval of an ATE or ATO; a bare score counts as known: the robust error of textbooks, as a rule too long for an
    ATE.

    Sources: Hirano, Imbens & Ridder (2003), Econometrica 71(4); Lunceford & Davidian (2004), Stat. Med. 23(19).

    Raises:
        ValueError: lengths that differ, scores outside (0, 1), a NaN or infinite outcome, a unit in both arms, one arm
            only, an unknown estimand, or an outcome without variance.
    """
    if estimand not in get_args(Estimand):
        raise ValueError(f"estimand: expected one of {get_args(Estimand)}, got {estimand!r}")
    treated, outcomes, code, group = _both_arms(d, y, unit, cluster)
    e = _propensities(score, len(treated))
    pilot = outcomes[~treated, 0].mean()
    target, weight = outcomes[:, 0] - pilot, weights(e, treated, estimand)
    point, influence = np.empty(2), np.empty((len(e), 2))
    for a, arm in enumerate((~treated, treated)):
        inside = np.where(arm, weight, 0.0)
        point[a] = inside @ target / inside.sum()
        moment = (target - point[a]) / inside.mean()
        influence[:, a] = inside * moment / (1 - _by_unit(inside / inside.sum(), group))
        if isinstance(score, Logit):
            slope = np.where(arm & (score.score == score.raw), _weight_slope(e, treated, estimand), 0.0)
            along = score.influence @ (score.design.T @ (slope * moment) / len(e))
            influence[:, a] += along / (1 - _by_unit(score.leverage, group))
    return _difference(
        point, influence, pilot, treated, code, group, estimand=estimand, outcome=outcome, level=level,
        method="inverse-propensity weighting",
    )  # fmt: skip


def stratified_effect(
    score: ArrayLike | Logit,
    d: ArrayLike,
    y: ArrayLike,
    unit: ArrayLike,
    *,
    estimand: Estimand,
    outcome: str,
    cluster: ArrayLike | None = None,
    strata: int = STRATA,
    x: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """Differences within quantile strata of the propensity, averaged over all units (ATE) or the treated (ATT).

    Strata hold equal numbers of the estimand's population. Without ``x`` (n, k) what confounding is left inside a
    stratum stays in the answer and not in the interval; with it, each arm of each stratum has a regression of its own,
    which takes that out. Arrays and errors as in ``weighted_effect``; the strata count as given.

    Source: Lunceford & Davidian (2004), Stratification and weighting via the propensity score, Stat. Med. 23(19).

    Raises:
        ValueError: as ``weighted_effect``, an estimand other than ATE and ATT, fewer than 2 strata, or a stratum in
            which an arm has no more units than its regression has coefficients.
    """
    if estimand not in ("ATE", "ATT"):
        raise ValueError(f"estimand: strata answer for ATE or ATT, got {estimand!r}")
    if strata < 2:
        raise ValueError(f"strata: expected at least 2, got {strata}")
    treated, outcomes, code, group = _both_arms(d, y, unit, cluster)
    e = _propensities(score, len(treated))
    population = np.ones(len(e), dtype=bool) if estimand == "ATE" else treated
    stratum = strata_of(e, population, strata)
    columns = np.ones((len(e), 1)) if x is None else np.column_stack([np.ones(len(e)), matrix(x, len(e))])
    cells = np.bincount(2 * stratum + treated, minlength=2 * (int(stratum.max()) + 1)).reshape(-1, 2)
    for s, arms in enumerate(cells):
        if arms.min() <= columns.shape[1]:
            raise ValueError(
                f"strata: stratum {s + 1} of {len(cells)} has {arms[1]} treated and {arms[0]} untreated rows, each arm "
                f"needs more than {columns.shape[1]}; take fewer strata, or a population where both arms occur"
            )
    pilot, target = outcomes[~treated, 0].mean(), outcomes[:, 0]
    point, influence = np.zeros(2), np.zeros((len(e), 2))
    for s in range(len(cells)):
        rows = stratum == s
        part = (population & rows).sum() / population.sum()
        mean, inside = _standardised(_arms_apart(columns[rows]), treated[rows], target[rows] - pilot, population[rows])
        point += part * mean
        # Within the stratum, and the stratum's mean itself, whose share of the population is drawn too.
        influence[rows] += inside * (part * len(e) / rows.sum()) + np.outer(population[rows], mean) / population.mean()
    influence -= np.outer(population, point) / population.mean()
    return _difference(
        point, influence, pilot, treated, code, group, estimand=estimand, outcome=outcome, level=level,
        method=f"stratification on the propensity, {len(cells)} strata" + ("" if x is None else ", regression within"),
    )  # fmt: skip


def strata_of(e: Floats, population: NDArray[np.bool_], strata: int) -> NDArray[np.intp]:
    """The stratum (n,) of each propensity: quantiles of the ``population`` (n,), fewer where they coincide."""
    edges = np.unique(np.quantile(e[population], np.arange(1, strata) / strata, method="inverted_cdf"))
    return np.searchsorted(edges, e)


def standardized_effect(
    x: ArrayLike,
    d: ArrayLike,
    y: ArrayLike,
    unit: ArrayLike,
    *,
    estimand: Estimand,
    outcome: str,
    cluster: ArrayLike | None = None,
    modifiers: list[int] | None = None,
    level: float = 0.95,
) -> Estimate:
    """The parametric g-formula: a linear outcome model, predicted for all (ATE) or the treated (ATT) under each arm.

    ``x`` (n, k), of which the columns ``modifiers`` have a slope of their own in each arm; None means all of them.
    Other arrays, errors and degrees of freedom as in ``weighted_effect``. Right only where the outcome model is.

    Source: Hernan & Robins (2020), Causal Inference: What If, ch. 13.

    Raises:
        ValueError: as ``weighted_effect``, an estimand other than ATE and ATT, or a modifier that is no column of x.
    """
    if estimand not in ("ATE", "ATT"):
        raise ValueError(f"estimand: the g-formula answers for ATE or ATT, got {estimand!r}")
    treated, outcomes, code, group = _both_arms(d, y, unit, cluster)
    covariates = matrix(x, len(treated))
    chosen = list(range(covariates.shape[1])) if modifiers is None else modifiers
    if not set(chosen) <= set(range(covariates.shape[1])):
        raise ValueError(f"modifiers: expected columns 0 to {covariates.shape[1] - 1} of x, got {chosen}")
    pilot = outcomes[~treated, 0].mean()
    shared = np.column_stack([np.ones(len(treated)), covariates - covariates.mean(axis=0)])
    own = shared[:, [0, *(c + 1 for c in chosen)]]
    designs = np.hstack([shared, np.zeros_like(own)]), np.hstack([shared, own])
    population = np.ones(len(treated), dtype=bool) if estimand == "ATE" else treated
    point, influence = _standardised(designs, treated, outcomes[:, 0] - pilot, population)
    return _difference(
        point, influence, pilot, treated, code, group, estimand=estimand, outcome=outcome, level=level,
        method="standardisation by linear regression",
    )  # fmt: skip


def _both_arms(
    d: ArrayLike, y: ArrayLike, unit: ArrayLike, cluster: ArrayLike | None
) -> tuple[NDArray[np.bool_], Floats, NDArray[np.intp], NDArray[np.intp]]:
    """Treatment (n,), outcomes (n, m), codes (n,) of units and of what is independent."""
    treated, outcomes, code = validated(d, y, unit)
    if treated.all() or not treated.any():
        raise ValueError(f"d: both arms are needed, {int(treated.sum())} of {len(treated)} rows are treated")
    return treated, outcomes, code, grouped(code, cluster, treated)


def _propensities(score: ArrayLike | Logit, n: int) -> Floats:
    e = np.asarray(score.score if isinstance(score, Logit) else score, dtype=np.float64)
    if e.shape != (n,):
        raise ValueError(f"score: expected shape ({n},), got {e.shape}")
    if not ((e > 0) & (e < 1)).all():
        raise ValueError(f"score: propensities must lie strictly between 0 and 1, got {e.min()} to {e.max()}")
    return e


def _by_unit(leverage: Floats, group: NDArray[np.intp]) -> Floats:
    """Leverage of a row's whole unit or cluster (n,), short of 1."""
    return np.bincount(group, weights=leverage)[group].clip(0, MOST_LEVERAGE)


def _weight_slope(e: Floats, treated: NDArray[np.bool_], estimand: Estimand) -> Floats:
    """Derivative (n,) of each weight by the linear predictor of a logit."""
    if estimand == "ATO":
        return np.where(treated, -1.0, 1.0) * e * (1 - e)
    if estimand == "ATT":
        return np.where(treated, 0.0, e / (1 - e))
    return np.where(treated, -(1 - e) / e, e / (1 - e))


def _arms_apart(columns: Floats) -> tuple[Floats, Floats]:
    """Designs under control and under treatment in which the arms share no coefficient."""
    empty = np.zeros_like(columns)
    return np.hstack([columns, empty]), np.hstack([empty, columns])


def _standardised(
    designs: tuple[Floats, Floats], treated: NDArray[np.bool_], y: Floats, population: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Means (2,) of least-squares predictions over a population under either arm, and their influence (n, 2)."""
    observed = np.where(treated[:, None], designs[1], designs[0])
    inverse = np.linalg.pinv(observed.T @ observed / len(y), hermitian=True)
    beta = inverse @ (observed.T @ y / len(y))
    residual = y - observed @ beta
    inside = np.where(population, 1 / population.mean(), 0.0)
    point, influence = np.empty(2), np.empty((len(y), 2))
    for a, design in enumerate(designs):
        predicted = design @ beta
        point[a] = (inside * predicted).mean()
        target = inside @ design / len(y)
        influence[:, a] = observed @ (inverse @ target) * residual + inside * (predicted - point[a])
    return point, influence


def _difference(
    means: Floats,
    influence: Floats,
    pilot: float,
    treated: NDArray[np.bool_],
    code: NDArray[np.intp],
    group: NDArray[np.intp],
    *,
    estimand: str,
    outcome: str,
    method: str,
    level: float,
) -> Estimate:
    """Treated minus control mean, from both means (2,) around ``pilot`` and their influence functions (n, 2)."""
    control_and_effect = np.array([[1.0, 0.0], [-1.0, 1.0]])
    n_treated = np.unique(code[treated]).size
    return estimate(
        outcome=outcome,
        estimand=estimand,
        method=method,
        value=float(means[1] - means[0]),
        control_mean=float(pilot + means[0]),
        cov=clustered_covariance(influence @ control_and_effect.T, group),
        df=int(group.max()),
        level=level,
        n_treated=n_treated,
        n_control=int(code.max()) + 1 - n_treated,
    )
