"""Does the effect change with the time since it began?"""

from collections.abc import Sequence
from math import sqrt

import numpy as np

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic, Estimate

REVIEW_P = 0.01
FEWEST = 3  # two windows have a difference, no course


def novelty(course: Sequence[Estimate]) -> Diagnostic | None:
    """The trend of the effect over equal windows since it began, by weighted least squares; None for fewer than three.

    A course that falls is a novelty that wears off, one that rises is learning: neither is a fault, but the number of
    the whole window is not the one that lasts. REVIEW at worst. The windows' errors count as independent; those of one
    unit's windows go together, which a trend leaves out, so that the test is too careful rather than too eager.
    """
    from scipy.stats import norm

    if len(course) < FEWEST:
        return None
    time, effect = np.arange(len(course), dtype=np.float64), np.array([e.value for e in course])
    weight = 1 / np.array([e.spread for e in course]) ** 2
    centred = time - weight @ time / weight.sum()
    slope = float(weight @ (centred * effect) / (weight @ centred**2))
    error = 1 / sqrt(float(weight @ centred**2))
    p = float(2 * norm.sf(abs(slope) / error))
    last = course[-1]
    return diagnostic(
        "novelty",
        below(p, review=REVIEW_P),
        p,
        f"From one of {len(course)} windows to the next the effect changes by {slope:+.4g} (SE {error:.3g}, "
        f"p = {p:.2g}), from {effect[0]:+.4g} in the first to {effect[-1]:+.4g} [{last.low:.4g}, "
        f"{last.high:.4g}] in the last.",
        "Read the last windows, not the sum, for what would stay; run longer before the effect is carried forward.",
    )
