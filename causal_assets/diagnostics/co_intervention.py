"""Did the arms differ in what else happened to them?"""

from causal_assets.diagnostics.grading import above, diagnostic, share
from causal_assets.types import Diagnostic

REVIEW_GAP = 0.05  # beyond one unit in twenty, "the effect of the treatment" includes the other treatments


def co_intervention(treated_with: int, treated: int, control_with: int, control: int) -> Diagnostic:
    """Difference between the arms in the share of units that got other treatments inside the outcome window.

    Raises:
        ValueError: an empty arm, or more units with another treatment than units.
    """
    in_treated = share(treated_with, treated, "treated")
    in_control = share(control_with, control, "control")
    gap = abs(in_treated - in_control)
    return diagnostic(
        "co_intervention",
        above(gap, review=REVIEW_GAP),
        gap,
        f"{in_treated:.0%} of the treated and {in_control:.0%} of the controls got other treatments in the window.",
        "Read the effect as that of the treatment and of what comes with it, or exclude units with other treatments.",
    )
