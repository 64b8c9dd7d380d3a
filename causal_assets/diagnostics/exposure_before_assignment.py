"""Did units meet the treatment before they were assigned to it?"""

from causal_assets.diagnostics.grading import above, diagnostic, share
from causal_assets.types import Diagnostic

# As for several arms: any is a bug to look at; above half a percent the time before is no longer before.
REVIEW_SHARE = 0.0
FAIL_SHARE = 0.005


def exposure_before_assignment(exposed: int, units: int) -> Diagnostic:
    """Share of units whose exposure is logged on a day before the day of their assignment.

    Raises:
        ValueError: no units, or more exposed ones than units.
    """
    early = share(exposed, units, "exposure_before_assignment")
    return diagnostic(
        "exposure_before_assignment",
        above(early, review=REVIEW_SHARE, fail=FAIL_SHARE),
        early,
        f"{exposed:,} of {units:,} units ({early:.2%}) were exposed before the day of their assignment.",
        "Find out whether assignment is logged late, or whether another release showed the treatment before.",
    )
