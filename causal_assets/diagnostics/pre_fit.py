"""Did the synthetic series follow the treated one before the treatment?"""

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.diagnostics.grading import diagnostic
from causal_assets.types import Diagnostic, Status

# Missed by twice as much as a usual untreated unit is by the others: the treated are not among their like.
POOR = 2.0
# A fit this close has matched the noise too, as happens with more donors than periods; it promises nothing after.
EXACT = 1e-4


def pre_fit(rmspe: float, placebo_rmspe: ArrayLike, *, scaled_l2: float, effect: float) -> Diagnostic:
    """Usual gap before treatment (RMSPE) of the treated over the median of that of placebo units; REVIEW at most.

    ``scaled_l2`` is the imbalance left as a share of that of equal weights. It is told but not judged: where units
    differ by noise alone no weights beat equal ones, and nothing is wrong.

    Raises:
        ValueError: a negative number, or no placebo unit.
    """
    others = np.asarray(placebo_rmspe, dtype=np.float64)
    if others.size == 0 or min(rmspe, scaled_l2, others.min()) < 0:
        raise ValueError(f"rmspe, placebo_rmspe, scaled_l2: expected numbers of 0 or more, got {rmspe}, {scaled_l2}")
    usual = float(np.median(others))
    ratio = rmspe / usual if usual else float("inf") if rmspe else 1.0
    exact = scaled_l2 < EXACT
    return diagnostic(
        "pre_fit",
        (Status.REVIEW if exact or ratio > POOR else Status.PASS, POOR),
        ratio,
        f"Before treatment a usual gap is {rmspe:.3g}, {ratio:.1f} times that of untreated units treated alike; the "
        f"weights leave {scaled_l2:.1%} of the imbalance of equal weights. The effect is {effect:+.3g}.",
        "The fit is exact, noise included: use fewer donors or more periods."
        if exact
        else "Demean the series, add donors that move like the treated, or use longer periods before treatment.",
    )
