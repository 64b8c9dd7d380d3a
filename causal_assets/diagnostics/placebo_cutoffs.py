"""Does the outcome jump where nothing is decided?"""

from collections.abc import Mapping

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic, Estimate

# Of all made-up cutoffs together (Bonferroni). REVIEW at most: a jump elsewhere says that this outcome jumps for other
# reasons too, not that it did at the cutoff.
REVIEW_P = 0.05


def placebo_cutoffs(jumps: Mapping[float, Estimate]) -> Diagnostic:
    """Smallest p-value of the jumps at made-up cutoffs, times their number.

    Without any, REVIEW: no side has rows enough to look.

    Raises:
        ValueError: a jump without a p-value.
    """
    if not jumps:
        return diagnostic(
            "placebo_cutoffs",
            below(0.0, review=1.0),
            0.0,
            "At no other value of the running variable are there rows enough to look for a jump.",
            "Collect rows farther from the cutoff.",
        )
    tested = [(jump.p_value, cutoff) for cutoff, jump in jumps.items() if jump.p_value is not None]
    if len(tested) < len(jumps):
        raise ValueError("jumps: each needs a p-value")
    smallest, worst = min(tested)
    p = min(1.0, smallest * len(jumps))
    return diagnostic(
        "placebo_cutoffs",
        below(p, review=REVIEW_P),
        p,
        f"At {worst:.4g}, where nothing is decided, {jumps[worst].outcome} jumps by {jumps[worst].value:+.4g} (SE "
        f"{jumps[worst].spread:.3g}), the most of {len(jumps)} such places; p = {p:.2g} for all together.",
        "Ask what else changes with the running variable in steps, and whether one of the steps is at the cutoff.",
    )
