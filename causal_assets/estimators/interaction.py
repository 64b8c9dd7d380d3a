"""Two experiments on the same units at the same time: do they change each other's effect?"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.cluster_robust import FEWEST_CLUSTERS, cell_means
from causal_assets.estimators.inference import Floats, Refusal, estimate
from causal_assets.estimators.moments import Moments
from causal_assets.types import Estimate


class Interaction(NamedTuple):
    """Effects of two concurrent experiments, each an Estimate in the outcome's unit."""

    first: Estimate
    second: Estimate
    interaction: Estimate


def two_experiments(cells: Sequence[Sequence[Moments]], *, outcome: str, level: float = 0.95) -> Interaction:
    """Main effects of two experiments and their interaction, from the moments of the four cells.

    ``cells[a][b]`` holds the units with arm ``a`` of the first and ``b`` of the second experiment, 0 control and 1
    treated; column 0 is the outcome, others are not used. A main effect averages over the other experiment's arms in
    the shares in which they ran, so that it is what the experiment would show alone. The interaction is the effect of
    the first where the second treats minus where it does not; its relative value is of the cell of neither. Variances
    are those of cell means, degrees of freedom Welch-Satterthwaite's. One pass, four rows of moments.

    Source: Kohavi, Tang & Xu (2020), Trustworthy Online Controlled Experiments, ch. 4; Welch (1947), Biometrika 34.

    Raises:
        ValueError: not 2 x 2 cells, a cell with fewer than two units, or no variance in any cell.
    """
    if len(cells) != 2 or any(len(row) != 2 for row in cells):
        raise ValueError(f"cells: expected 2 x 2 moments, got {[len(row) for row in cells]}")
    every = [cell for row in cells for cell in row]  # (0,0), (0,1), (1,0), (1,1)
    n = np.array([cell.n for cell in every], dtype=np.float64)
    if n.min() < 2:
        raise ValueError(f"cells: a variance needs at least 2 units in each, got {n.astype(int).tolist()}")
    means = np.array([cell.mean[0] for cell in every])
    variances = np.array([cell.cov[0, 0] for cell in every]) / n
    if not variances.any():
        raise ValueError(f"{outcome}: zero variance in every cell, nothing can be tested")
    cov = np.diag(variances)

    def df(weights: Floats) -> float:
        parts = weights**2 * variances
        return float(parts.sum() ** 2 / (parts**2 / (n - 1)).sum())

    def counts(treated: slice) -> tuple[int, int]:
        return int(n[treated].sum()), int(n.sum() - n[treated].sum())

    return _effects(means, n, cov, df, counts, outcome=outcome, level=level)


def two_experiments_clustered(
    y: ArrayLike, first: ArrayLike, second: ArrayLike, cluster: ArrayLike, *, outcome: str, level: float = 0.95
) -> Interaction:
    """``two_experiments`` where rows of a ``cluster`` (n,) hang together, in whichever cells they are.

    ``y`` (n,) outcomes, ``first`` and ``second`` (n,) arms, 0 or 1. CR2 errors of the cells' means with Bell and
    McCaffrey's degrees of freedom, from counts and sums by cluster and cell; counts are clusters.

    Raises:
        ValueError: as ``cluster_robust.cell_means``, or arms that are not 0 or 1.
        Refusal: fewer than five clusters in a cell.
    """
    a, b = np.asarray(first), np.asarray(second)
    if a.shape != b.shape or not np.isin(a, (0, 1)).all() or not np.isin(b, (0, 1)).all():
        raise ValueError(f"first, second: expected arms of 0 or 1, one length, got shapes {a.shape} and {b.shape}")
    cells = cell_means(y, 2 * a.astype(np.intp) + b.astype(np.intp), cluster, 4)
    held = cells.rows > 0
    if held.sum(axis=0).min() < FEWEST_CLUSTERS:
        raise Refusal(f"cluster: each cell needs at least {FEWEST_CLUSTERS} clusters, got {held.sum(axis=0).tolist()}")

    def counts(treated: slice) -> tuple[int, int]:
        rest = np.ones(4, dtype=bool)
        rest[treated] = False
        return int(held[:, treated].any(axis=1).sum()), int(held[:, rest].any(axis=1).sum())

    found = _effects(
        cells.mean, cells.rows.sum(axis=0), cells.fit.cov, cells.fit.df, counts, outcome=outcome, level=level
    )
    return Interaction(*(replace(one, method=f"{one.method}, clustered (CR2)") for one in found))


def _effects(
    means: Floats,
    n: Floats,
    cov: Floats,
    df: Callable[[Floats], float],
    counts: Callable[[slice], tuple[int, int]],
    *,
    outcome: str,
    level: float,
) -> Interaction:
    """The three contrasts of the means of the four cells, of ``n`` (4,) rows, with covariance ``cov`` (4, 4)."""
    share_first, share_second = n[2:].sum() / n.sum(), n[1::2].sum() / n.sum()
    second_as_run, first_as_run = np.array([1 - share_second, share_second]), np.array([1 - share_first, share_first])
    corner = np.array([1.0, 0.0])
    contrasts = {
        "ATE of the first experiment": (np.kron([-1, 1], second_as_run), np.kron(corner, second_as_run), slice(2, 4)),
        "ATE of the second experiment": (np.kron(first_as_run, [-1, 1]), np.kron(first_as_run, corner), slice(1, 4, 2)),
        "interaction of both experiments": (np.array([1.0, -1.0, -1.0, 1.0]), np.kron(corner, corner), slice(3, 4)),
    }
    found = []
    for estimand, (weights, control, treated) in contrasts.items():
        both, (n_treated, n_control) = np.stack([control, weights]), counts(treated)
        found.append(
            estimate(
                outcome=outcome,
                estimand=estimand,
                method="contrast of cell means",
                value=float(weights @ means),
                control_mean=float(control @ means),
                cov=both @ cov @ both.T,
                df=df(weights),
                level=level,
                n_treated=n_treated,
                n_control=n_control,
            )
        )
    return Interaction(*found)
