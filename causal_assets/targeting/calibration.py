"""Is a predicted effect a true one? Realised against predicted: best linear prediction, groups, who they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.cluster_robust import FEWEST_CLUSTERS, cell_means, cluster_fit, cluster_products
from causal_assets.estimators.crossfit import matrix
from causal_assets.estimators.inference import Floats, Refusal
from causal_assets.estimators.joint import satterthwaite
from causal_assets.targeting.measures import Measure, measured, required_level, vectors
from causal_assets.targeting.rank_bins import tie_ends

# A mean of fewer units, or of fewer in a group, has an interval that says nothing.
FEWEST_IN_GROUP = 20
# A unit that leaves less of its own residual than this fixes the slope by itself.
ALONE = 1e-6
# Fifths are compared by the classification analysis of the source.
FIFTHS = 5
ATE = "mean effect of all units"
SLOPE = (
    "slope of the effect on its prediction: 1 where predictions are of the right size, 0 where they tell nothing; "
    "above 0 there is heterogeneity and the model finds some of it"
)
SPREAD = "mean effect of the group with the highest predictions less that of the group with the lowest"


@dataclass(frozen=True, kw_only=True, eq=False)
class BestLinearPrediction:
    """The effect as a line in its prediction; ``slope`` is None where all predictions are one, so that none can be.

    ``cov`` (2, 2) is that of the line's value at ``centre``, the mean prediction, and its slope.
    """

    ate: Measure
    slope: Measure | None
    centre: float
    cov: Floats

    def effect(self, score: ArrayLike) -> tuple[Floats, Floats]:
        """Mean effect of units predicted ``score`` (m,), by the line, and its standard error, each (m,).

        It is the error of a mean: one unit's own effect varies about it by what no covariate tells.
        """
        (scores,) = vectors(score=score)
        if self.slope is None:
            return np.full(scores.shape, self.ate.value), np.full(scores.shape, self.ate.std_error)
        away = np.stack([np.ones_like(scores), scores - self.centre], axis=1)
        return away @ [self.ate.value, self.slope.value], np.sqrt(((away @ self.cov) * away).sum(axis=1))


@dataclass(frozen=True, kw_only=True)
class Group:
    """Units of like predicted effect; ``low`` and ``high`` hold the realised effects of all groups at once."""

    units: int
    predicted: float
    realised: float
    std_error: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class SortedGroups:
    """Groups from the lowest to the highest prediction; ``spread`` is None where there is one group only."""

    groups: tuple[Group, ...]
    spread: Measure | None
    level: float


@dataclass(frozen=True, kw_only=True)
class Characteristic:
    """Means of a covariate among the least and the most affected; the differences' intervals hold all at once."""

    name: str
    least: float
    most: float
    difference: float
    std_error: float
    low: float
    high: float


def best_linear_prediction(
    psi: ArrayLike, score: ArrayLike, *, cluster: ArrayLike | None = None, level: float = 0.95
) -> BestLinearPrediction:
    """Least squares of doubly robust scores ``psi`` (n,) on predicted effects ``score`` (n,), about their mean.

    The model must not have seen these units. Errors are HC2 with n - 2 degrees of freedom, or by ``cluster`` (n,) CR2
    with Bell and McCaffrey's. A constant score, as of a model without heterogeneity, has an effect but no slope. The
    test of the slope is large-sample: predictions with a long tail and few events in a small arm make it too eager.

    Source: Chernozhukov, Demirer, Duflo & Fernandez-Val (2018), Generic machine learning inference on heterogeneous
    treatment effects, arXiv 1712.04802: best linear predictor, here from doubly robust scores.

    Raises:
        ValueError: lengths that differ, NaN or infinite entries, fewer than ``FEWEST_IN_GROUP`` units, a slope
            that one unit determines.
        Refusal: fewer than five clusters.
    """
    effects, scores = vectors(psi=psi, score=score)
    if effects.size < FEWEST_IN_GROUP:
        raise ValueError(f"psi: expected at least {FEWEST_IN_GROUP} units, got {effects.size}")
    label = _clusters(cluster, effects.size)
    one, centre = np.ones((effects.size, 1)), float(scores.mean())
    coef, cov, df = _fit(one, effects, label)
    ate = measured("ATE", ATE, coef[0], sqrt(cov[0, 0]), level=level, df=df(np.ones(1)))
    if scores.min() == scores.max():
        return BestLinearPrediction(ate=ate, slope=None, centre=centre, cov=np.diag([cov[0, 0], 0.0]))
    coef, cov, df = _fit(np.hstack([one, scores[:, None] - centre]), effects, label)
    slope = measured("slope", SLOPE, coef[1], sqrt(cov[1, 1]), level=level, df=df(np.array([0.0, 1.0])))
    return BestLinearPrediction(ate=ate, slope=slope, centre=centre, cov=cov)


