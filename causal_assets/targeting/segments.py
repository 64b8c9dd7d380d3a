"""The four segments of marketers: what they are predicted to be, what they did, and what cannot be known of them.

A segment is made of predictions, an effect's interval and the outcome expected without treatment. Who would have bought
anyway is another matter: the true strata pair what a unit does with treatment and without, which nobody sees together,
so that their shares are known within bounds only.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.cluster_robust import FEWEST_CLUSTERS
from causal_assets.estimators.inference import Floats, Refusal
from causal_assets.estimators.joint import clustered_means, t_estimate
from causal_assets.estimators.multiplicity import bonferroni
from causal_assets.targeting.policy_value import checked_scores, cluster_sums, codes
from causal_assets.types import Estimate


class Segment(StrEnum):
    """What the predictions say of a unit; in the order of the numbers that ``segments`` gives."""

    PERSUADABLE = "persuadables"
    SURE_THING = "sure things"
    LOST_CAUSE = "lost causes"
    DO_NOT_DISTURB = "do-not-disturbs"


SEGMENTS = tuple(Segment)


class Stratum(StrEnum):
    """What a unit would do with and without treatment, for an outcome that happens or not."""

    PERSUADED = "only if treated"
    ALWAYS = "either way"
    NEVER = "neither way"
    DETERRED = "only if not treated"


# A share is at least one of two sums and at most another of two, of the scores with (y1) and without treatment (y0):
# the Frechet bounds of a 2 x 2 table with known margins, each row (constant, y1, y0).
LOWER: dict[Stratum, Floats] = {
    Stratum.PERSUADED: np.array([[0.0, 0, 0], [0, 1, -1]]),
    Stratum.ALWAYS: np.array([[0.0, 0, 0], [-1, 1, 1]]),
    Stratum.NEVER: np.array([[0.0, 0, 0], [1, -1, -1]]),
    Stratum.DETERRED: np.array([[0.0, 0, 0], [0, -1, 1]]),
}
UPPER: dict[Stratum, Floats] = {
    Stratum.PERSUADED: np.array([[0.0, 1, 0], [1, 0, -1]]),
    Stratum.ALWAYS: np.array([[0.0, 1, 0], [0, 0, 1]]),
    Stratum.NEVER: np.array([[1.0, -1, 0], [1, 0, -1]]),
    Stratum.DETERRED: np.array([[1.0, -1, 0], [0, 0, 1]]),
}


@dataclass(frozen=True, kw_only=True)
class SegmentEffect:
    """What treatment did to a segment of ``units``, ``share`` of all; no effect where they are too few for an error."""

    segment: Segment
    units: int
    share: float
    effect: Estimate | None


@dataclass(frozen=True, kw_only=True)
class Share:
    """Share of a stratum: within [lower, upper] as estimated, and within [low, high] for all four at once."""

    stratum: Stratum
    lower: float
    upper: float
    low: float
    high: float


# The side of each bound that was tighter, by group: stratum to (lower, upper).
Sides = Mapping[Hashable, Mapping[Stratum, tuple[int, int]]]


def segments(low: ArrayLike, high: ArrayLike, without: ArrayLike, *, cut: float) -> NDArray[np.intp]:
    """The segment (n,) of each unit, a place in ``SEGMENTS``.

    ``low`` and ``high`` (n,) are the interval of its predicted effect, ``without`` (n,) its expected outcome without
    treatment. An interval above 0 makes a persuadable, one below 0 a do-not-disturb. Where it holds 0 treatment may
    change nothing: from ``cut`` on a sure thing, below it a lost cause. The cut is fixed on other folds.

    Raises:
        ValueError: lengths that differ, a NaN, ends of an interval in the wrong order, or a cut that is no number.
    """
    ends = [np.asarray(values, dtype=np.float64) for values in (low, high, without)]
    if ends[0].ndim != 1 or not ends[0].shape == ends[1].shape == ends[2].shape:
        raise ValueError(f"low, high, without: expected shape (n,) each, got {[end.shape for end in ends]}")
    for name, values in zip(("low", "high", "without"), ends, strict=True):
        if np.isnan(values).any():
            raise ValueError(f"{name}: {int(np.isnan(values).sum())} entries are NaN")
    if not np.isfinite(cut):
        raise ValueError(f"cut: expected a finite number, got {cut}")
    if (crossed := ends[0] > ends[1]).any():
        raise ValueError(f"low, high: {int(crossed.sum())} intervals have their ends in the wrong order")
    unmoved = np.where(ends[2] >= cut, SEGMENTS.index(Segment.SURE_THING), SEGMENTS.index(Segment.LOST_CAUSE))
    negative = np.where(ends[1] < 0, SEGMENTS.index(Segment.DO_NOT_DISTURB), unmoved)
    return np.where(ends[0] > 0, SEGMENTS.index(Segment.PERSUADABLE), negative)


def segment_effects(
    segment: ArrayLike, psi: ArrayLike, *, outcome: str, cluster: ArrayLike | None = None, level: float = 0.95
) -> list[SegmentEffect]:
    """The realised effect of treatment in each of ``SEGMENTS``, on a fold that had no part in making them.

    ``segment`` (n,) from ``segments``, ``psi`` (n,) the difference of the doubly robust scores with and without the
    treatment. The intervals hold all effects at once with probability ``level`` (Bonferroni); t with one degree of
    freedom less than the segment has units, or ``cluster`` labels (n,), of which five are needed for an error. Counts
    are units, each of which has a score for either arm.

    Raises:
        ValueError: lengths that differ, a NaN or infinite score, a number that is no segment, scores without variance.
    """
    scores, place = np.asarray(psi, dtype=np.float64), np.asarray(segment)
    if scores.ndim != 1 or scores.shape != place.shape or not scores.size:
        raise ValueError(f"segment, psi: expected shape (n,) each, got {place.shape} and {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"psi: {int((~np.isfinite(scores)).sum())} scores are NaN or infinite")
    if not np.isin(place, np.arange(len(SEGMENTS))).all():
        raise ValueError(f"segment: expected 0 to {len(SEGMENTS) - 1}, got {np.unique(place).tolist()[:6]}")
    code, found = codes(cluster, scores.size), {}
    for number, name in enumerate(SEGMENTS):
        inside = place == number
        if np.unique(code[inside]).size < FEWEST_CLUSTERS:
            continue
        own = np.unique(code[inside], return_inverse=True)[1]
        mean, (cov, df) = clustered_means(*cluster_sums(scores[inside, None], own))
        found[name] = t_estimate(
            outcome=outcome,
            estimand=f"effect on {name}",
            method="doubly robust scores",
            value=mean[0],
            variance=cov[0, 0],
            df=df,
            level=level,
            n_treated=int(inside.sum()),
            n_control=int(inside.sum()),
        )
    effects = dict(zip(found, bonferroni(list(found.values()), level=level), strict=True)) if found else {}
    return [
        SegmentEffect(
            segment=name,
            units=int((place == number).sum()),
            share=float((place == number).mean()),
            effect=effects.get(name),
        )
        for number, name in enumerate(SEGMENTS)
    ]


def tighter_sides(potential: ArrayLike, group: ArrayLike) -> Sides:
    """Which of the two sums of each bound is the tighter in each group of units, by their mean scores.

    ``potential`` (n, 2) doubly robust scores without and with the treatment, ``group`` (n,) labels. To be told on other
    folds than those ``strata`` answers for: the larger of two noisy numbers is too large.

    Raises:
        ValueError: shapes that do not fit, or a NaN or infinite score.
    """
    terms, labels = _terms(potential, group)
    sides = {}
    for label in np.unique(labels):
        mean = terms[labels == label].mean(axis=0)
        sides[label.item()] = {s: (int((LOWER[s] @ mean).argmax()), int((UPPER[s] @ mean).argmin())) for s in Stratum}
    return sides


def strata(
    y: ArrayLike,
    potential: ArrayLike,
    group: ArrayLike,
    sides: Sides,
    *,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> list[Share]:
    """Bounds on the shares of units that act with treatment only, either way, neither way, or without it only.

    ``y`` (n,) the outcomes, 0 or 1; ``potential`` (n, 2) doubly robust scores without and with the treatment, ``group``
    (n,) labels known before treatment, such as tenths of a score, that ``sides`` knows (``tighter_sides``). Bounds are
    Frechet's within each group, averaged: sharp given the groups, and without the assumption that treatment deters
    nobody. A side that was chosen wrongly leaves them valid and less tight. The ends low and high add t quantiles for
    the eight bounds at once (Bonferroni) times their errors, over units or ``cluster`` (n,): all four shares lie within
    theirs with probability ``level`` or more.

    Sources: Tian & Pearl (2000), Annals of Mathematics and AI 28, eq. 24 to 26 (experimental data, no monotonicity);
    Li & Pearl (2019), Unit selection based on counterfactual logic, IJCAI.

    Raises:
        ValueError: shapes that do not fit, NaN or infinite scores, a group of one unit or without sides, fewer than
            five units or clusters, or a level outside (0, 1).
        Refusal: an outcome other than 0 and 1, whose strata are not four.
    """
    from scipy.stats import t

    terms, labels = _terms(potential, group)
    outcomes = np.asarray(y, dtype=np.float64)
    if outcomes.shape != labels.shape or np.isnan(outcomes).any():
        raise ValueError(f"y: expected {labels.size} outcomes without NaN, got shape {outcomes.shape}")
    if not np.isin(outcomes, (0, 1)).all():
        raise Refusal("y: strata are defined for an outcome that happens or not, 0 or 1; others have no such bounds")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: expected a number strictly between 0 and 1, got {level}")
    names, place, size = np.unique(labels, return_inverse=True, return_counts=True)
    if (alone := size < 2).any():
        raise ValueError(f"group: {names[alone].tolist()[:5]} have one unit, a group needs 2")
    if missing := [name for name in names.tolist() if name not in sides]:
        raise ValueError(f"sides: groups {missing[:5]} were not among those the sides were chosen in")
    ends = [(s, end) for s in Stratum for end in (0, 1)]
    chosen = np.array(
        [[(LOWER, UPPER)[end][s][sides[name][s][end]] for s, end in ends] for name in names.tolist()]
    )  # (groups, 8, 3)
    bounds = np.einsum("nj,nbj->nb", terms, chosen[place])
    mean, (cov, df) = clustered_means(*cluster_sums(bounds, codes(cluster, len(terms))))
    reach = float(t.ppf(1 - (1 - level) / len(ends), df)) * np.sqrt(np.diag(cov))
    return [
        Share(
            stratum=s,
            lower=float(mean[i].clip(0, 1)),
            upper=float(max(mean[i + 1], mean[i]).clip(0, 1)),
            low=float((mean[i] - reach[i]).clip(0, 1)),
            high=float((max(mean[i + 1], mean[i]) + reach[i + 1]).clip(0, 1)),
        )
        for i, s in zip(range(0, len(ends), 2), Stratum, strict=True)
    ]


def _terms(potential: ArrayLike, group: ArrayLike) -> tuple[Floats, NDArray]:
    """Columns 1, y1, y0 (n, 3), and the groups (n,)."""
    scores, labels = checked_scores(potential), np.asarray(group)
    if scores.shape[1] != 2 or labels.shape != (len(scores),):
        raise ValueError(f"potential, group: expected shapes (n, 2) and (n,), got {scores.shape} and {labels.shape}")
    return np.column_stack([np.ones(len(scores)), scores[:, 1], scores[:, 0]]), labels
