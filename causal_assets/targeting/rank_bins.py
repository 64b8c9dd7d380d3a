"""Bootstrap of anything that is a function of ranked sums: bins of ranks in place of units, drawn by their sums."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.inference import Floats

# One bin per hundredth of the units: what order within a bin adds to a variance is then under 1 in 10,000.
BINS = 100
# A bin holds so many effective units of each arm on average, or bins are fewer: a whole number per tenth of the units.
UNITS_PER_BIN = 20
# A bin with fewer of an arm is joined to the next: the sum of so few outcomes is hardly normal.
FEWEST_PER_BIN = 10


def tie_ends(ranked: Floats) -> NDArray[np.intp]:
    """How many units are ranked once each group of equal scores is; ``ranked`` (n,) is sorted."""
    return np.append(np.flatnonzero(ranked[1:] != ranked[:-1]) + 1, ranked.size)


def rank_bins(weights: Sequence[Floats], y: Floats, ends: NDArray[np.intp]) -> Floats:
    """Sums (5, arms, B) of w, wy, w^2, w^2 y, w^2 y^2 over bins of ranked units.

    ``weights`` are each arm's (n,), zero for units of other arms, in order of rank like ``y`` (n,). A bin ends where a
    group of equal scores does, at ``ends``.
    """
    fewest = min(effective(w.sum(), w @ w) for w in weights)
    tenth = max(1, min(BINS, int(fewest / UNITS_PER_BIN)) // 10)
    wanted = np.linspace(0, y.size, 10 * tenth + 1)[1:].round()
    cut = np.unique(ends[np.searchsorted(ends, wanted)])
    starts = np.append(0, cut[:-1])
    sums = np.empty((5, len(weights), cut.size))
    for arm, w in enumerate(weights):
        wy = w * y
        for row, values in enumerate((w, wy, w * w, w * wy, wy * wy)):
            sums[row, arm] = np.add.reduceat(values, starts)
    first, running = [0], np.zeros((5, len(weights)))
    for bin_ in range(cut.size):
        running = running + sums[:, :, bin_]
        if (effective(running[0], running[2]) >= FEWEST_PER_BIN).all():
            first.append(bin_ + 1)
            running = np.zeros_like(running)
    return np.add.reduceat(sums, first[:-1] or [0], axis=2)  # what is left over belongs to the last bin


def effective(total: ArrayLike, squares: ArrayLike) -> Floats:
    """How many units of equal weight tell as much as those whose weights and their squares sum to these (Kish)."""
    w, ww = np.asarray(total, dtype=np.float64), np.asarray(squares, dtype=np.float64)
    return np.divide(w**2, ww, out=np.zeros_like(w), where=ww > 0)


def bin_draws(sums: Floats, draws: int, seed: int) -> tuple[Floats, Floats]:
    """Bootstrap draws (draws, arms, B) of each bin's summed w and wy, from its ``sums`` as of ``rank_bins``.

    Units with independent exponential weights, the Bayesian bootstrap, move a bin's (sum w, sum wy) with covariance
    [[w^2, w^2 y], [w^2 y, w^2 y^2]], summed, as Poisson(1) copies do; but the first is gamma, hence always positive,
    and the second normal given the first in the limit. Bins and arms are independent.

    Sources: Rubin (1981), The Bayesian bootstrap, Ann. Stat. 9(1); Chamandy, Muralidharan, Najmi & Naidu (2012),
    Estimating uncertainty for massive data streams, for draws of sums.
    """
    w, wy, ww, wwy, wwyy = sums
    slope = wwy / ww
    rest = np.sqrt((wwyy - slope * wwy).clip(min=0.0))
    rng, shape = np.random.default_rng(seed), (draws, *w.shape)
    weight = rng.standard_gamma(w**2 / ww, shape) * ww / w
    return weight, wy + slope * (weight - w) + rest * rng.standard_normal(shape)


def accumulated(sums: Floats) -> Floats:
    """Sums (..., B) of bins as sums (..., B + 1) of all units ranked, from none."""
    return np.concatenate([np.zeros_like(sums[..., :1]), sums.cumsum(axis=-1)], axis=-1)


def interpolated(at: Floats, x: Floats, values: Floats) -> Floats:
    """Rows of ``values`` (rows, B + 1) at ``at`` (K,), linear between each row's own ``x`` (rows, B + 1), 0 to 1."""
    apart = 2.0 * np.arange(len(x))[:, None]  # rows end to end on one axis: one call for all of them
    return np.interp((at + apart).ravel(), (x + apart).ravel(), values.ravel()).reshape(len(x), -1)