def sorted_groups(
    psi: ArrayLike, score: ArrayLike, *, groups: int = 10, cluster: ArrayLike | None = None, level: float = 0.95
) -> SortedGroups:
    """Predicted and realised mean effect of ``groups`` of units sorted by ``score`` (n,): GATES, and calibration.

    ``psi`` (n,) are doubly robust scores. Units of one score stay together, in the group of their middle rank, so that
    there may be fewer groups. t intervals, each group's own variance or CR2 by ``cluster`` (n,), at level^(1/groups):
    together they hold at ``level`` whatever the dependence of the normal estimates (Sidak 1967).

    Source: Chernozhukov et al. (2018), arXiv 1712.04802: sorted group average treatment effects.

    Raises:
        ValueError: lengths that differ, NaN or infinite entries, a group of fewer than ``FEWEST_IN_GROUP`` units.
        Refusal: fewer than five clusters.
    """
    from scipy.special import stdtrit

    effects, scores = vectors(psi=psi, score=score)
    required_level(level)
    code, size = _sorted(scores, groups)
    predicted = np.bincount(code, weights=scores) / size
    if (label := _clusters(cluster, effects.size)) is None:
        realised = np.bincount(code, weights=effects) / size
        cov = np.diag(np.bincount(code, weights=(effects - realised[code]) ** 2) / (size - 1) / size)
    else:
        cells = cell_means(effects, code, label, size.size)
        realised, cov = cells.mean, cells.fit.cov

    def df(contrast: Floats) -> float:
        if label is None:
            return satterthwaite(list(contrast**2 * np.diag(cov)), list(size - 1.0))
        return cells.fit.df(contrast)

    error = np.sqrt(np.diag(cov))
    each = (1 + level ** (1 / size.size)) / 2
    half = stdtrit([df(row) for row in np.eye(size.size)], each) * error
    spread = None
    if size.size > 1:
        ends = np.zeros(size.size)
        ends[[0, -1]] = -1.0, 1.0
        spread = measured("spread", SPREAD, float(ends @ realised), sqrt(ends @ cov @ ends), level=level, df=df(ends))
    return SortedGroups(
        groups=tuple(
            Group(units=int(n), predicted=p, realised=r, std_error=e, low=r - h, high=r + h)
            for n, p, r, e, h in zip(size, *map(np.ndarray.tolist, (predicted, realised, error, half)), strict=True)
        ),
        spread=spread,
        level=level,
    )


