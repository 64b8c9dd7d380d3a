"""A frozen answer to "who responds": effects with intervals, and a treatment for any unit with its features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causal_assets.estimators.inference import Floats
from causal_assets.estimators.multiplicity import step_down
from causal_assets.targeting.allocation import Rule, allocate
from causal_assets.targeting.calibration import BestLinearPrediction, best_linear_prediction
from causal_assets.targeting.choice import Budget, Choice, choose
from causal_assets.targeting.features import Features
from causal_assets.targeting.learners import DEFAULT
from causal_assets.targeting.measures import FEWEST_UNITS, Measure
from causal_assets.targeting.nuisances import LEAST_PER_ARM, Arms, Sample, potential_scores
from causal_assets.targeting.rate import rate

# What a unit's rows serve for; a unit is in one fold for good.
LEARN, SELECT, TEST, POLICY = range(4)
FOLDS = ("learn", "select", "test", "policy")
# One-sided error of the claim that somebody responds more.
ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class Treatments:
    """The treatments besides the control: names, cost per treated unit in money, and most units of each (inf: any)."""

    names: tuple[str, ...]
    cost: tuple[float, ...]
    capacity: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a campaign to as many units as the cohort has may spend, and how many it may contact; None is no limit."""

    budget: float | None = None
    contacts: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """Rows as the model sees them: ``raw`` and calibrated ``effect`` with ``low`` and ``high`` (n, K), ``expected``
    outcome by arm (n, K + 1), ``propensity`` likewise, and the treatment ``chosen`` (n,)."""

    raw: Floats
    effect: Floats
    low: Floats
    high: Floats
    expected: Floats
    propensity: Floats
    chosen: Arms


@dataclass(frozen=True, kw_only=True, eq=False)
class UpliftModel:
    """The winner of a search, calibrated on the test fold, and the rule that its effects are acted on by.

    ``lines`` are the mean effects of units by their prediction, one per treatment; where nobody in particular was shown
    to respond more (``responds`` is False, by the test in ``tested``) the line is flat. ``cut`` parts units of low
    expected outcome without treatment from those of high. All was fixed before a unit of the policy fold was looked at.
    """

    features: Features
    treatments: Treatments
    choice: Choice
    lines: tuple[BestLinearPrediction, ...]
    tested: tuple[Measure, ...]
    responds: tuple[bool, ...]
    rule: Rule
    cut: float
    level: float

    def score(self, columns: Mapping[str, Any]) -> Scored:
        """Score units by their features; see ``Features.matrix`` for what it refuses."""
        return self.score_matrix(self.features.matrix(columns))

    def score_matrix(self, x: Floats) -> Scored:
        """Score rows (n, p) of the features' matrix.

        ``low`` and ``high`` hold the mean effect of units with the same prediction, at ``level``.
        """
        raw = self.choice.effects(x)
        effect, low, high = calibrated(self.lines, raw, self.level)
        expected, propensity = self.choice.nuisances.at(x)
        chosen = self.rule.treat(effect, self.treatments.cost).astype(np.intp)
        return Scored(
            raw=raw, effect=effect, low=low, high=high, expected=expected, propensity=propensity, chosen=chosen
        )


def calibrated(lines: Sequence[BestLinearPrediction], raw: Floats, level: float) -> tuple[Floats, Floats, Floats]:
    """Mean effects (n, K) of units predicted ``raw`` (n, K), and the ends of their intervals."""
    found = [line.effect(column) for line, column in zip(lines, raw.T, strict=True)]
    effect, error = (np.stack([one[part] for one in found], axis=1) for part in (0, 1))
    half = NormalDist().inv_cdf((1 + level) / 2) * error
    return effect, effect - half, effect + half


