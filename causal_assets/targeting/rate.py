"""Rank-weighted average treatment effects: does the effect fall along the ranking, from doubly robust scores?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.inference import Floats
from causal_assets.targeting.measures import FEWEST_UNITS, Curve, Measure, banded, measured, vectors
from causal_assets.targeting.rank_bins import accumulated, bin_draws, interpolated, rank_bins, tie_ends

TOC = "TOC(u): mean effect among the share u of units with the highest predicted effect, less the mean effect of all"
AUTOC = "AUTOC: area under TOC(u); finds effects that a few units have"
QINI = "RATE with Qini weights: area under u TOC(u), which is the Qini; finds effects spread over many units"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Area under the targeting operator characteristic, plain and weighted by the share treated, and the curve."""

    autoc: Measure
    qini: Measure
    curve: Curve


def rate(score: ArrayLike, psi: ArrayLike, *, seed: int, level: float = 0.95, draws: int = 1_000) -> Rate:
    """AUTOC, Qini-weighted RATE and TOC of the ranking by ``score`` (n,), predicted effects the unit had no part in.

    ``psi`` (n,) are doubly robust scores of each unit's effect, whose mean is the ATE: randomised or not. Units of one
    score take their mean effect, so that a constant score gives 0, without error, and p 1. Standard errors are those of
    the influence function, ranks being estimated too; the one-sided test is normal. The band comes from ``draws`` of
    the bootstrap of sums by rank bin. AUTOC leans on the few best: among 4,000 units with 5% controls and 5% events its
    test at 5% rejects 9% of models of noise; the Qini weighting keeps to 5% and is the one to gate a model by.

    Source: Yadlowsky, Fleming, Shah, Brunskill & Wager (2021), Evaluating treatment prioritization rules via
    rank-weighted average treatment effects, arXiv 2111.07966; values are the sample form, as in R's grf.

    Raises:
        ValueError: lengths that differ, NaN or infinite entries, fewer than ``FEWEST_UNITS`` units, one effect for all,
            too few draws.
    """
    scores, effects = vectors(score=score, psi=psi)
    if effects.size < FEWEST_UNITS or draws < 100:
        raise ValueError(
            f"psi, draws: expected at least {FEWEST_UNITS} units and 100 draws, got {effects.size} and {draws}"
        )
    if effects.min() == effects.max():
        raise ValueError("psi: is the same for all units")
    order = np.argsort(-scores)
    ends, ranked = tie_ends(scores[order]), effects[order] - effects.mean()
    rank = np.arange(1, ranked.size + 1)
    autoc, qini = (
        measured(name, definition, *_area(ranked, ends, density), level=level)
        for name, definition, density in (
            ("AUTOC", AUTOC, np.ones(ranked.size)),
            ("RATE, Qini weights", QINI, rank / ranked.size),
        )
    )
    sums = rank_bins([np.ones(ranked.size)], ranked, ends)
    share, total = _shares(*(rows[None] for rows in sums[:2]))
    drawn_share, drawn_total = _shares(*bin_draws(sums, draws, seed))
    at = share[0, 1:]
    drawn = interpolated(at, drawn_share, drawn_total)
    curve = banded(TOC, at, total[0, 1:] / at - total[0, -1], drawn / at - drawn[:, -1:], level=level)
    return Rate(autoc=autoc, qini=qini, curve=curve)


def _shares(count: Floats, total: Floats) -> tuple[Floats, Floats]:
    """Share of the units ranked and their summed effects over the number of all (rows, B + 1), from (rows, 1, B)."""
    counts, totals = accumulated(count[:, 0]), accumulated(total[:, 0])
    return counts / counts[:, -1:], totals / counts[:, -1:]


def _area(d: Floats, ends: NDArray[np.intp], density: Floats) -> tuple[float, float]:
    """Area under ``density`` (n,) times TOC, and its standard error; ``d`` (n,) are ranked effects less their mean.

    The area is the mean of d a, a_i the sum of density_j / j over ranks j >= i, averaged over ties. It varies with each
    unit's own d (a - mean a), and with where a unit's presence puts the ranks of the others: a boundary between groups
    at rank P moves weight a(P) - a_g to the effects above and a_(g+1) - a(P) to those below.
    """
    n = d.size
    if ends.size == 1:  # no order: exactly nothing, which rounding would turn into a test of noise
        return 0.0, 0.0
    starts, size = np.append(0, ends[:-1]), np.diff(ends, prepend=0)
    tail = (density / np.arange(1, n + 1))[::-1].cumsum()[::-1]
    weight = np.add.reduceat(tail, starts) / size
    effect = np.add.reduceat(d, starts) / size
    boundary = tail[ends[:-1]]
    moved = effect[:-1] * (boundary - weight[:-1]) + effect[1:] * (weight[1:] - boundary)
    ranks = np.append(moved[::-1].cumsum()[::-1], 0.0)
    influence = d * np.repeat(weight - density.mean(), size) + np.repeat(ranks, size)
    influence -= influence.mean()
    return float(effect * size @ weight) / n, float(np.sqrt(influence @ influence)) / n
