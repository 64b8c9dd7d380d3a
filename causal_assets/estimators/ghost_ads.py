"""Ghost ads: a log, kept in both arms, of the users to whom the ad was or would have been served."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.inference import Floats
from causal_assets.estimators.instruments import Instrumented, wald, wald_clustered
from causal_assets.estimators.joint import JointEffects, clustered_effects
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.types import Estimate

NAIVE = "exposed against unexposed users of the treated arm: WRONG, users who see ads differ from those who do not"


@dataclass(frozen=True, order=True)
class Cell:
    """Where a user stands: assigned to the campaign, would have been served by the log's rule, saw the ad."""

    treated: bool
    predicted: bool
    exposed: bool


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers of one ghost-ads experiment to one outcome.

    ``among_predicted`` holds the effect of exposure on those who were exposed because of the campaign (CACE), the ITT
    on predicted-exposed users and their exposure rate; ``all_users`` is the ITT on everybody, diluted by users who
    would never have seen the ad; ``naive`` is wrong and is shown to be seen as such.
    """

    among_predicted: Instrumented
    all_users: Estimate
    naive: Estimate | None


def _merged(cells: Mapping[Cell, Moments], arm: str, **wanted: bool) -> Moments:
    """Moments of all cells in which a user stands as ``wanted``, with exposure (0 or 1) as the second column.

    Raises:
        ValueError: no such cell; ``arm`` names it.
    """
    total: Moments | None = None
    for cell in sorted(cells):
        if any(getattr(cell, name) is not value for name, value in wanted.items()):
            continue
        given = cells[cell]
        mean = np.insert(given.mean, 1, float(cell.exposed))
        cov = np.insert(np.insert(given.cov, 1, 0.0, axis=0), 1, 0.0, axis=1)
        part = Moments(given.n, mean, cov)
        total = part if total is None else total.merge(part)
    if total is None:
        raise ValueError(f"cells: no user is {arm}, got {sorted(cells)}")
    return total


def ghost_ads(cells: Mapping[Cell, Moments], *, outcome: str, level: float = 0.95) -> Answers:
    """Effects from the moments of each cell of users: column 0 the outcome, then covariates from before assignment.

    One grouped query, one row per cell, memory O(k^2). The prediction must be made by one rule in both arms, blind to
    the arm: compare its rate between the arms before reading the answer. Users who are exposed though not predicted
    do no harm, they are outside the population; exposed controls are allowed for.

    Source: Johnson, Lewis & Nubbemeyer (2017), Ghost ads, J. Marketing Research 54(6).

    Raises:
        ValueError: an arm without predicted users, as ``wald``, or as ``difference_in_means``.
    """
    predicted = [
        _merged(cells, f"predicted in the {name} arm", treated=treated, predicted=True)
        for name, treated in (("control", False), ("treated", True))
    ]
    everybody = [_merged(cells, name, treated=treated) for name, treated in (("control", False), ("treated", True))]
    rest = [0, *range(2, everybody[0].mean.size)]
    inside = wald(predicted[0], predicted[1], outcome=outcome, uptake="exposed", estimand="CACE", level=level)
    diluted = difference_in_means(
        everybody[0].select(rest), everybody[1].select(rest), outcome=outcome, level=level, estimand="ITT"
    )
    return _named(inside, diluted, _naive(cells, outcome, level))


def ghost_ads_clustered(
    y: ArrayLike,
    treated: ArrayLike,
    predicted: ArrayLike,
    exposed: ArrayLike,
    cluster: ArrayLike,
    x: ArrayLike | None = None,
    *,
    outcome: str,
    level: float = 0.95,
) -> Answers:
    """``ghost_ads`` where users of a ``cluster`` (n,), such as a household, hang together, or were assigned together.

    ``y``, ``treated``, ``predicted``, ``exposed`` (n,) and covariates ``x`` (n, k) are rows of users; effects and
    errors are those of ``joint.clustered_influence``, counts clusters.

    Raises:
        ValueError: as ``joint.clustered_influence`` and ``instruments.wald_clustered``; flags that are not 0 or 1.
        Refusal: fewer than five clusters of an arm with predicted users.
    """
    outcomes, labels = np.asarray(y, dtype=np.float64), np.asarray(cluster)
    arm, served, seen = flags = [np.asarray(flag).astype(np.float64) for flag in (treated, predicted, exposed)]
    if any(flag.shape != outcomes.shape or not np.isin(flag, (0, 1)).all() for flag in flags):
        raise ValueError(f"treated, predicted, exposed: expected a 0 or 1 for each of {outcomes.size} users")
    columns = np.empty((outcomes.size, 0)) if x is None else np.asarray(x, dtype=np.float64)
    if labels.shape != outcomes.shape or len(columns) != outcomes.size:
        raise ValueError(f"cluster, x: lengths must be {outcomes.size}, got {labels.shape} and {columns.shape}")

    def compared(y: Floats, d: Floats, rows: NDArray[np.bool_], *, adjusted: bool = True) -> JointEffects:
        return clustered_effects(y[rows], d[rows], labels[rows], columns[rows] if adjusted else None)

    inside = compared(np.column_stack([outcomes, seen]), arm, served == 1)
    found = wald_clustered(inside, outcome=outcome, uptake="exposed", estimand="CACE", level=level)
    everybody = compared(outcomes, arm, np.ones(outcomes.size, dtype=bool))
    diluted = everybody.combine([1.0], outcome=outcome, estimand="ITT", method="by cluster", level=level)
    naive = None
    if np.unique(seen[arm == 1]).size == 2:
        wrong = compared(outcomes, seen, arm == 1, adjusted=False)
        naive = wrong.combine([1.0], outcome=outcome, estimand="none", method=NAIVE, level=level)
    return _named(found, diluted, naive)


def _named(inside: Instrumented, diluted: Estimate, naive: Estimate | None) -> Answers:
    """The answers under the words by which they are known."""
    itt = inside.reduced_form
    assert itt is not None
    return Answers(
        among_predicted=replace(
            inside,
            effect=replace(inside.effect, method="ghost ads: predicted users by exposure, Anderson-Rubin set"),
            reduced_form=replace(itt, method="ghost ads: predicted users by arm", estimand="ITT, predicted exposed"),
        ),
        all_users=replace(diluted, method="all users by arm"),
        naive=naive,
    )


def _naive(cells: Mapping[Cell, Moments], outcome: str, level: float) -> Estimate | None:
    """What a dashboard of exposed users would say; None where all treated users were exposed or none."""
    found = [cell.exposed for cell in cells if cell.treated]
    if len(set(found)) < 2:
        return None
    arms = [_merged(cells, "treated", treated=True, exposed=exposed).select([0]) for exposed in (False, True)]
    wrong = difference_in_means(arms[0], arms[1], outcome=outcome, level=level, estimand="none")
    return replace(wrong, method=NAIVE)