def fit(
    sample: Sample,
    fold: NDArray[np.intp],
    features: Features,
    treatments: Treatments,
    *,
    value: float,
    limits: Limits,
    randomised: bool,
    candidates: Sequence[str] = DEFAULT,
    budget: Budget | None = None,
    level: float = 0.95,
    seed: int,
) -> UpliftModel:
    """Search on the folds LEARN and SELECT, test and calibrate the winner on TEST, fix the rule; POLICY is not read.

    A treatment's effect is let vary where its Qini-weighted RATE on the test fold is above zero at one-sided 5%,
    corrected for the number of treatments (Holm): of the tests for heterogeneity the one that keeps its size where
    outcomes are rare and predictions long-tailed. ``value`` is money per unit of outcome.

    Raises:
        ValueError: another fold, a unit in several, a fold with fewer than ``FEWEST_UNITS`` units or ``LEAST_PER_ARM``
            of an arm; see ``choose`` and ``best_linear_prediction``.
    """
    _require_folds(sample, fold)
    searched, test = np.isin(fold, (LEARN, SELECT)), fold == TEST
    choice = choose(
        sample.where(searched), fold[searched] == SELECT, randomised=randomised, candidates=candidates, budget=budget,
        seed=seed,
    )  # fmt: skip
    own = sample.where(test)
    potential = potential_scores(own, *choice.nuisances.at(own.x))
    psi, raw = potential[:, 1:] - potential[:, :1], choice.effects(own.x)
    cluster = own.unit if len(np.unique(own.unit)) < len(own.unit) else None
    sloped = [best_linear_prediction(psi[:, k], raw[:, k], cluster=cluster, level=level) for k in range(psi.shape[1])]
    flat = [best_linear_prediction(column, np.zeros(len(column)), cluster=cluster, level=level) for column in psi.T]
    # By unit: rows of one unit are no further witnesses.
    ranked = [rate(*_means([raw[:, k], psi[:, k]], own.unit), seed=seed, level=level).qini for k in range(psi.shape[1])]
    responds = step_down(np.array([one.p_value for one in ranked])) < ALPHA
    lines = tuple(line if shown else same for line, same, shown in zip(sloped, flat, responds, strict=True))
    before = fold != POLICY
    effect, *_ = calibrated(lines, choice.effects(sample.x[before]), level)
    share = before.mean()
    rule = allocate(
        effect,
        treatments.cost,
        value=value,
        budget=None if limits.budget is None else limits.budget * share,
        capacity=[most * share for most in treatments.capacity],
        contacts=None if limits.contacts is None else limits.contacts * share,
    ).rule
    expected, _ = choice.nuisances.at(sample.x[before])
    return UpliftModel(
        features=features, treatments=treatments, choice=choice, lines=lines, tested=tuple(ranked),
        responds=tuple(map(bool, responds)), rule=rule, cut=float(np.median(expected[:, 0])), level=level,
    )  # fmt: skip


def _require_folds(sample: Sample, fold: NDArray[np.intp]) -> None:
    if fold.shape != sample.y.shape or not np.isin(fold, range(len(FOLDS))).all():
        raise ValueError(f"fold: one of 0 to {len(FOLDS) - 1} per row ({len(sample.y)}), got {np.unique(fold)[:5]}")
    _, first, code = np.unique(sample.unit, return_index=True, return_inverse=True)
    if (fold != fold[first][code]).any():
        raise ValueError("fold: some units are in several; each needs one")
    for place, name in enumerate(FOLDS):
        counts = sample.where(fold == place).units_per_arm(sample.treatments + 1)
        if counts.min() < LEAST_PER_ARM or counts.sum() < FEWEST_UNITS:
            raise ValueError(
                f"fold: units per arm in {name!r} are {counts.tolist()}; needed are {LEAST_PER_ARM} of each and "
                f"{FEWEST_UNITS} in all"
            )


def _means(columns: Sequence[Floats], unit: NDArray[np.intp]) -> list[Floats]:
    """Columns (n,) as means by unit."""
    code = np.unique(unit, return_inverse=True)[1]
    return [np.bincount(code, weights=column) / np.bincount(code) for column in columns]
