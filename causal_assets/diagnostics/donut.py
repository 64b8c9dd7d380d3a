"""Does the answer rest on the units nearest to the cutoff, the ones that could have been moved across it?"""

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Diagnostic, Estimate

# Both estimates share most rows, so a healthy one moves by less than the larger of the two errors.
REVIEW_Z = 1.96


def donut(main: Estimate, without: Estimate, hole: float) -> Diagnostic:
    """Move of the estimate when units closer than ``hole`` to the cutoff are left out, in the larger standard error.

    REVIEW at most: leaving out the nearest units also makes the curve reach further.

    Raises:
        ValueError: a hole that is not positive.
    """
    if not hole > 0:
        raise ValueError(f"hole: expected a positive distance, got {hole}")
    move = abs(without.value - main.value) / max(without.spread, main.spread)
    return diagnostic(
        "donut",
        above(move, review=REVIEW_Z),
        move,
        f"Without units closer than {hole:g} to the cutoff the effect is {without.value:+.4g} instead of "
        f"{main.value:+.4g}, a move of {move:.1f} standard errors.",
        "Ask whether units could place themselves just across the cutoff, or whether values are rounded there.",
    )
