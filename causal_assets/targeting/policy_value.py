"""What a frozen policy earns over the best simple alternative, on units that had no part in making either.

``potential`` (n, K+1) are doubly robust scores of the outcome under each treatment, column 0 without any: their means
are the means of the potential outcomes, in experiments and in observational cohorts whose confounders are known.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.cluster_robust import FEWEST_CLUSTERS
from causal_assets.estimators.inference import Floats, Refusal, estimate
from causal_assets.estimators.joint import clustered_means
from causal_assets.types import GAIN, Estimate

Arms = NDArray[np.int16]

METHOD = "doubly robust scores of frozen policies"


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The alternative to beat: everybody gets ``arm`` (0: nobody is treated); None is today's rule.

    ``value`` is what it earned per unit, net of cost, on the folds it was chosen on.
    """

    name: str
    arm: int | None
    value: float

    def arms(self, n: int, today: ArrayLike | None = None) -> Arms:
        """What it gives to each of ``n`` other units; ``today`` (n,) is what today's rule gives them.

        Raises:
            ValueError: today's rule is the baseline and is not given for ``n`` units.
        """
        if self.arm is not None:
            return np.full(n, self.arm, dtype=np.int16)
        if today is None or np.shape(today) != (n,):
            raise ValueError(f"today: expected the {n} units' treatments under today's rule, which is the baseline")
        return np.asarray(today, dtype=np.int16)


def best_baseline(
    potential: ArrayLike,
    cost: ArrayLike,
    *,
    value: float,
    today: ArrayLike | None = None,
    possible: Collection[int] | None = None,
) -> Baseline:
    """The simple alternative that earns most per unit on these folds, which may not be the one of the test.

    Candidates are to treat nobody, everybody with each of the treatments (those in ``possible``, where limits forbid
    some to be given to all), and ``today`` (n,). Of equals the first. Arrays as in ``policy_gain``.

    Raises:
        ValueError: as ``policy_gain``, or a possible treatment that is none.
    """
    scores = checked_scores(potential)
    n, arms = scores.shape
    allowed = range(1, arms) if possible is None else sorted(set(possible))
    if not set(allowed) <= set(range(1, arms)):
        raise ValueError(f"possible: expected treatments from 1 to {arms - 1}, got {list(allowed)}")
    arm_of: dict[str, int | None] = {"treat nobody": 0, **{f"treat all with {k}": k for k in allowed}}
    given = {name: np.full(n, arm, dtype=np.int16) for name, arm in arm_of.items()}
    if today is not None:
        arm_of["today's rule"], given["today's rule"] = None, checked_arms("today", today, scores)
    values = {name: float(net(scores, arm, cost, value).mean()) for name, arm in given.items()}
    name = max(values, key=lambda one: values[one])
    return Baseline(name=name, arm=arm_of[name], value=values[name])


def policy_gain(
    potential: ArrayLike,
    chosen: ArrayLike,
    baseline: ArrayLike,
    cost: ArrayLike,
    *,
    value: float,
    outcome: str,
    cluster: ArrayLike | None = None,
    level: float = 0.9,
) -> Estimate:
    """What ``chosen`` (n,) earns per unit more than ``baseline`` (n,), net of cost, in money.

    Both hold the treatments 0 to K that policies give which were frozen on other folds; ``cost`` (K,) or (n, K) money
    per unit treated, ``value`` money per unit of outcome. The lower end of the interval is a one-sided bound of level
    (1 + level) / 2: of 95% by default. Units on which both agree say nothing about the error, hence t with one degree
    of freedom less than there are units, or clusters (n,), on which they differ. Without any such unit the gain is 0
    for certain. The control mean is what the baseline earns per unit; counts are units treated or not by ``chosen``.

    Source: Athey & Wager (2021), Policy learning with observational data, Econometrica 89(1), eq. 2.

    Raises:
        ValueError: shapes that do not fit, a NaN or infinite number, a negative cost, a treatment that is not 0 to K.
        Refusal: a difference on fewer than five units or clusters.
    """
    scores = checked_scores(potential)
    new, old = checked_arms("chosen", chosen, scores), checked_arms("baseline", baseline, scores)
    before = net(scores, old, cost, value)
    columns = np.column_stack([before, net(scores, new, cost, value) - before])
    code = codes(cluster, len(scores))
    apart = int((np.bincount(code, weights=new != old) > 0).sum())
    n_treated = int((new > 0).sum())
    n_control = len(new) - n_treated
    if not apart:
        return Estimate(
            outcome=outcome,
            estimand=GAIN,
            method=METHOD,
            value=0.0,
            std_error=0.0,
            low=0.0,
            high=0.0,
            p_value=1.0,
            level=level,
            n_treated=n_treated,
            n_control=n_control,
            control_mean=float(before.mean()),
        )
    if apart < FEWEST_CLUSTERS:
        raise Refusal(
            f"chosen: policy and baseline differ on {apart} units or clusters, an error needs {FEWEST_CLUSTERS}"
        )
    mean, (cov, _) = clustered_means(*cluster_sums(columns, code))
    return estimate(
        outcome=outcome,
        estimand=GAIN,
        method=METHOD,
        value=mean[1],
        control_mean=mean[0],
        cov=cov,
        df=apart - 1.0,
        level=level,
        n_treated=n_treated,
        n_control=n_control,
    )


