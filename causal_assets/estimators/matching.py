"""Matching treated units to untreated ones of nearly the same propensity.

Units are compared by the logit of the propensity, a number on a line: one sort, then neighbours. Pairs without
replacement are chosen by this order: the closest pair of all first, then the closest of those left, the leftmost of
equals. The units so chosen are then paired anew by rank, which among all pairings of the same units has the least total
distance and the least largest one. Units with equal propensity stand in a random order that ``seed`` and the sorted
unit labels decide, never the order of rows.

Where the treated outnumber the controls near them, pairs without replacement lean one way, the more so the wider the
caliper, and more units do not cure it. Estimates are therefore adjusted for the distance that remains, unless declined.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.cluster_robust import LEVERAGE, require_clusters
from causal_assets.estimators.crossfit import grouped, matrix, validated
from causal_assets.estimators.inference import Floats, Refusal, estimate
from causal_assets.estimators.propensity import Logit
from causal_assets.types import Estimate

Index = NDArray[np.intp]

# Standard deviations of the logit, averaged over the arms; removes 98-99% of the bias (Austin 2011, Pharm. Stat. 10).
CALIPER = 0.2
# Neighbours in the same arm from which the variance of an outcome at one propensity is read (Abadie & Imbens 2006).
VARIANCE_NEIGHBOURS = 2
# A bias of a quarter of the standard error takes 1 point off the coverage of a 95% interval.
LARGEST_LEAN = 0.25
# Below this share of rows taken in one sweep, a stack is faster than another sweep.
FEW_AT_ONCE = 0.05
# Using a control twice moves control mean and effect by the same noise in opposite directions.
REUSE_SIGNS = np.array([[1.0, -1.0], [-1.0, 1.0]])


@dataclass(frozen=True, eq=False)
class Matches:
    """Pairs of row numbers: ``control[p]`` stands for ``treated[p]`` (pairs,), ``distance`` (pairs,) apart in logits.

    A treated unit occurs in up to ``ratio`` pairs; ``treated`` ascends. ``caliper`` is in logits too. ``key`` (n,) is
    the place of every row on the line, ``order`` (n,) the rows from left to right.
    """

    treated: Index
    control: Index
    distance: Floats
    caliper: float
    key: Floats
    order: Index


def match(
    score: ArrayLike | Logit,
    d: ArrayLike,
    unit: ArrayLike | None = None,
    *,
    ratio: int = 1,
    replacement: bool = False,
    caliper: float | None = CALIPER,
    exact: ArrayLike | None = None,
    seed: int = 0,
) -> Matches:
    """Up to ``ratio`` nearest controls for each treated unit, within ``caliper`` standard deviations of the logit.

    ``score`` (n,) are propensities, ``d`` (n,) is 0 or 1, ``unit`` (n,) labels that break ties (row numbers if None),
    ``exact`` (n,) or (n, k) columns on which a pair must agree. Without replacement a control is used once, and rounds
    of one control per treated unit are run ``ratio`` times. O(n log n) time, O(n ratio) memory. A treated unit without
    a control inside the caliper stays out, so the answer is about the matched.

    Raises:
        ValueError: lengths that differ, scores outside (0, 1), one arm only, several rows of a unit, a ratio below 1, a
            caliper that is not positive, or no pair within the caliper.
    """
    given = np.asarray(score.score if isinstance(score, Logit) else score, dtype=np.float64)
    treated, _, code = validated(d, given, unit)
    if code.max() + 1 < len(code):
        raise ValueError(f"unit: matching needs one row per unit, got {len(code)} rows of {code.max() + 1} units")
    if not ((given > 0) & (given < 1)).all():
        raise ValueError(f"score: propensities must lie strictly between 0 and 1, got {given.min()} to {given.max()}")
    if treated.all() or not treated.any():
        raise ValueError(f"d: both arms are needed, {int(treated.sum())} of {len(treated)} rows are treated")
    if ratio < 1:
        raise ValueError(f"ratio: expected at least 1 control per treated unit, got {ratio}")
    if caliper is not None and not caliper > 0:
        raise ValueError(f"caliper: expected None or a positive number of standard deviations, got {caliper}")
    logit = np.log(given / (1 - given))
    spread = np.sqrt((logit[treated].var() + logit[~treated].var()) / 2)
    reach = np.ptp(logit) if caliper is None or spread == 0 else min(caliper * spread, float(np.ptp(logit)))
    key, order = _line(logit, code, reach, exact, seed)
    pairs = (_nearest if replacement else _rounds)(key, order, treated, reach, ratio)
    if not len(pairs):
        raise ValueError(f"caliper: no control lies within {reach:.3g} logits of a treated unit; is there any overlap?")
    focus, control = np.divmod(np.sort(pairs[:, 0] * len(code) + pairs[:, 1]), len(code))
    return Matches(focus, control, np.abs(logit[focus] - logit[control]), float(reach), key, order)


def _line(logit: Floats, code: Index, reach: float, exact: ArrayLike | None, seed: int) -> tuple[Floats, Index]:
    """Key (n,) of every row, the logit with groups that must not mix farther apart than ``reach``, and rows by key.

    Equal keys stand in a random order of their units.
    """
    key = logit
    if exact is not None:
        columns = np.asarray(exact).reshape(len(logit), -1)
        group = np.unique(columns, axis=0, return_inverse=True)[1].reshape(-1)
        key = logit + group * (np.ptp(logit) + 2 * reach + 1)
    order = _rising(key)
    at = key[order]
    if (at[1:] == at[:-1]).any():
        by_draw = np.empty(len(logit), dtype=np.intp)
        by_draw[np.random.default_rng(seed).permutation(len(logit))[code]] = np.arange(len(logit))
        order = by_draw[np.argsort(key[by_draw], kind="stable")]
    return key, order


def _rising(key: Floats) -> Index:
    """Places of keys (n,) from low to high: one sort of whole numbers that hold a key's first bits and its place.

    Numbers are sorted several times faster than their places; few keys differ in their last bits only.
    """
    bits, last = key.view(np.int64), (1 << key.size.bit_length()) - 1
    packed = bits >> 63  # of a negative float all bits but the sign are turned, for it falls as they rise
    packed &= np.iinfo(np.int64).max
    packed ^= bits
    packed &= ~last
    packed |= np.arange(key.size)
    packed.sort()
    packed &= last
    at = key[packed]
    return packed[np.argsort(at, kind="stable")] if (at[1:] < at[:-1]).any() else packed


def _nearest(key: Floats, order: Index, treated: NDArray[np.bool_], reach: float, ratio: int) -> Index:
    """Pairs (pairs, 2) of each treated unit with its ``ratio`` nearest controls: they are neighbours on the line."""
    dose = treated[order]
    focus, pool, before = order[dose], order[~dose], np.cumsum(~dose, dtype=np.intp)[dose]
    window = before[:, None] + np.arange(-ratio, ratio)
    inside = (window >= 0) & (window < pool.size)
    candidate = pool[window.clip(0, pool.size - 1)]
    gap = np.where(inside, np.abs(key[candidate] - key[focus][:, None]), np.inf)
    chosen = np.argpartition(gap, ratio - 1, axis=1)[:, :ratio]
    near = np.take_along_axis(gap, chosen, axis=1) <= reach
    rows = np.broadcast_to(focus[:, None], chosen.shape)
    return np.stack([rows[near], np.take_along_axis(candidate, chosen, axis=1)[near]], axis=1)


def _rounds(key: Floats, order: Index, treated: NDArray[np.bool_], reach: float, ratio: int) -> Index:
    """Pairs (pairs, 2) without replacement: rounds in which each treated unit may take one more control."""
    found, rows = [], order
    for _ in range(ratio):
        dose = treated[rows]
        taken = _closest_first(key[rows], dose, reach)
        focus, control = rows[taken & dose], rows[taken & ~dose]
        found.append(np.stack([focus, control], axis=1))  # both in order: paired by rank
        rows = rows[dose | ~taken]
    return np.concatenate(found)


def _closest_first(key: Floats, dose: NDArray[np.bool_], reach: float) -> NDArray[np.bool_]:
    """Which rows of a line (n,) are taken when the closest pair of all goes first.

    Whatever stands between the two of a pair has been taken before it, in pairs. So in a walk up at each treated row
    and down at each control, a pair goes up and down the same step: the rows of a step alternate between the arms, and
    steps have nothing to do with each other. On a step, two neighbours that are closer to each other than to anyone
    else are a pair whatever happens elsewhere: all such go at once, while there are many. O(n log n).
    """
    width = key.size.bit_length()
    by_step = np.cumsum(np.where(dose, 1, -1)) - dose
    by_step <<= width
    by_step |= np.arange(key.size)
    by_step.sort()
    place, step = by_step & ((1 << width) - 1), by_step >> width
    taken = np.zeros(key.size, dtype=bool)
    while place.size:
        gap = np.full(place.size + 1, np.inf)
        at = key[place]
        np.subtract(at[1:], at[:-1], out=gap[1:-1])
        gap[1:-1][(step[1:] != step[:-1]) | (gap[1:-1] > reach)] = np.inf
        pair = np.zeros(place.size + 1, dtype=bool)  # of the rows before and after each gap
        pair[1:-1] = (gap[1:-1] < gap[:-2]) & (gap[1:-1] <= gap[2:])
        gone = pair[:-1] | pair[1:]
        taken[place[gone]] = True
        left = ~gone & (np.minimum(gap[:-1], gap[1:]) <= reach)
        few = np.count_nonzero(gone) < FEW_AT_ONCE * place.size
        place, step = place[left], step[left]
        if few:
            taken[place[_one_by_one(key[place], step, reach)]] = True
            break
    return taken


def _one_by_one(key: Floats, step: Index, reach: float) -> Index:
    """The same choice, as places among the rows left (n,), by a stack of rows whose gaps narrow to the right."""
    at, on = [*key.tolist(), np.inf], [*step.tolist(), None]
    waiting: list[int] = []
    taken: list[int] = []

    def apart(i: int, j: int) -> float:
        return at[j] - at[i] if on[i] == on[j] else np.inf

    for row in range(len(at)):
        while len(waiting) > 1 and apart(*waiting[-2:]) <= min(reach, apart(waiting[-1], row)):
            taken += waiting[-2:]
            del waiting[-2:]
        waiting.append(row)
    return np.array(taken, dtype=np.intp)


def matched_effect(
    matches: Matches,
    score: ArrayLike | Logit,
    d: ArrayLike,
    y: ArrayLike,
    *,
    outcome: str,
    cluster: ArrayLike | None = None,
    x: ArrayLike | None = None,
    adjust: bool = True,
    level: float = 0.95,
) -> Estimate:
    """Mean of treated minus matched controls: the ATT, or the ATT of the matched where treated units were left out.

    ``score``, ``d`` (n,) as given to ``match``, ``y`` (n,). Outcomes are first freed of a least-squares trend among the
    matched controls: in the logit, or in ``x`` (n, k); ``adjust=False`` leaves them, and is refused where the pairs
    lean so far that it would be biased. Errors count how often a control is used, with outcome variances from its
    neighbours in the same arm (the bootstrap is invalid for matching). Given a ``Logit`` they account for its
    estimation, the derivative of the effect being taken from a regression in each arm; bare scores count as known,
    which as a rule makes the interval too long. t with (matched treated - 1) degrees of freedom.

    With ``cluster`` (n,), groups of units that may hold both arms, pairs are dependent where either member of one
    shares a cluster with either member of the other; t with (clusters of matched treated - 1) degrees of freedom.

    Sources: Abadie & Imbens (2006), Econometrica 74(1); (2011), JBES 29(1), for the adjustment; (2016), Econometrica
    84(2), for the estimated propensity; Abadie & Spiess (2022), JASA 117(538), without replacement; Aronow, Samii &
    Assenova (2015), Cluster-robust variance estimation for dyadic data, Political Analysis 23(4).

    Raises:
        ValueError: lengths that differ, a NaN or infinite entry, fewer than two matched treated units or three
            controls, an outcome without variance, ``x`` without adjustment, or a plain difference that leans.
        Refusal: fewer than five clusters with matched treated units, or with the controls that they found; a cluster
            with a member in every pair.
    """
    treated, outcomes, _ = validated(d, y, None)
    focus, place, count = np.unique(matches.treated, return_inverse=True, return_counts=True)
    if focus.size < 2 or (~treated).sum() <= VARIANCE_NEIGHBOURS:
        raise ValueError(f"matches: {focus.size} matched treated, {(~treated).sum()} controls are too few for an error")
    if x is not None and not adjust:
        raise ValueError("x: covariates are for the adjusted estimate, got adjust=False")
    pilot = outcomes[~treated, 0].mean()
    target, share = outcomes[:, 0] - pilot, 1 / count[place]
    use = np.bincount(matches.control, weights=share, minlength=len(treated)).astype(np.float64)
    e = score.score if isinstance(score, Logit) else np.asarray(score, dtype=np.float64)
    trend = _trend(np.log(e / (1 - e))[:, None] if x is None else matrix(x, len(treated)), target, use)
    rest = target - trend if adjust else target
    untreated = np.bincount(place, weights=share * rest[matches.control])
    rows = np.stack([untreated + (target - rest)[focus], rest[focus] - untreated], axis=1)
    point, df = rows.mean(axis=0), focus.size - 1
    moved = _derivatives(matches, score, treated, rest, point[1]) if isinstance(score, Logit) else None
    if cluster is None:
        pool = matches.order[~treated[matches.order]]
        again = use[pool] ** 2 - np.bincount(matches.control, weights=share**2, minlength=len(treated))[pool]
        reuse = float(again @ _local_variance(rest[pool]))
        cov = (np.cov(rows.T) * focus.size + reuse * REUSE_SIGNS) / focus.size**2
        if moved is not None and isinstance(score, Logit):
            slope, covariance = moved
            inverse = score.inverse_information
            added = slope @ inverse @ slope - covariance @ inverse @ covariance
            cov[1, 1] += float(added) / focus.size**2 / len(treated)
    else:
        group = grouped(np.arange(len(treated)), cluster)
        df = np.unique(group[focus]).size - 1
        require_clusters(df + 1, np.unique(group[matches.control]).size)
        own = np.zeros((len(treated), 2))
        if moved is not None and isinstance(score, Logit):
            along = score.influence @ (moved[0] - moved[1]) / len(treated)
            own = np.stack([-along, along], axis=1)  # the treated mean stays: what the effect gains the controls lose
        pairs = np.stack([rest[matches.control] + (target - rest)[matches.treated], rest[matches.treated]], axis=1)
        pairs[:, 1] -= rest[matches.control]
        cov = _by_cluster(pairs - point, matches, group, own, share)
    lean = trend[focus].mean() - trend @ use / focus.size
    if not adjust and abs(lean) > LARGEST_LEAN * np.sqrt(cov[1, 1]):
        raise ValueError(
            f"adjust: pairs lean to one side, which biases their plain difference by about {lean:.3g} (standard error "
            f"{np.sqrt(cov[1, 1]):.3g}); allowed are adjust=True, replacement or a smaller caliper"
        )
    return estimate(
        outcome=outcome,
        estimand="ATT" if focus.size == treated.sum() else "ATT of the matched",
        method="matching on the propensity" + (", bias-adjusted" if adjust else ""),
        value=float(point[1]),
        control_mean=float(pilot + point[0]),
        cov=cov,
        df=df,
        level=level,
        n_treated=focus.size,
        n_control=int((use > 0).sum()),
    )


def _trend(x: Floats, y: Floats, weight: Floats) -> Floats:
    """Least squares of ``y`` on ``x`` with weights, predicted for every row."""
    used = weight > 0
    design = np.column_stack([np.ones(len(x)), x - np.average(x[used], axis=0, weights=weight[used])])
    root = np.sqrt(weight[used])
    beta = np.linalg.lstsq(root[:, None] * design[used], root * y[used], rcond=None)[0]
    return design[:, 1:] @ beta[1:]


def _local_variance(y: Floats) -> Floats:
    """Variance of each outcome (n,) given its place in order: J / (J + 1) of the squared gap to J = 2 neighbours."""
    middle = np.arange(y.size).clip(1, y.size - 2)
    around = y[middle - 1] + y[middle] + y[middle + 1] - y
    return VARIANCE_NEIGHBOURS / (VARIANCE_NEIGHBOURS + 1) * (y - around / VARIANCE_NEIGHBOURS) ** 2


def _by_cluster(pairs: Floats, matches: Matches, group: Index, own: Floats, share: Floats) -> Floats:
    """Covariance (2, 2) of the mean of scores of ``pairs`` (p, 2), which count by ``share`` (p,), by cluster.

    ``own`` (n, 2) are further scores, of units. Scores that touch a cluster are added up, their pull on the mean taken
    out as in a jackknife, and squared; pairs between the same two clusters, which then count twice, are taken out once.
    """
    left, right, groups = group[matches.treated], group[matches.control], int(group.max()) + 1
    across = left != right
    both = np.sort([left[across], right[across]], axis=0)
    edge = np.unique(both, axis=1, return_inverse=True)[1].ravel()
    columns = np.column_stack([pairs * share[:, None], share]) / share.sum()
    ends = np.concatenate([left, right[across]])
    touching = _sums(ends, np.concatenate([columns, columns[across]]), groups)
    touching[:, :2] += _sums(group, own / share.sum(), groups)
    if touching[:, 2].max() > 1 - LEVERAGE:
        raise Refusal("cluster: one cluster has a member in every pair, so that nothing is left to judge it by")
    edges = _sums(edge, columns[across], int(edge.max(initial=-1)) + 1)
    scores, twice = (sums[:, :2] / (1 - sums[:, 2:]) for sums in (touching, edges))
    return scores.T @ scores - twice.T @ twice


def _sums(group: Index, columns: Floats, groups: int) -> Floats:
    return np.stack([np.bincount(group, weights=column, minlength=groups) for column in columns.T], axis=1).astype(
        np.float64
    )


def _derivatives(
    matches: Matches, score: Logit, treated: NDArray[np.bool_], y: Floats, effect: float
) -> tuple[Floats, Floats]:
    """How the sum of matched differences moves with the propensity's coefficients, and its covariance with their score.

    Both (k + 1,). With I the inverse information, g and c these two over the number matched, estimating the propensity
    adds g' I g - c' I c over n to the variance, as a rule a negative number (Abadie & Imbens 2016, theorem 2): to the
    effect's influence function it adds (g - c)' that of the coefficients.
    """
    order, dose = matches.order, treated[matches.order]
    other, gap = _nearest_opposite(matches.key[order], dose)
    e, design, target = score.raw[order], score.design[order], y[order]
    weight = e * (1 - e)
    weight = np.where(gap <= matches.caliper, weight, 0.0)
    gain = np.where(dose, 1, -1) * (target - target[other])
    both = [design @ np.linalg.lstsq(design[arm], target[arm], rcond=None)[0] for arm in (~dose, dose)]
    slope = design.T @ (weight * (both[1] - both[0] - effect))
    covariance = design.T @ (weight * (gain - effect))
    for arm, load in ((dose, weight), (~dose, weight * e / (1 - e))):
        at = (np.cumsum(arm) - 1).clip(0, arm.sum() - 2)  # the pair of neighbours of this arm around each row
        pairs = np.diff(target[arm]) * np.bincount(at, weights=load, minlength=arm.sum() - 1) / 2
        covariance = covariance + pairs @ np.diff(design[arm], axis=0)
    return slope, covariance


def _nearest_opposite(key: Floats, dose: NDArray[np.bool_]) -> tuple[Index, Floats]:
    """For rows in order, the place of the nearest row of the other arm, the left one of two, and how far it is."""
    edge = np.flatnonzero(dose[1:] != dose[:-1])  # the last place of each run of one arm
    run = np.concatenate([[0], np.cumsum(dose[1:] != dose[:-1])])
    left, right = np.concatenate([[-1], edge])[run], np.concatenate([edge + 1, [key.size]])[run]
    padded = np.concatenate([[-np.inf], key, [np.inf]])
    gap_left, gap_right = key - padded[left + 1], padded[right + 1] - key
    return np.where(gap_left <= gap_right, left, right), np.minimum(gap_left, gap_right)
