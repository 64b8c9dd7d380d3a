"""The methods of an adjusted comparison: rows of one outcome in, an estimate and the weights it stands on out."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from causal_assets.designs.adjustment import NAIVE, Floats
from causal_assets.estimators.double_ml import partially_linear
from causal_assets.estimators.matching import CALIPER, Matches, match, matched_effect
from causal_assets.estimators.overlap import Estimand, Regression, effect, fit_nuisances, weights
from causal_assets.estimators.propensity import CLIP, Calibration, Clip, Learner, Logit, fit_logit, fit_propensity
from causal_assets.estimators.weighting import (
    STRATA,
    standardized_effect,
    strata_of,
    stratified_effect,
    weighted_effect,
)
from causal_assets.types import Estimate

# Far enough from 0 and 1 for a logarithm, too near to move a weight.
UNBOUNDED = 1e-9


def bounds_of(estimand: str, clip: float) -> tuple[float, float]:
    """The propensity's bounds, which keep weights from running away: on the sides on which the estimand divides by it.

    ATE divides by both arms' propensities, ATT by that of being untreated, ATO by none. A bound that is not needed
    would do harm: where one in a hundred is treated, thousands of controls unlike any treated unit would count.
    """
    low = clip if estimand == "ATE" else UNBOUNDED
    return low, 1 - (clip if estimand in ("ATE", "ATT", "matched") else UNBOUNDED)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the methods work, as ``AdjustedComparison`` names it; ``robust`` takes the propensity as known."""

    learner: Learner = "logistic"
    calibration: Calibration | None = None
    regression: Regression = "ridge"
    cross_fit: bool = False
    robust: bool = False
    clip: Clip = CLIP
    trim: float = 0.0
    neighbours: int = 1
    replacement: bool = True
    caliper: float = CALIPER
    bias_adjusted: bool = True
    strata: int = STRATA
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Adjusted:
    """An estimate with the propensity (n,) and the weight (n,) of each row, zero where it is left out."""

    estimate: Estimate
    propensity: Floats
    weight: Floats


@dataclass(frozen=True, eq=False)
class Compared:
    """The rows of one outcome: covariates (n, k), treatment (n,), outcome (n,), unit (n,), perhaps clusters (n,).

    ``exact`` (n, j) are the covariates on which a match must agree, ``modifiers`` the columns of ``x`` along which the
    effect may vary (None: all).
    """

    outcome: str
    level: float
    x: Floats
    treated: NDArray[np.bool_]
    y: Floats
    unit: NDArray[np.generic]
    cluster: NDArray[np.generic] | None = None
    exact: Floats | None = None
    modifiers: list[int] | None = None

    def select(self, kept: NDArray[np.bool_], columns: list[int]) -> Self:
        """The rows kept (n,), with these columns of the covariates."""
        some = {name: getattr(self, name)[kept] for name in ("treated", "y", "unit")}
        others = {name: v[kept] for name in ("cluster", "exact") if (v := getattr(self, name)) is not None}
        return replace(self, x=self.x[kept][:, columns], **some, **others)

    def naive(self) -> Estimate:
        """The difference in means: no population's effect."""
        bare = weighted_effect(
            np.full(len(self.y), 0.5), self.treated, self.y, self.unit,
            estimand="ATE", outcome=self.outcome, cluster=self.cluster, level=self.level,
        )  # fmt: skip
        return replace(bare, method=NAIVE, estimand="none")