def net(scores: Floats, given: Arms, cost: ArrayLike, value: float) -> Floats:
    """What each unit (n,) is worth under the treatment ``given`` (n,): outcome in money less cost.

    Raises:
        ValueError: a cost of another shape, negative, NaN or infinite, or such a value.
    """
    n, arms = scores.shape
    paid = np.asarray(cost, dtype=np.float64)
    if paid.shape not in ((arms - 1,), (n, arms - 1)):
        raise ValueError(f"cost: expected shape ({arms - 1},) or ({n}, {arms - 1}), got {paid.shape}")
    if not np.isfinite(paid).all() or paid.min() < 0:
        raise ValueError(f"cost: expected finite numbers from 0, got {paid.min()} to {paid.max()}")
    if not np.isfinite(value):
        raise ValueError(f"value: expected a finite number, got {value}")
    own = np.broadcast_to(paid, (n, arms - 1))[np.arange(n), np.maximum(given, 1) - 1]
    return value * scores[np.arange(n), given] - np.where(given > 0, own, 0.0)


def checked_scores(potential: ArrayLike) -> Floats:
    """Scores (n, K+1) of at least one treatment.

    Raises:
        ValueError: another shape, or a NaN or infinite score.
    """
    scores = np.asarray(potential, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] < 2 or not len(scores):
        raise ValueError(f"potential: expected shape (n, K+1) with a column for no treatment, got {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"potential: {int((~np.isfinite(scores)).sum())} scores are NaN or infinite")
    return scores


def checked_arms(name: str, given: ArrayLike, scores: Floats) -> Arms:
    """Treatments (n,), whole numbers 0 to K.

    Raises:
        ValueError: another length, a number that is not whole, or outside 0 to K.
    """
    arms, (n, columns) = np.asarray(given), scores.shape
    if arms.shape != (n,) or arms.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected {n} whole numbers, got {arms.dtype} of shape {arms.shape}")
    if arms.min() < 0 or arms.max() >= columns:
        raise ValueError(f"{name}: treatments are 0 to {columns - 1}, got {arms.min()} to {arms.max()}")
    return arms.astype(np.int16)


def codes(cluster: ArrayLike | None, n: int) -> NDArray[np.intp]:
    """Numbers (n,) from 0 of what is independent: rows, or the clusters given.

    Raises:
        ValueError: another number of labels.
    """
    if cluster is None:
        return np.arange(n)
    labels = np.asarray(cluster)
    if labels.shape != (n,):
        raise ValueError(f"cluster: expected one label per unit ({n}), got shape {labels.shape}")
    return np.unique(labels, return_inverse=True)[1]


def cluster_sums(columns: Floats, code: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Sums and counts (G, k) of ``columns`` (n, k) by cluster."""
    sums = np.stack([np.bincount(code, weights=column) for column in columns.T], axis=1).astype(np.float64)
    return sums, np.tile(np.bincount(code).astype(np.float64)[:, None], columns.shape[1])