def characteristics(
    x: ArrayLike, names: Sequence[str], score: ArrayLike, *, level: float = 0.95
) -> list[Characteristic]:
    """Who is most affected: means of covariates ``x`` (n, k) in the lowest and the highest fifth of ``score`` (n,).

    Units of one score stay together, as in ``sorted_groups``. Welch's t intervals at level^(1/k), so that all k hold at
    ``level`` together.

    Source: Chernozhukov et al. (2018), arXiv 1712.04802: classification analysis.

    Raises:
        ValueError: shapes that do not fit, NaN or infinite entries, a fifth of fewer than ``FEWEST_IN_GROUP`` units.
        Refusal: a constant score.
    """
    from scipy.special import stdtrit

    (scores,) = vectors(score=score)
    covariates = matrix(x, scores.size)
    required_level(level)
    if not 0 < len(names) == covariates.shape[1]:
        raise ValueError(f"names: expected one for each of {covariates.shape[1]} covariates, got {len(names)}")
    code, size = _sorted(scores, FIFTHS)
    if size.size < 2:
        raise Refusal("score: is the same for all units, so that none is more affected than another")
    ends = [covariates[code == 0], covariates[code == size.size - 1]]
    least, most = (rows.mean(axis=0) for rows in ends)
    parts = [rows.var(axis=0, ddof=1) / len(rows) for rows in ends]
    error = np.sqrt(parts[0] + parts[1])
    df = [satterthwaite(pair, [len(rows) - 1 for rows in ends]) for pair in zip(*parts, strict=True)]
    half = stdtrit(df, (1 + level ** (1 / len(names))) / 2) * error
    difference = most - least
    numbers = np.column_stack([least, most, difference, error, difference - half, difference + half]).tolist()
    return [
        Characteristic(name=name, least=a, most=b, difference=d, std_error=e, low=low, high=high)
        for name, (a, b, d, e, low, high) in zip(names, numbers, strict=True)
    ]


def _clusters(cluster: ArrayLike | None, n: int) -> NDArray[np.intp] | None:
    """Codes (n,) of the clusters.

    Raises:
        ValueError: another length.
        Refusal: fewer than five clusters.
    """
    if cluster is None:
        return None
    label, code = np.unique(np.asarray(cluster), return_inverse=True)
    if code.shape != (n,):
        raise ValueError(f"cluster: expected one label per unit ({n}), got {code.size}")
    if label.size < FEWEST_CLUSTERS:
        raise Refusal(f"cluster: an interval needs at least {FEWEST_CLUSTERS} clusters, got {label.size}")
    return code


def _fit(
    design: Floats, y: Floats, cluster: NDArray[np.intp] | None
) -> tuple[Floats, Floats, Callable[[Floats], float]]:
    """Coefficients (k,), covariance (k, k), HC2 or CR2, and degrees of freedom of a contrast."""
    n, k = design.shape
    pilot = y.mean()  # centring keeps the digits of y + 1e9
    if cluster is not None:
        fit = cluster_fit(*cluster_products(design, y - pilot, cluster))
        return fit.coef + pilot * np.eye(k)[0], fit.cov, fit.df
    inverse = np.linalg.inv(design.T @ design)
    pull = design @ inverse
    coef = pull.T @ (y - pilot)
    left = 1 - (pull * design).sum(axis=1)
    if left.min() < ALONE:
        raise ValueError("score: one unit alone determines the slope, its score is that far from all others")
    influence = pull * ((y - pilot - design @ coef) / np.sqrt(left))[:, None]
    return coef + pilot * np.eye(k)[0], influence.T @ influence, lambda _: float(n - k)


def _sorted(score: Floats, groups: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Group of each unit (n,), from the lowest score, and the groups' sizes: ties go where their middle rank does."""
    if groups < 2:
        raise ValueError(f"groups: expected at least 2, got {groups}")
    order = np.argsort(score)
    ends = tie_ends(score[order])
    size = np.diff(ends, prepend=0)
    middle = ends - size / 2
    code = np.empty(score.size, dtype=np.intp)
    code[order] = np.repeat((groups * middle / score.size).astype(np.intp), size)
    code = np.unique(code, return_inverse=True)[1]
    held = np.bincount(code)
    if held.min() < FEWEST_IN_GROUP:
        raise ValueError(
            f"groups: each of {groups} needs at least {FEWEST_IN_GROUP} units, the smallest has {held.min()}; "
            "ask for fewer groups"
        )
    return code, held
