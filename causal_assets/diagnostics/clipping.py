"""How much of the answer does the bound on the propensity decide?"""

from causal_assets.diagnostics.grading import above, diagnostic, share
from causal_assets.types import Diagnostic

# One row in twenty: beyond, moving the bound moves the answer, and no data say where it should be.
REVIEW_SHARE = 0.05


def clipping(clipped: int, rows: int, low: float, high: float) -> Diagnostic:
    """Share of rows whose propensity met one of its bounds ``low`` and ``high``.

    Raises:
        ValueError: no rows, or more clipped than there are.
    """
    part = share(clipped, rows, "clipping")
    return diagnostic(
        "clipping",
        above(part, review=REVIEW_SHARE),
        part,
        f"{clipped:,} of {rows:,} rows ({part:.1%}) have a propensity at the bounds {low:g} and {high:g}.",
        "Trim them (trim), narrow the population, or answer for where both arms occur (ATO).",
    )
