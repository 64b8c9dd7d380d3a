"""What every candidate shares: expected outcomes by arm and propensities, cross-fitted by unit once."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.crossfit import matrix
from causal_assets.estimators.inference import Floats
from causal_assets.estimators.propensity import CLIP, PENALTY

if TYPE_CHECKING:
    from lightgbm import LGBMRegressor

Arms = NDArray[np.intp]

FOLDS = 3
# Boosted trees that cannot memorise a unit: leaves of at least 50 rows.
SHALLOW: dict[str, Any] = {"num_leaves": 8, "n_estimators": 100, "learning_rate": 0.05, "min_child_samples": 50}
# An arm of fewer units in a fold than this leaves nothing to learn of it.
LEAST_PER_ARM = 50


def trees(seed: int, **settings: Any) -> "LGBMRegressor":
    """LightGBM with this project's settings, not yet fitted; one thread: on a busy machine two wait for each other."""
    from lightgbm import LGBMRegressor

    return LGBMRegressor(
        **{**SHALLOW, **settings}, random_state=seed, deterministic=True, force_row_wise=True, verbose=-1, n_jobs=1
    )


@dataclass(frozen=True, eq=False)
class Sample:
    """Aligned rows: features as of assignment (n, p), arm (n,) with 0 the control and 1..K, outcome (n,), unit (n,)."""

    x: Floats
    arm: Arms
    y: Floats
    unit: NDArray[np.intp]

    @classmethod
    def of(cls, x: ArrayLike, arm: ArrayLike, y: ArrayLike, unit: ArrayLike | None = None) -> "Sample":
        """Check the arrays; ``unit`` labels what is independent (None: each row).

        Raises:
            ValueError: lengths that differ, an arm that is no whole number from 0 on, NaN or infinite numbers, fewer
                than ``LEAST_PER_ARM`` units in an arm, a unit in several arms.
        """
        given, outcome = np.asarray(arm), np.asarray(y, dtype=np.float64)
        features = matrix(x, len(given))
        if not np.issubdtype(given.dtype, np.integer) or given.min(initial=0) < 0:
            raise ValueError(f"arm: whole numbers from 0 (control) on, got {np.unique(given)[:5].tolist()}")
        if outcome.shape != given.shape or not np.isfinite(outcome).all():
            raise ValueError(f"y: one finite outcome per row ({len(given)}), got shape {outcome.shape} or NaN or inf")
        label = np.arange(len(given)) if unit is None else np.unique(np.asarray(unit), return_inverse=True)[1]
        if label.shape != given.shape:
            raise ValueError(f"unit: one label per row ({len(given)}), got {len(label)}")
        found = cls(features, given.astype(np.intp), outcome, label)
        if (given != given[np.unique(label, return_index=True)[1]][label]).any():
            raise ValueError("unit: some are in several arms; each needs one")
        counts = found.units_per_arm(max(found.treatments, 1) + 1)
        if counts.min() < LEAST_PER_ARM:
            raise ValueError(f"arm: units per arm are {counts.tolist()}; each needs at least {LEAST_PER_ARM}")
        return found

    @property
    def treatments(self) -> int:
        """Arms besides the control."""
        return int(self.arm.max(initial=0))

    def units_per_arm(self, arms: int) -> Arms:
        """How many units (arms,) each arm has."""
        return np.bincount(self.arm[np.unique(self.unit, return_index=True)[1]], minlength=arms)

    def where(self, kept: NDArray[np.bool_]) -> "Sample":
        """The rows kept."""
        return Sample(self.x[kept], self.arm[kept], self.y[kept], self.unit[kept])


@dataclass(frozen=True, eq=False)
class Nuisances:
    """Expected outcome and propensity by arm; for the rows they were learned from (n, K + 1), out of fold.

    ``outcome_models`` has one model per fold and arm. ``shares`` (K + 1,) are the propensities of a randomised
    cohort; where units were selected it is None and ``arm_models`` predict them.
    """

    expected: Floats
    propensity: Floats
    outcome_models: tuple[tuple["LGBMRegressor", ...], ...]
    shares: Floats | None
    arm_models: tuple["Selection", ...]

    def at(self, x: Floats) -> tuple[Floats, Floats]:
        """Expected outcomes and propensities (m, K + 1) of other rows: the mean of the folds' models."""
        by_fold = [np.stack([m.predict(x) for m in models], axis=1) for models in self.outcome_models]
        if self.shares is not None:
            return np.mean(by_fold, axis=0), np.tile(self.shares, (len(x), 1))
        return np.mean(by_fold, axis=0), np.mean([model.propensity(x) for model in self.arm_models], axis=0)


class Selection:
    """How units came to their arms: a multinomial logit of standardised features, clipped."""

    def __init__(self, x: Floats, arm: Arms) -> None:
        from sklearn.linear_model import LogisticRegression

        centre, spread = x.mean(axis=0), x.std(axis=0)
        self._centre, self._spread = centre, np.where(spread > 0, spread, 1.0)
        self._model = LogisticRegression(C=1 / (PENALTY * len(x)), max_iter=1000)
        self._model.fit((x - self._centre) / self._spread, arm)

    def propensity(self, x: Floats) -> Floats:
        """P(arm | x) (n, K + 1)."""
        return self._model.predict_proba((x - self._centre) / self._spread).clip(CLIP, 1 - CLIP)


def fit_nuisances(sample: Sample, *, randomised: bool, seed: int) -> Nuisances:
    """Learn both, cross-fitted over units; where arms were drawn by chance the propensities are the arms' shares.

    Source: Chernozhukov et al. (2018), Double/debiased machine learning, section 3.
    """
    n, arms = len(sample.y), sample.treatments + 1
    fold = np.random.default_rng(seed).permutation(int(sample.unit.max()) + 1)[sample.unit] % FOLDS
    shares = np.bincount(sample.arm, minlength=arms) / n if randomised else None
    expected, propensity = np.empty((n, arms)), np.empty((n, arms))
    outcome_models, arm_models = [], []
    for k in range(FOLDS):
        out = fold == k
        learned = sample.where(~out)
        models = tuple(trees(seed).fit(learned.x[learned.arm == a], learned.y[learned.arm == a]) for a in range(arms))
        outcome_models.append(models)
        expected[out] = np.stack([model.predict(sample.x[out]) for model in models], axis=1)
        if shares is None:
            arm_models.append(Selection(learned.x, learned.arm))
            propensity[out] = arm_models[-1].propensity(sample.x[out])
        else:
            propensity[out] = shares
    return Nuisances(expected, propensity, tuple(outcome_models), shares, tuple(arm_models))


def potential_scores(sample: Sample, expected: Floats, propensity: Floats) -> Floats:
    """Doubly robust score (n, K + 1) of each potential outcome; its mean over rows is the mean potential outcome.

    Column k is m_k(x) + 1[arm = k] (y - m_k(x)) / e_k(x).

    Source: Robins, Rotnitzky & Zhao (1994), Estimation of regression coefficients when some regressors are not always
    observed, JASA 89.
    """
    rows = np.arange(len(sample.y))
    scores = expected.copy()
    scores[rows, sample.arm] += (sample.y - expected[rows, sample.arm]) / propensity[rows, sample.arm]
    return scores
