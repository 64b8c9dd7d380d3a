"""Who gets the benefit of targeting, who bears its harm, and what it would cost to share the benefit.

Benefit is the effect of a frozen policy on the outcome, against treating nobody: not net of cost, which is the firm's.
Harm to single units is not identified, for nobody sees a unit with and without treatment. Harm here is the loss in
*harmful* parts of the population: those in which what the policy gives did harm on earlier folds. It is identified, and
at most all harm there is.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.inference import Floats, Refusal, fieller
from causal_assets.estimators.joint import clustered_means
from causal_assets.targeting.allocation import Allocation, allocate
from causal_assets.targeting.policy_value import Arms, checked_arms, checked_scores, cluster_sums, codes, net
from causal_assets.types import Status

# The weight of a group's gain is found to this share of it, and a rule that this weight does not meet is out of reach.
PRECISION = 0.01
HEAVIEST = 2.0**20


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number and its confidence interval, which may be unbounded."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class GroupFairness:
    """What a policy does to one protected group of ``units``; None where there is nothing to have a share of.

    ``treated`` and ``harmed`` are shares of its units; ``benefit`` and ``harm`` are outcomes per unit of it, and their
    shares parts of what all units have; ``forgone`` is money per unit that limits cost it. ``ratio`` is its benefit per
    unit over that of all other units, its interval valid for all groups at once; ``status`` compares that with the rule
    and is None without one.
    """

    group: Hashable
    units: int
    treated: Interval
    benefit: Interval
    benefit_share: Interval | None
    harmed: Interval
    harm: Interval
    harm_share: Interval | None
    forgone: Interval
    ratio: Interval | None
    status: Status | None


def harmful_parts(potential: ArrayLike, chosen: ArrayLike, part: ArrayLike) -> frozenset[Hashable]:
    """Labels of the parts (n,) of the population in which what the policy gives lowers the mean outcome.

    To be told on other folds than ``group_fairness``, lest noise counts as harm; arrays as there.

    Raises:
        ValueError: shapes that do not fit, a NaN or infinite score, a treatment that is not 0 to K.
    """
    scores = checked_scores(potential)
    labels, benefit = _labels("part", part, len(scores)), _benefit(scores, checked_arms("chosen", chosen, scores))
    names, code = np.unique(labels, return_inverse=True)
    return frozenset(names[np.bincount(code, weights=benefit) < 0].tolist())


def group_fairness(
    potential: ArrayLike,
    chosen: ArrayLike,
    group: ArrayLike,
    *,
    unconstrained: ArrayLike,
    harmful: ArrayLike,
    cost: ArrayLike,
    value: float,
    at_least: float | None = None,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> list[GroupFairness]:
    """What the policy that gives ``chosen`` (n,) does to each ``group`` (n,), on a fold that had no part in making it.

    ``potential`` (n, K+1) are doubly robust scores, column 0 without treatment; ``unconstrained`` (n,) what the same
    predictions would give without limits, ``harmful`` (n,) booleans of units in ``harmful_parts``, ``cost`` and
    ``value`` as in ``policy_gain``. Where ``at_least`` is the least allowed ratio of benefits per unit, a group fails
    whose whole interval is below it, passes where none of it is, and is for review otherwise, as it is where the others
    have no benefit. A group is compared with all others, not with the best-off one: the largest of several noisy
    benefits is too large, and a fair policy would fail.

    Errors are jackknife over units or ``cluster`` (n,), t with one degree of freedom less than the group (for ratios,
    the smaller side) has of them. Shares treated are Wilson's; ratios are Fieller's, with Bonferroni's level. A group
    of which nobody is treated has no spread: the upper end of its ratio is that of its share treated over the others'.

    Source: Fieller (1954), JRSS B 16(2); Wilson (1927), JASA 22(158).

    Raises:
        ValueError: shapes that do not fit, a NaN or infinite number, a treatment that is not 0 to K, fewer than two
            groups, a group of one unit or cluster, fewer than five of them in all, a rule that is not positive, or a
            level outside (0, 1).
    """
    scores = checked_scores(potential)
    n = len(scores)
    given, free = checked_arms("chosen", chosen, scores), checked_arms("unconstrained", unconstrained, scores)
    labels, harms, code = _labels("group", group, n), np.asarray(harmful), codes(cluster, n)
    if harms.shape != (n,) or harms.dtype != bool:
        raise ValueError(f"harmful: expected {n} booleans, got {harms.dtype} of shape {harms.shape}")
    if at_least is not None and not 0 < at_least < inf:
        raise ValueError(f"at_least: expected a positive ratio, got {at_least}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: expected a number strictly between 0 and 1, got {level}")
    benefit, harmed = _benefit(scores, given), (given > 0) & harms
    lost = net(scores, free, cost, value) - net(scores, given, cost, value)
    columns = np.column_stack([given > 0, benefit, harmed, np.where(harmed, -benefit, 0.0), lost])
    names = np.unique(labels)
    if names.size < 2:
        raise ValueError(f"group: a comparison needs at least 2 groups, got {names.tolist()}")
    return [_one(name, labels == name, columns, code, names.size, at_least, level) for name in names.tolist()]


@dataclass(frozen=True, eq=False)
class _Means:
    """Means (k,) with their covariance (k, k)."""

    mean: Floats
    cov: Floats

    def interval(self, i: int, critical: float) -> Interval:
        half = critical * sqrt(self.cov[i, i])
        return Interval(value=float(self.mean[i]), low=float(self.mean[i] - half), high=float(self.mean[i] + half))

    def wilson(self, i: int, critical: float, independent: int) -> Interval:
        """Of a share, from as many independent units as would give it its error; ``independent`` if it has none."""
        share, variance = float(self.mean[i]), self.cov[i, i]
        squared = critical**2 / (share * (1 - share) / variance if variance > 0 else independent)
        centre = (share + squared / 2) / (1 + squared)
        half = sqrt(share * (1 - share) * squared + squared**2 / 4) / (1 + squared)
        return Interval(value=share, low=max(centre - half, 0.0), high=min(centre + half, 1.0))

    def ratio(self, i: int, j: int, critical: float) -> Interval | None:
        """Of mean i to mean j, None unless the latter is positive."""
        if not self.mean[j] > 0:
            return None
        pair = np.ix_([j, i], [j, i])
        low, high = fieller(float(self.mean[i]), float(self.mean[j]), self.cov[pair], critical)
        return Interval(value=float(self.mean[i] / self.mean[j]), low=low, high=high)


def _one(
    name: Hashable,
    inside: NDArray[np.bool_],
    columns: Floats,
    code: NDArray[np.intp],
    groups: int,
    at_least: float | None,
    level: float,
) -> GroupFairness:
    """The group ``inside`` (n,); ``columns`` (n, 5): treated, benefit, harmed, harm, money forgone."""
    from scipy.stats import t

    own, others = np.unique(code[inside]).size, np.unique(code[~inside]).size
    if min(own, others) < 2:
        raise ValueError(f"group: {name!r} or the units outside it are 1 unit or cluster, an error needs 2")
    weight = inside[:, None].astype(np.float64)
    every = columns[:, [1, 3]]
    values = np.hstack([columns * weight, columns[:, :2] * (1 - weight), every, every * weight])
    counted = np.hstack([np.tile(weight, 5), np.tile(1 - weight, 2), np.ones((len(columns), 4))])
    means = _Means(*_jackknife(values, counted, code))
    alone, apart, together = (
        float(t.ppf(1 - (1 - level) / tails, size - 1))
        for tails, size in ((2, own), (2, min(own, others)), (2 * groups, min(own, others)))
    )
    ratio = means.ratio(1, 6, together)
    if ratio is not None and ratio.high < inf and not columns[inside, 0].any():
        ratio = Interval(value=0.0, low=0.0, high=means.wilson(0, together, own).high / float(means.mean[5]))
    return GroupFairness(
        group=name,
        units=int(inside.sum()),
        treated=means.wilson(0, alone, own),
        benefit=means.interval(1, alone),
        benefit_share=means.ratio(9, 7, apart),
        harmed=means.wilson(2, alone, own),
        harm=means.interval(3, alone),
        harm_share=means.ratio(10, 8, apart),
        forgone=means.interval(4, alone),
        ratio=ratio,
        status=None if at_least is None else _status(ratio, at_least),
    )


def _jackknife(values: Floats, counted: Floats, code: NDArray[np.intp]) -> tuple[Floats, Floats]:
    sums, counts = cluster_sums(values, code)[0], cluster_sums(counted, code)[0]
    mean, (cov, _) = clustered_means(sums, counts)
    return mean, cov


def _status(ratio: Interval | None, at_least: float) -> Status:
    if ratio is None:
        return Status.REVIEW
    if ratio.high < at_least:
        return Status.FAIL
    return Status.REVIEW if ratio.low < at_least else Status.PASS


def _benefit(scores: Floats, given: Arms) -> Floats:
    return scores[np.arange(len(scores)), given] - scores[:, 0]


def _labels(name: str, given: ArrayLike, n: int) -> NDArray:
    labels = np.asarray(given)
    if labels.shape != (n,):
        raise ValueError(f"{name}: expected one label per unit ({n}), got shape {labels.shape}")
    if (labels != labels).any() or (labels.dtype == object and None in labels.tolist()):
        raise ValueError(f"{name}: labels may not be missing; give units of unknown {name} a label of their own")
    return labels


@dataclass(frozen=True, kw_only=True)
class Shares:
    """As predicted: ``ratio`` of benefits per unit, group over others; its part of all ``benefit``; its share treated.

    The ratio is infinite where the others have no benefit, and ``benefit`` 0 where nobody has.
    """

    ratio: float
    benefit: float
    treated: float


@dataclass(frozen=True, kw_only=True, eq=False)
class FairAllocation:
    """The allocation in which the group's gain counts ``weight`` times more than it is, and what that costs.

    ``chosen`` (n,) has ``profit`` as predicted, which is ``price`` less than that of ``free``, the best within the
    limits; ``before`` and ``after`` are the group's shares in the two.
    """

    chosen: Arms
    weight: float
    profit: float
    price: float
    free: Allocation
    before: Shares
    after: Shares


def price_of_fairness(
    effect: ArrayLike,
    cost: ArrayLike,
    inside: ArrayLike,
    *,
    at_least: float,
    value: float,
    budget: float | None = None,
    capacity: Sequence[float] | None = None,
    contacts: float | None = None,
) -> FairAllocation:
    """The predicted profit lost when the group's benefit per unit must be ``at_least`` times that of the others.

    ``inside`` (n,) booleans of the group's units; the other arguments are those of ``allocate``, with a positive
    ``value``. The gain of the group's units is multiplied until the rule is met on predictions, by the smallest such
    factor, found by bisection: nobody gives the group as much at less cost within the limits (Everett 1963). Others
    lose only what limits make them lose: the rule is never met by treating them worse for its own sake. To treat new
    units by it, multiply the effects of the group's by 1 + ``weight``.

    Raises:
        ValueError: as ``allocate``, a group that is empty or everybody, a rule or a value that is not positive.
        Refusal: a rule that cannot be met within the limits by giving the group more.
    """
    gain, member = np.asarray(effect), np.asarray(inside)
    if gain.ndim != 2 or member.shape != (len(gain),) or member.dtype != bool or member.all() or not member.any():
        raise ValueError(f"inside: expected {len(gain)} booleans, some of them true, got {member.dtype} {member.shape}")
    for name, number in (("at_least", at_least), ("value", value)):
        if not 0 < number < inf:
            raise ValueError(f"{name}: expected a positive number, got {number}")

    def solve(weight: float) -> tuple[Allocation, Shares]:
        weighted = np.where(member[:, None], gain * (1 + weight), gain)
        found = allocate(weighted, cost, value=value, budget=budget, capacity=capacity, contacts=contacts)
        return found, _shares(gain, found.chosen, member)

    free, before = solve(0.0)
    low, high, (fair, after) = 0.0, 1.0, (free, before)
    while after.ratio < at_least and high <= HEAVIEST:
        fair, after = solve(high)
        low, high = (high, 2 * high) if after.ratio < at_least else (low, high)
    if after.ratio < at_least:
        raise Refusal(
            f"at_least: within the limits the group's benefit per unit comes to {after.ratio:.3g} of the others' "
            f"at most, not {at_least:g}"
        )
    if before.ratio >= at_least:
        high = 0.0
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        found, shares = solve(middle)
        if shares.ratio < at_least:
            low = middle
        else:
            high, fair, after = middle, found, shares
    profit = _profit(gain, fair.chosen, cost, value)
    return FairAllocation(
        chosen=fair.chosen,
        weight=high,
        profit=profit,
        price=_profit(gain, free.chosen, cost, value) - profit,
        free=free,
        before=before,
        after=after,
    )


def _given(effect: NDArray, chosen: Arms) -> Floats:
    """Predicted effect (n,) of what each unit is given."""
    own = effect[np.arange(len(effect)), np.maximum(chosen, 1) - 1].astype(np.float64)
    return np.where(chosen > 0, own, 0.0)


def _shares(effect: NDArray, chosen: Arms, member: NDArray[np.bool_]) -> Shares:
    benefit = _given(effect, chosen)
    own, others, total = benefit[member].mean(), benefit[~member].mean(), benefit.sum()
    return Shares(
        ratio=float(own / others) if others > 0 else inf,
        benefit=float(benefit[member].sum() / total) if total > 0 else 0.0,
        treated=float((chosen[member] > 0).mean()),
    )


def _profit(effect: NDArray, chosen: Arms, cost: ArrayLike, value: float) -> float:
    paid = np.broadcast_to(np.asarray(cost), effect.shape)
    return float((value * _given(effect, chosen) - _given(paid, chosen)).sum())
