"""One covariate out of many: what a model, trained on other units, expects of each unit's outcome."""

from typing import Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.inference import Floats


class Regressor(Protocol):
    """A model as scikit-learn writes it."""

    def fit(self, x: Floats, y: Floats, /) -> Self:
        """Learn ``y`` (n,) from ``x`` (n, k)."""
        ...

    def predict(self, x: Floats, /) -> Floats:
        """Expected ``y`` (n,)."""
        ...


def expected_outcome(
    x: ArrayLike, y: ArrayLike, unit: ArrayLike, *, model: Regressor | None = None, folds: int = 5, seed: int
) -> Floats:
    """Out-of-fold predictions (n,) of ``y`` (n,) from covariates ``x`` (n, k) of before assignment.

    Used as the covariate of ``difference_in_means``, or by cluster of ``regression_adjusted`` (CUPAC, MLRATE); that
    regression calibrates the predictions within each arm, so a poor model costs precision and never validity. Arms are
    not told to the model. ``unit`` (n,) labels of units, or of clusters of them: all rows of one are predicted by
    models that saw none of them. ``model`` is refitted per fold; by default scikit-learn's gradient boosting, which
    takes NaN in ``x`` as missing. Folds depend on ``seed`` and sorted labels, not on the order of rows. Learns from
    rows: not a function of moments.

    Source: Guo et al. (2021), Machine learning for variance reduction in online experiments, NeurIPS.

    Raises:
        ValueError: lengths that differ, an outcome that is NaN or infinite, or fewer units than folds.
    """
    from sklearn.base import clone
    from sklearn.ensemble import HistGradientBoostingRegressor

    covariates, outcomes = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    labels, code = np.unique(np.asarray(unit), return_inverse=True)
    if covariates.ndim != 2 or outcomes.ndim != 1 or not len(covariates) == len(outcomes) == len(code):
        raise ValueError(
            f"x, y, unit: expected (n, k), (n,), (n,), got {covariates.shape}, {outcomes.shape}, {code.shape}"
        )
    if not np.isfinite(outcomes).all():
        raise ValueError(f"y: {int((~np.isfinite(outcomes)).sum())} outcomes are NaN or infinite")
    if not 2 <= folds <= labels.size:
        raise ValueError(f"folds: expected between 2 and the {labels.size} units, got {folds}")
    chosen = HistGradientBoostingRegressor(random_state=seed) if model is None else model
    fold = np.random.default_rng(seed).permutation(labels.size)[code] % folds
    expected = np.empty_like(outcomes)
    for k in range(folds):
        out = fold == k
        expected[out] = clone(chosen).fit(covariates[~out], outcomes[~out]).predict(covariates[out])
    return expected
