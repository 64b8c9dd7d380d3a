"""Two experiments on the same units at the same time: do they change each other's effect?"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from causal_assets.estimators.inference import Floats, estimate
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
    share_first, share_second = n[2:].sum() / n.sum(), n[1::2].sum() / n.sum()
    second_as_run, first_as_run = np.array([1 - share_second, share_second]), np.array([1 - share_first, share_first])
    corner = np.array([1.0, 0.0])
    contrasts = {
        "ATE of the first experiment": (np.kron([-1, 1], second_as_run), np.kron(corner, second_as_run), slice(2, 4)),
        "ATE of the second experiment": (np.kron(first_as_run, [-1, 1]), np.kron(first_as_run, corner), slice(1, 4, 2)),
        "interaction of both experiments": (np.array([1.0, -1.0, -1.0, 1.0]), np.kron(corner, corner), slice(3, 4)),
    }
    return Interaction(
        *(
            _contrast(weights, control, means, variances, n, treated, outcome=outcome, estimand=name, level=level)
            for name, (weights, control, treated) in contrasts.items()
        )
    )


def _contrast(
    weights: Floats,
    control: Floats,
    means: Floats,
    variances: Floats,
    n: Floats,
    treated: slice,
    *,
    outcome: str,
    estimand: str,
    level: float,
) -> Estimate:
    """The t test of ``weights @ means``, beside the control mean ``control @ means``."""
    rows = np.stack([control, weights])
    parts = weights**2 * variances
    n_treated = int(n[treated].sum())
    return estimate(
        outcome=outcome,
        estimand=estimand,
        method="contrast of cell means",
        value=float(weights @ means),
        control_mean=float(control @ means),
        cov=(rows * variances) @ rows.T,
        df=float(parts.sum() ** 2 / (parts**2 / (n - 1)).sum()),
        level=level,
        n_treated=n_treated,
        n_control=int(n.sum()) - n_treated,
    )
