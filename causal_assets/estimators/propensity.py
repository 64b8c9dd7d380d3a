"""The probability of treatment given what was known before it."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.crossfit import grouped, matrix, splits, standardized, validated
from causal_assets.estimators.inference import Floats, Refusal

Learner = Literal["logistic", "boosting"]
Calibration = Literal["platt", "isotonic"]
# Both bounds of a propensity, or the distance of both from 0 and 1.
Clip = float | tuple[float, float]

# Propensities are clipped to [0.01, 0.99]: no control may stand for more than 99 treated units.
CLIP = 0.01
# Ridge penalty per row on standardised covariates: keeps separated or collinear fits finite, shrinks slopes by ~0.1%,
# and does not change when rows are repeated.
PENALTY = 1e-3
# Folds within the training folds on which a calibration is learned.
CALIBRATION_FOLDS = 3
# Boosting: a hundred shallow trees, each leaf of at least 20 units however many rows a unit has.
BOOSTING = {"max_iter": 100, "learning_rate": 0.1, "max_leaf_nodes": 8, "early_stopping": False}
LEAF_UNITS = 20
# Newton steps of a logit converge in under ten; one that has not by then is running off to infinity.
NEWTON_STEPS = 30
# Odds beyond e^30 to 1 are what separation looks like before it overflows.
LARGEST_LOGIT = 30.0


@dataclass(frozen=True, eq=False)
class Propensity:
    """Out-of-fold P(treated | x), one row per repeat of the sample split: ``score`` (repeats, n).

    ``clipped`` counts the rows that met a clipping bound in at least one repeat.
    """

    score: Floats
    clipped: int

    @property
    def median(self) -> Floats:
        """One score per row (n,): the median over repeats."""
        return np.median(self.score, axis=0)


# Area under the curve from which the arms have no part in common to speak of.
TOLD_APART = 0.995


@dataclass(frozen=True, eq=False)
class Logit:
    """A logistic regression fitted to all rows at once, by maximum likelihood without a penalty.

    ``score`` (n,) is clipped, ``raw`` (n,) is not; ``design`` (n, k + 1) holds a constant and the standardised
    covariates, ``dose`` (n,) the treatment. An estimator that is given a Logit accounts for its estimation; a bare
    score counts as known.
    """

    score: Floats
    raw: Floats
    design: Floats
    dose: Floats

    @property
    def clipped(self) -> int:
        """How many rows met a clipping bound."""
        return int((self.score != self.raw).sum())

    @property
    def inverse_information(self) -> Floats:
        """Inverse (k + 1, k + 1) of the Fisher information per row; collinear columns count once."""
        weight = self.raw * (1 - self.raw)
        return np.linalg.pinv(self.design.T @ (weight[:, None] * self.design) / len(weight), hermitian=True)

    @property
    def leverage(self) -> Floats:
        """Pull (n,) of each row on its own fitted score, as in the hat matrix of weighted least squares."""
        quadratic = np.einsum("ij,jk,ik->i", self.design, self.inverse_information, self.design)
        return self.raw * (1 - self.raw) * quadratic / len(self.raw)

    @property
    def influence(self) -> Floats:
        """Influence function (n, k + 1) of the coefficients."""
        return ((self.dose - self.raw)[:, None] * self.design) @ self.inverse_information


def require_overlap(score: Floats, treated: NDArray[np.bool_]) -> None:
    """Refuse to compare arms that the propensity ``score`` (n,) tells apart: what follows would be extrapolation.

    Raises:
        Refusal: a treated row has the higher score than an untreated one in more than 99.5% of all pairs.
    """
    from scipy.stats import rankdata

    n, m = int(treated.sum()), int((~treated).sum())
    area = (float(rankdata(score)[treated].sum()) - n * (n + 1) / 2) / max(n * m, 1)
    if area > TOLD_APART:
        raise Refusal(
            f"x: no overlap, the covariates tell treated from untreated rows in {area:.1%} of pairs; allowed is up to "
            f"{TOLD_APART:.1%}. Nobody of one arm can stand for the other"
        )


def boosted(kind: type, rows: int, units: int, seed: int) -> Any:
    """A histogram gradient boosting regressor or classifier with this project's settings, not yet fitted."""
    return kind(**BOOSTING, min_samples_leaf=round(LEAF_UNITS * rows / units), random_state=seed)


def bounds(clip: Clip) -> tuple[float, float]:
    """The lowest and the highest propensity.

    Raises:
        ValueError: bounds that cross, or that are not strictly between 0 and 1.
    """
    low, high = clip if isinstance(clip, tuple) else (clip, 1 - clip)
    if not 0 < low < high < 1:
        both = isinstance(clip, tuple)
        allowed = "bounds strictly between 0 and 1" if both else "a number strictly between 0 and 0.5"
        raise ValueError(f"clip: expected {allowed}, got {clip}")
    return low, high