@dataclass(frozen=True)
class Adjuster:
    """Adjusts the rows of an outcome by one method, for one population.

    Raises:
        ValueError: from every method, as its estimator; or where matches leave out treated units of an ATT.
    """

    options: Options

    def by(self, method: str, data: Compared, target: str) -> Adjusted:
        """The effect by ``method`` in the population ``target``, both as ``AdjustedComparison`` names them."""
        if method == "matching":
            return self._matched(data, target)
        estimand: Estimand = "ATT" if target in ("ATT", "matched") else "ATO" if target == "ATO" else "ATE"
        if method in ("aipw", "interactive"):
            return self._augmented(data, estimand, method)
        if method == "ipw":
            return self._weighted(data, estimand)
        if method == "stratification":
            return self._stratified(data, estimand)
        return self._regressed(data, estimand, method)

    def _augmented(self, data: Compared, estimand: Estimand, method: str) -> Adjusted:
        o, rows = self.options, (data.treated, data.y, data.unit)
        nuisances = fit_nuisances(
            data.x, *rows, cluster=data.cluster, propensity=o.learner, outcome=o.regression,
            calibration=o.calibration, clip=o.clip, seed=o.seed,
        )  # fmt: skip
        found = effect(
            nuisances, *rows, estimand=estimand, outcome=data.outcome, cluster=data.cluster, level=data.level,
            trim=o.trim,
        )  # fmt: skip
        if method == "interactive":
            found = replace(found, method="interactive double machine learning")
        e = np.median(nuisances.propensity, axis=0)
        kept = (e >= o.trim) & (e <= 1 - o.trim)
        return Adjusted(found, e, np.where(kept, weights(e, data.treated, estimand), 0.0))

    def _score(self, data: Compared) -> Logit | Floats:
        """The propensity in sample, its estimation to be accounted for; or out of fold, as if it were known."""
        if not self.options.cross_fit:
            return fit_logit(data.x, data.treated, clip=self.options.clip)
        return self._out_of_fold(data)

    def _out_of_fold(self, data: Compared) -> Floats:
        o = self.options
        return fit_propensity(
            data.x, data.treated, data.unit, cluster=data.cluster, learner=o.learner, calibration=o.calibration,
            clip=o.clip, seed=o.seed,
        ).median  # fmt: skip

    def _weighted(self, data: Compared, estimand: Estimand) -> Adjusted:
        score = self._score(data)
        found = weighted_effect(
            _numbers(score) if self.options.robust else score, data.treated, data.y, data.unit,
            estimand=estimand, outcome=data.outcome, cluster=data.cluster, level=data.level,
        )  # fmt: skip
        return Adjusted(found, _numbers(score), weights(_numbers(score), data.treated, estimand))

    def _stratified(self, data: Compared, estimand: Estimand) -> Adjusted:
        """With a regression in each arm of each stratum: what confounding is left inside one is in no interval."""
        score, o = self._score(data), self.options
        found = stratified_effect(
            score, data.treated, data.y, data.unit, estimand=estimand, outcome=data.outcome, strata=o.strata,
            x=data.x, cluster=data.cluster, level=data.level,
        )  # fmt: skip
        e = _numbers(score)
        population = data.treated | (estimand == "ATE")
        cell = 2 * strata_of(e, population, o.strata) + data.treated
        asked = np.bincount(cell // 2, weights=population)
        return Adjusted(found, e, asked[cell // 2] / np.bincount(cell)[cell])

    def _matched(self, data: Compared, target: str) -> Adjusted:
        score, o = self._score(data), self.options
        pairs = match(
            score, data.treated, data.unit, ratio=o.neighbours, replacement=o.replacement,
            caliper=o.caliper if target == "matched" else None, exact=data.exact, seed=o.seed,
        )  # fmt: skip
        found = matched_effect(
            pairs, score, data.treated, data.y, outcome=data.outcome, cluster=data.cluster,
            x=data.x if o.bias_adjusted else None, adjust=o.bias_adjusted, level=data.level,
        )  # fmt: skip
        if target == "ATT" and found.estimand != "ATT":
            raise ValueError(
                f"estimand: {int(data.treated.sum()) - found.n_treated} of {int(data.treated.sum())} treated found no "
                "match, so the answer is not the ATT; allowed are estimand: matched, and replacement: true"
            )
        return Adjusted(found, _numbers(score), _uses(pairs, len(data.y)))

    def _regressed(self, data: Compared, estimand: Estimand, method: str) -> Adjusted:
        o, e = self.options, self._out_of_fold(data)
        if method == "partially_linear":
            found = partially_linear(
                data.x, data.treated, data.y, data.unit if data.cluster is None else data.cluster,
                outcome=data.outcome, learner=o.regression, level=data.level, seed=o.seed,
            )  # fmt: skip
            n_treated = int(data.treated.sum())
            found = replace(found, n_treated=n_treated, n_control=len(data.y) - n_treated)
        else:
            found = standardized_effect(
                data.x, data.treated, data.y, data.unit, estimand=estimand, outcome=data.outcome,
                modifiers=data.modifiers, cluster=data.cluster, level=data.level,
            )  # fmt: skip
        return Adjusted(found, e, weights(e, data.treated, estimand))


def _numbers(score: Logit | Floats) -> Floats:
    return score.score if isinstance(score, Logit) else score


def _uses(pairs: Matches, n: int) -> Floats:
    """How often each row (n,) counts: a matched treated unit once, its controls once together."""
    count = np.bincount(pairs.treated, minlength=n)
    controls = np.bincount(pairs.control, weights=1 / count[pairs.treated], minlength=n)
    return np.asarray((count > 0) + controls, dtype=np.float64)


def dummies(names: list[str], chosen: list[str]) -> list[int]:
    """Places among ``names`` of the columns that the covariates ``chosen`` became: a text is one per value."""
    return [k for k, name in enumerate(names) if name in chosen or name.partition("=")[0] in chosen]
