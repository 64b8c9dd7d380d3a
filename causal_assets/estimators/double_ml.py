"""Double machine learning of the partially linear model. The interactive one is ``overlap.effect`` (ATE, ATT)."""

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.cluster_robust import require_clusters
from causal_assets.estimators.crossfit import matrix, splits, standardized
from causal_assets.estimators.inference import Floats, clustered_covariance, estimate
from causal_assets.estimators.overlap import Regression, median_of_splits, regress
from causal_assets.estimators.propensity import predict, require_overlap
from causal_assets.types import Estimate

# Below this share of a dose's variance left after the covariates, nothing of it is as good as random.
LEAST_VARIATION = 1e-6


def partially_linear(
    x: ArrayLike,
    d: ArrayLike,
    y: ArrayLike,
    unit: ArrayLike,
    *,
    outcome: str,
    learner: Regression = "ridge",
    folds: int = 5,
    repeats: int = 3,
    level: float = 0.95,
    seed: int,
) -> Estimate:
    """Effect of one more unit of ``d`` in y = theta d + g(x) + noise: residual on residual, by Neyman-orthogonal score.

    ``x`` (n, k), ``d`` (n,) 0/1 or a dose, ``y`` (n,), ``unit`` (n,) labels; a unit may have several rows. E[y | x] and
    E[d | x] are cross-fitted over units: ridge and, for a treatment of 0 and 1, logistic regression, or boosting. Where
    the effect varies, theta averages it by the variance of ``d`` given x: for a 0/1 treatment the ATO, for a dose a
    slope in the region where it varies. Errors are summed by unit, t with (units - 1) degrees of freedom, splits are
    combined by medians. ``control_mean`` is the mean of y - theta d under the same weights.

    Source: Chernozhukov et al. (2018), Double/debiased machine learning, Econometrics J. 21(1), sec. 4.1.

    Raises:
        ValueError: an unknown learner, lengths that differ, a NaN or infinite entry, a treatment without variance or
            determined by x, too few units for the folds, or an outcome without variance.
        Refusal: fewer than five units with a high, or a low, treatment; a treatment of 0 and 1 without overlap.
    """
    if learner not in ("ridge", "boosting"):
        raise ValueError(f"learner: expected 'ridge' or 'boosting', got {learner!r}")
    dose, target = np.asarray(d, dtype=np.float64), np.asarray(y, dtype=np.float64)
    code = np.unique(np.asarray(unit), return_inverse=True)[1]
    if not dose.shape == target.shape == code.shape or dose.ndim != 1:
        raise ValueError(f"d, y, unit: expected one length, got {dose.shape}, {target.shape}, {code.shape}")
    for name, values in (("d", dose), ("y", target)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: {int((~np.isfinite(values)).sum())} entries are NaN or infinite")
    if np.ptp(dose) == 0:
        raise ValueError(f"d: the treatment is {dose[0]:g} in every row")
    covariates, pilot = matrix(x, len(dose)), target.mean()
    high = dose > (dose.min() if _binary(dose) else np.median(dose))
    found = []
    for fold in splits(high, code, folds, repeats, seed):
        residual = _residuals(covariates, np.stack([dose, target - pilot], axis=1), code, fold, learner, seed)
        if _binary(dose):
            require_overlap(dose - residual[:, 0], high)
        found.append(_one_split(dose, target - pilot, residual, code))
    require_clusters(*(np.unique(code[arm]).size for arm in (high, ~high)), what="units")
    point, cov = median_of_splits(found)
    treated = np.unique(code[high]).size
    return estimate(
        outcome=outcome,
        estimand="ATO" if _binary(dose) else "slope",
        method="partially linear double machine learning",
        value=float(point[1]),
        control_mean=float(pilot + point[0]),
        cov=cov,
        df=int(code.max()),
        level=level,
        n_treated=treated,
        n_control=int(code.max()) + 1 - treated,
    )


def _binary(dose: Floats) -> bool:
    return bool(np.isin(dose, (0, 1)).all())


def _residuals(x: Floats, both: Floats, code: np.ndarray, fold: np.ndarray, learner: Regression, seed: int) -> Floats:
    """Dose and outcome (n, 2) minus what x foretells of them, each row from models that have not seen its unit."""
    expected = np.empty_like(both)
    for k in range(int(fold.max()) + 1):
        out = fold == k
        inside, outside = standardized(x[~out], x[out])
        units = np.unique(code[~out]).size
        expected[out] = regress(learner, inside, both[~out], units, outside, seed)
        if _binary(both[:, 0]):
            kind = "logistic" if learner == "ridge" else "boosting"
            expected[out, 0] = predict(inside, both[~out, 0] == 1, code[~out], outside, learner=kind, seed=seed)
    return both - expected


def _one_split(dose: Floats, y: Floats, residual: Floats, code: np.ndarray) -> tuple[Floats, Floats]:
    """Mean of y - theta d and theta (2,), with their covariance (2, 2)."""
    v, u = residual.T
    size = v**2
    if size.mean() < LEAST_VARIATION * dose.var():
        raise ValueError("d: the covariates determine the treatment, so nothing of it is left to compare")
    theta = (v @ u) / size.sum()
    influence = v * (u - theta * v) / size.mean()
    rest = y - theta * dose
    level = (size @ rest) / size.sum()
    baseline = size * (rest - level) / size.mean() - (size @ dose) / size.sum() * influence
    return np.array([level, theta]), clustered_covariance(np.stack([baseline, influence], axis=1), code)
