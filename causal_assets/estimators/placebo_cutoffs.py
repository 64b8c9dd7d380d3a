"""Jumps where nothing is decided: the discontinuity's estimator at made-up cutoffs on either side of the true one."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.discontinuity import Discontinuity, robust_discontinuity
from causal_assets.types import Estimate

# Shares of a side's rows below its made-up cutoffs.
SHARES = (0.25, 0.5, 0.75)


def placebo_cutoffs(
    y: ArrayLike, x: ArrayLike, main: Discontinuity, *, shares: Sequence[float] = SHARES, **options: Any
) -> Iterator[tuple[float, Estimate]]:
    """Jump of the outcome at quantiles of the running variable on each side, from the rows of that side alone.

    Bandwidths are those of ``main``; ``options`` as given to ``robust_discontinuity``, without ``takeup``: there is
    nothing to take up. A cutoff at which nothing can be estimated, for want of rows or of values, is left out.

    Source: Imbens & Lemieux (2008), Regression discontinuity designs, J. Econometrics 142(2), sec. 7.3.
    """
    outcome, running = np.asarray(y, dtype=np.float64), np.asarray(x, dtype=np.float64)
    by_row = {name: np.asarray(options[name]) for name in ("covariates", "cluster") if options.get(name) is not None}
    below = running < options["cutoff"]
    for side in (below, ~below):
        for cutoff in np.quantile(running[side], shares).tolist():
            at: dict[str, Any] = {
                **options,
                **{name: values[side] for name, values in by_row.items()},
                "takeup": None,
                "cutoff": cutoff,
                "bandwidth": main.bandwidth,
                "bias_bandwidth": main.bias_bandwidth,
            }
            try:
                found = robust_discontinuity(outcome[side], running[side], **at)
            except ValueError:
                continue
            yield cutoff, found.estimate
