"""Has every unit had its whole outcome window?"""

from causal_assets.diagnostics.grading import below, diagnostic, share
from causal_assets.types import Diagnostic

COMPLETE = 1.0  # an unfinished window holds part of an outcome, which is another outcome


def maturity(matured: int, units: int, days_left: int) -> Diagnostic:
    """Share of units whose outcome window has passed; ``days_left`` until the last one has.

    Raises:
        ValueError: no units, or more matured units than units.
    """
    passed = share(matured, units, "maturity")
    return diagnostic(
        "maturity",
        below(passed, review=COMPLETE),
        passed,
        f"The outcome window has passed for {matured:,} of {units:,} units ({passed:.1%}); {days_left} days are left.",
        f"Keep the study running for {days_left} more days before deciding.",
    )
