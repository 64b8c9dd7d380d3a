"""A repeated campaign as a sequence of target trials: one per date, pooled, with errors by unit across trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.crossfit import grouped, matrix, validated
from causal_assets.estimators.inference import Floats, clustered_covariance, estimate
from causal_assets.estimators.overlap import (
    Estimand,
    Nuisances,
    Regression,
    Scores,
    effect,
    fit_nuisances,
    median_of_splits,
    scores,
)
from causal_assets.types import Estimate


@dataclass(frozen=True)
class SequentialTrials:
    """Effects per trial in the order of ``labels``, their pooled effect, and a test that all trials have the same one.

    ``heterogeneity_p`` is None for one trial, ``q`` the Wald statistic with (trials - 1) degrees of freedom.
    """

    labels: tuple[Any, ...]
    trials: tuple[Estimate, ...]
    pooled: Estimate
    q: float
    heterogeneity_p: float | None


@dataclass(frozen=True, eq=False)
class PersonTrials:
    """Stacked person-trials: ``unit`` and ``trial`` index units and dates (rows,), ``treated`` (rows,) is the arm."""

    unit: NDArray[np.intp]
    trial: NDArray[np.intp]
    treated: NDArray[np.bool_]


def person_trials(known_from: ArrayLike, treated_on: ArrayLike, dates: ArrayLike) -> PersonTrials:
    """Who takes part in the trial of each date, and in which arm.

    ``known_from`` (n,) is when a unit became eligible, ``treated_on`` (n,) when it was first treated (NaT or NaN:
    never), ``dates`` (k,) the time zeros. A unit is in a trial if it was eligible before the date and not treated
    before it, treated if its first treatment is on that date, untreated otherwise, whatever happens to it later. Memory
    is O(n k).

    Raises:
        ValueError: lengths that differ, dates that are not unique and rising, or nobody treated on a date.
    """
    start, first, zero = np.asarray(known_from), np.asarray(treated_on), np.asarray(dates)
    if start.shape != first.shape or start.ndim != 1:
        raise ValueError(f"known_from, treated_on: shapes must agree, got {start.shape} and {first.shape}")
    if zero.ndim != 1 or not len(zero) or not (zero[1:] > zero[:-1]).all():
        raise ValueError(f"dates: expected one or more rising dates, got {zero.tolist()}")
    at_risk = (start[:, None] < zero) & ~(first[:, None] < zero)  # a comparison with NaT or NaN is false: never treated
    treated = first[:, None] == zero
    for date, number in zip(zero, (at_risk & treated).sum(axis=0), strict=True):
        if not number:
            raise ValueError(f"dates: no eligible unit was treated on {date}")
    trial, unit = np.nonzero(at_risk.T)
    return PersonTrials(unit, trial, treated[unit, trial])


def sequential_effect(
    x: ArrayLike,
    d: ArrayLike,
    y: ArrayLike,
    unit: ArrayLike,
    trial: ArrayLike,
    *,
    estimand: Estimand,
    outcome: str,
    cluster: ArrayLike | None = None,
    regression: Regression = "ridge",
    level: float = 0.95,
    seed: int,
    **learners: Any,
) -> SequentialTrials:
    """Doubly robust effect of each trial and of all: every person-trial counts once, as its estimand weighs it.

    All arrays have one row per person-trial: ``x`` (n, k) as of that trial's time zero, ``d`` (n,), ``y`` (n,) over
    that trial's window, ``unit`` (n,) and ``trial`` (n,) labels. A unit untreated in one trial may be treated in a
    later one; its rows are added up before they are squared, also across trials. Nuisances are fitted within each trial
    (``regression`` is that of the outcome, other ``learners`` are as in ``overlap.fit_nuisances``). Pooled degrees of
    freedom are units - 1. Heterogeneity is a Wald test of equal effects with the clustered covariance of all trials.
    ``cluster`` (n,) labels groups of whole units, which may hold both arms, and takes the units' place in all errors.

    Sources: Hernan & Robins (2016), AJE 183(8); Danaei et al. (2013), Stat. Methods Med. Res. 22(1).

    Raises:
        ValueError: as ``overlap.fit_nuisances``, naming the trial; a unit with two rows in one trial.
        Refusal: as ``overlap.effect``, of a trial or of all.
    """
    treated, outcomes, code = validated(d, y, unit, crossing=True)
    group = grouped(code, cluster, treated)
    covariates, (labels, number) = matrix(x, len(treated)), np.unique(np.asarray(trial), return_inverse=True)
    if len(number) != len(code):
        raise ValueError(f"trial: expected one label per row ({len(code)}), got {len(number)}")
    if np.unique(number * (code.max() + 1) + code).size < len(code):
        raise ValueError("unit: a unit may have one row in each trial, some have more")
    parts, fits, trials = [number == t for t in range(len(labels))], [], []
    for label, rows in zip(labels, parts, strict=True):
        own = None if cluster is None else group[rows]
        given = treated[rows], outcomes[rows], code[rows]
        try:
            fits.append(fit_nuisances(covariates[rows], *given, cluster=own, outcome=regression, seed=seed, **learners))
            trials.append(effect(fits[-1], *given, estimand=estimand, outcome=outcome, cluster=own, level=level))
        except ValueError as error:
            raise type(error)(f"trial {label}: {error}") from error
    pilot = outcomes[~treated, 0].mean()
    by_trial = [
        scores(_centred(fit, pilot), treated[rows], outcomes[rows, 0] - pilot, estimand=estimand, column=0, trim=0.0)
        for fit, rows in zip(fits, parts, strict=True)
    ]
    repeats = list(zip(*by_trial, strict=True))
    point, cov = median_of_splits([_pooled(repeat, parts, group) for repeat in repeats])
    n_treated = np.unique(code[treated]).size
    pooled = estimate(
        outcome=outcome,
        estimand=f"{estimand} over {len(labels)} trials",
        method="sequential target trials, cross-fitted augmented weighting",
        value=float(point[1]),
        control_mean=float(pilot + point[0]),
        cov=cov,
        df=int(group.max()),
        level=level,
        n_treated=n_treated,
        n_control=np.unique(code[~treated]).size,
    )
    q, p = _heterogeneity(repeats, parts, group)
    return SequentialTrials(tuple(labels.tolist()), tuple(trials), pooled, q, p)


def _centred(fit: Nuisances, pilot: float) -> Nuisances:
    return Nuisances(fit.propensity, fit.control - pilot, fit.treated - pilot)


def _pooled(repeat: Sequence[Scores], parts: list[NDArray[np.bool_]], code: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Control mean and effect (2,) over all person-trials, with their covariance by unit or cluster, ``code`` (n,)."""
    sums, size = np.empty((len(code), 2)), np.empty(len(code))
    for one, rows in zip(repeat, parts, strict=True):
        sums[rows], size[rows] = one.sums, one.size
    whole = Scores(sums, size)
    return whole.point, clustered_covariance(whole.influence, code)


def _heterogeneity(
    repeats: list[tuple[Scores, ...]], parts: list[NDArray[np.bool_]], code: NDArray[np.intp]
) -> tuple[float, float | None]:
    """Wald statistic and p-value of equal effects, the median over repeats."""
    from scipy.stats import chi2

    df = len(parts) - 1
    if df == 0:
        return 0.0, None
    found = []
    for repeat in repeats:
        influence = np.zeros((len(code), df + 1))
        for t, (one, rows) in enumerate(zip(repeat, parts, strict=True)):
            influence[rows, t] = one.influence[:, 1] * (len(code) / rows.sum())
        cov = clustered_covariance(influence, code)
        contrast = np.hstack([np.eye(df), -np.ones((df, 1))])
        gap = contrast @ np.array([one.point[1] for one in repeat])
        found.append(gap @ np.linalg.solve(contrast @ cov @ contrast.T, gap))
    q = float(np.median(found))
    return q, float(chi2.sf(q, df))
