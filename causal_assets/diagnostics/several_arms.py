"""Units that were given more than one arm."""

from causal_assets.diagnostics.grading import above, diagnostic, share
from causal_assets.types import Diagnostic

# Any crossing is a bug to look at; above half a percent the arms are no longer the arms that were assigned.
REVIEW_SHARE = 0.0
FAIL_SHARE = 0.005


def several_arms(units_in_several: int, units: int) -> Diagnostic:
    """Share of units that appear in more than one arm.

    Raises:
        ValueError: no units, or more crossers than units.
    """
    crossed = share(units_in_several, units, "several_arms")
    return diagnostic(
        "several_arms",
        above(crossed, review=REVIEW_SHARE, fail=FAIL_SHARE),
        crossed,
        f"{units_in_several:,} of {units:,} units ({crossed:.2%}) were assigned to more than one arm.",
        "Check that assignment is keyed by the study's unit and that identities are not merged after it.",
    )