def check_learner(learner: str, calibration: str | None, clip: Clip) -> None:
    """Refuse a learner or a calibration that does not exist, and clipping bounds that cross."""
    if learner not in get_args(Learner):
        raise ValueError(f"propensity: expected one of {get_args(Learner)}, got {learner!r}")
    if calibration is not None and calibration not in get_args(Calibration):
        raise ValueError(f"calibration: expected None or one of {get_args(Calibration)}, got {calibration!r}")
    bounds(clip)


def _learner(learner: Learner, rows: int, units: int, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    if learner == "boosting":
        return boosted(HistGradientBoostingClassifier, rows, units, seed)
    return LogisticRegression(C=1 / (PENALTY * rows), solver="newton-cholesky")


def predict(
    x: Floats,
    d: NDArray[np.bool_],
    code: NDArray[np.intp],
    x_new: Floats,
    *,
    learner: Learner = "logistic",
    calibration: Calibration | None = None,
    seed: int = 0,
) -> Floats:
    """P(treated | x_new) (n_new,), not clipped, from a model of ``d`` on standardised ``x``.

    A calibration is learned from predictions out of inner folds, drawn over the units ``code`` of the training rows.

    Raises:
        ValueError: fewer units in an arm than inner folds.
    """
    model = _learner(learner, len(x), np.unique(code).size, seed)
    if calibration is not None:
        from sklearn.calibration import CalibratedClassifierCV

        fold = next(splits(d, np.unique(code, return_inverse=True)[1], CALIBRATION_FOLDS, 1, seed))
        inner = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(CALIBRATION_FOLDS)]
        method = "sigmoid" if calibration == "platt" else "isotonic"
        model = CalibratedClassifierCV(model, method=method, cv=inner, ensemble=False)
    return model.fit(x, d).predict_proba(x_new)[:, 1]


def fit_propensity(
    x: ArrayLike,
    d: ArrayLike,
    unit: ArrayLike,
    *,
    cluster: ArrayLike | None = None,
    learner: Learner = "logistic",
    calibration: Calibration | None = None,
    clip: Clip = CLIP,
    folds: int = 5,
    repeats: int = 3,
    seed: int,
) -> Propensity:
    """P(treated | x), cross-fitted over units, clipped to [clip, 1 - clip] or to the bounds given.

    ``x`` (n, k) are covariates as of assignment, ``d`` (n,) is 0 or 1, ``unit`` (n,) labels. Folds depend on ``seed``
    and on the sorted labels, not on the order of rows; they keep each ``cluster`` (n,) of units together.

    Raises:
        ValueError: an unknown learner or calibration, a clip outside (0, 0.5), lengths that differ, a NaN or infinite
            entry, a unit in both arms, fewer units in an arm than folds.
    """
    check_learner(learner, calibration, clip)
    treated, _, code = validated(d, np.zeros(np.shape(d)), unit)
    covariates = matrix(x, len(treated))
    raw = np.empty((repeats, len(treated)))
    for r, fold in enumerate(splits(treated, grouped(code, cluster), folds, repeats, seed)):
        for k in range(folds):
            out = fold == k
            inside, outside = standardized(covariates[~out], covariates[out])
            raw[r, out] = predict(
                inside, treated[~out], code[~out], outside, learner=learner, calibration=calibration, seed=seed
            )
    score = raw.clip(*bounds(clip))
    return Propensity(score, int((score != raw).any(axis=0).sum()))


def fit_logit(x: ArrayLike, d: ArrayLike, *, clip: Clip = CLIP) -> Logit:
    """P(treated | x) by logistic regression on all rows: parametric, in sample, no penalty, as in textbooks.

    Newton's method; collinear and constant columns are dropped by pseudo-inverse. Where the arms are separated the
    likelihood has no maximum and the fit is refused. ``fit_propensity`` is the choice for learners and many covariates.

    Raises:
        ValueError: a clip outside (0, 0.5), lengths that differ, a NaN or infinite entry, one arm only, separation.
        Refusal: as ``require_overlap``.
    """
    check_learner("logistic", None, clip)
    treated, _, _ = validated(d, np.zeros(np.shape(d)), np.arange(len(np.asarray(d))))
    covariates = matrix(x, len(treated))
    if treated.all() or not treated.any():
        raise ValueError(f"d: both arms are needed, {int(treated.sum())} of {len(treated)} rows are treated")
    dose = treated.astype(np.float64)
    design = np.column_stack([np.ones(len(dose)), standardized(covariates, covariates)[0]])
    beta = np.zeros(design.shape[1])
    for _ in range(NEWTON_STEPS):
        raw = 1 / (1 + np.exp(-design @ beta))
        gradient = design.T @ (dose - raw) / len(dose)
        if np.abs(gradient).max() < 1e-10:
            require_overlap(raw, treated)  # where the arms are far apart the gradient dies before the logits are large
            return Logit(raw.clip(*bounds(clip)), raw, design, dose)
        hessian = design.T @ ((raw * (1 - raw))[:, None] * design) / len(dose)
        beta = beta + np.linalg.pinv(hessian, hermitian=True) @ gradient
        if np.abs(design @ beta).max() > LARGEST_LOGIT:
            break
    raise ValueError("x: the covariates separate treated from untreated units, so no logit fits; use fit_propensity")
