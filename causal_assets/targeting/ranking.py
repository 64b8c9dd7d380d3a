"""What a ranking by predicted effect gains on a test fold: uplift curve, AUUC, Qini, uplift among the best."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.inference import Floats
from causal_assets.targeting.measures import FEWEST_UNITS, Curve, Measure, banded, measured, vectors
from causal_assets.targeting.rank_bins import accumulated, bin_draws, effective, interpolated, rank_bins, tie_ends

# Shares of the units, best first, whose realised uplift is shown.
SHARES = (0.1, 0.2, 0.3)
GAIN = (
    "gain per treated unit of all, if a share of the units is treated, best predicted first: "
    "g = (R_t - R_c N_t / N_c) / N_t(all), N and R the units and summed outcomes of each arm among those ranked"
)
AUUC = "area under the uplift curve g over the share of units ranked; not divided by a perfect curve's"
QINI = "AUUC less the area under the straight line from 0 to g(1), which is what a random order gains"
UPLIFT = "treated less control mean outcome among the {:.0%} of units with the highest predicted effect"


@dataclass(frozen=True, kw_only=True)
class RankingScores:
    """How well a score ranks units by their effect; ``uplift`` is in the order of ``SHARES``."""

    qini: Measure
    auuc: Measure
    uplift: tuple[Measure, ...]
    curve: Curve


@dataclass(frozen=True, eq=False)
class UpliftCurve:
    """Sums over the units ranked so far, (rows, K + 1) from none to all; a row is one sample.

    A point is the end of a group of equal scores. Outcomes are summed about one mean, which no number here depends on.
    """

    treated: Floats
    treated_sum: Floats
    control: Floats
    control_sum: Floats

    @property
    def share(self) -> Floats:
        """Share (rows, K + 1) of the units ranked, by weight."""
        ranked = self.treated + self.control
        return ranked / ranked[:, -1:]

    @property
    def gain(self) -> Floats:
        """g (rows, K + 1), linear in between: the units of a group of equal scores come in no order.

        Before the first control, where g is undefined, the curve is straight.
        """
        share, held = self.share, self.control > 0
        ratio = np.divide(self.treated, self.control, out=np.zeros_like(share), where=held)
        gain = (self.treated_sum - self.control_sum * ratio) / self.treated[:, -1:]
        first = held.argmax(axis=1)[:, None]
        steep = np.take_along_axis(gain, first, axis=1) / np.take_along_axis(share, first, axis=1)
        return np.where(held, gain, steep * share)

    def uplift(self, shares: ArrayLike) -> Floats:
        """Difference in arm means (rows, S) among the first ``shares`` (S,); of a tied group, that part of each arm.

        Raises:
            ValueError: one arm has no unit among them.
        """
        at, share = np.asarray(shares, dtype=np.float64), self.share
        n1, r1, n0, r0 = (
            interpolated(at, share, sums) for sums in (self.treated, self.treated_sum, self.control, self.control_sum)
        )
        if (np.minimum(n1, n0) <= 0).any():
            raise ValueError(f"score: the first {at.tolist()} of the units do not hold both arms")
        return r1 / n1 - r0 / n0


def area(curve: UpliftCurve) -> tuple[Floats, Floats]:
    """AUUC and Qini (rows,) of each row of a curve."""
    gain = curve.gain
    auuc = np.trapezoid(gain, curve.share, axis=1)
    return auuc, auuc - gain[:, -1] / 2


def uplift_curve(score: ArrayLike, y: ArrayLike, treated: ArrayLike, weight: ArrayLike | None = None) -> UpliftCurve:
    """The uplift curve of one sample, exact, every group of equal scores a point; arguments as ``ranking_scores``.

    Source: Radcliffe (2007), Using control groups to target on predicted lift, Direct Marketing Analytics J. 1.

    Raises:
        ValueError: as ``ranking_scores``, but for the number of units.
    """
    arms, outcome, ends = _ranked(score, y, treated, weight)
    return _curve(arms, outcome, ends)


def ranking_scores(
    score: ArrayLike,
    y: ArrayLike,
    treated: ArrayLike,
    *,
    seed: int,
    weight: ArrayLike | None = None,
    level: float = 0.95,
    draws: int = 1_000,
) -> RankingScores:
    """Qini, AUUC, uplift among the best and the uplift curve of ``score`` (n,), predicted effects, with their errors.

    ``y`` (n,) outcomes and ``treated`` (n,) are of units that the model has not seen. Assignment is random, or
    ``weight`` (n,) are inverse probabilities of the arm each unit is in, taken as known; a weight counts as copies of a
    unit. Values are exact whatever the ties and the shares of the arms. Errors come from ``draws`` of the bootstrap
    over units (arms and ranks are drawn with them), from sums by rank bin: see ``rank_bins``. Intervals are value +- a
    normal quantile of it: the scores are smooth in sums over hundreds of units, and so each has a test of that form.
    One sort, then one pass.

    Sources: Radcliffe (2007), Direct Marketing Analytics J. 1; Radcliffe & Surry (2011), Real-world uplift modelling.

    Raises:
        ValueError: lengths that differ, NaN or infinite entries, a treatment that is not 0 or 1, weights that are not
            positive, fewer than ``FEWEST_UNITS`` effective units in an arm, a constant outcome, too few draws.
    """
    if draws < 100:
        raise ValueError(f"draws: an error and a band need at least 100, got {draws}")
    arms, outcome, ends = _ranked(score, y, treated, weight)
    for name, w in zip(("treated", "control"), arms, strict=True):
        if (held := float(effective(w.sum(), w @ w))) < FEWEST_UNITS:
            raise ValueError(
                f"treated: a ranking needs {FEWEST_UNITS} units of each arm, the {name} count as {held:.0f}"
            )
    exact = _curve(arms, outcome, ends)
    sums = rank_bins(arms, outcome, ends)
    binned = _accumulated(sums[0][None], sums[1][None])
    drawn = _accumulated(*bin_draws(sums, draws, seed))
    values = [*(float(one[0]) for one in area(exact)), *exact.uplift(SHARES)[0]]
    errors = np.column_stack([*area(drawn), drawn.uplift(SHARES)]).std(axis=0, ddof=1)
    names = [("AUUC", AUUC), ("Qini", QINI), *((f"uplift at {q:.0%}", UPLIFT.format(q)) for q in SHARES)]
    auuc, qini, *uplift = (
        measured(*name, value, error, level=level) for name, value, error in zip(names, values, errors, strict=True)
    )
    share, gain = binned.share[0], binned.gain[0]
    curve = banded(GAIN, share, gain, interpolated(share, drawn.share, drawn.gain), level=level)
    return RankingScores(qini=qini, auuc=auuc, uplift=tuple(uplift), curve=curve)


def _ranked(
    score: ArrayLike, y: ArrayLike, treated: ArrayLike, weight: ArrayLike | None
) -> tuple[tuple[Floats, Floats], Floats, NDArray[np.intp]]:
    """Weights (n,) of treated and of controls and centred outcomes (n,), best score first, and the ends of ties."""
    scores, outcome, w, arm = vectors(
        score=score, y=y, weight=np.ones(np.size(score)) if weight is None else weight, treated=treated
    )
    if not ((arm == 0) | (arm == 1)).all() or not 0 < arm.sum() < arm.size:
        raise ValueError(f"treated: expected both 0 and 1 and nothing else, got {np.unique(arm).tolist()[:5]}")
    if wrong := int((w <= 0).sum()):
        raise ValueError(f"weight: {wrong} are not positive")
    if outcome.min() == outcome.max():
        raise ValueError("y: is the same for all units")
    order = np.argsort(-scores)
    w, arm, outcome = w[order], arm[order], outcome[order]
    return (w * arm, w * (1 - arm)), outcome - outcome.mean(), tie_ends(scores[order])


def _curve(arms: tuple[Floats, Floats], y: Floats, ends: NDArray[np.intp]) -> UpliftCurve:
    treated, control = arms
    return UpliftCurve(
        *(np.append(0.0, w.cumsum()[ends - 1])[None] for w in (treated, treated * y, control, control * y))
    )


def _accumulated(weight: Floats, total: Floats) -> UpliftCurve:
    """The curve of sums (rows, 2, B) by bin."""
    (n1, n0), (r1, r0) = (accumulated(sums).swapaxes(0, 1) for sums in (weight, total))
    return UpliftCurve(n1, r1, n0, r0)
