"""Does the running variable take enough values near the cutoff?"""

from collections.abc import Sequence

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic, Status

# Fewer distinct values on a side than this and the curve there is drawn through a handful of points.
REVIEW_DISTINCT = 10


def mass_points(distinct: tuple[int, int], rows: tuple[int, int], warnings: Sequence[str] = ()) -> Diagnostic:
    """Distinct running values within the bandwidth (below, above the cutoff); anything the fit warned of is REVIEW.

    Source: Kolesar & Rothe (2018), Inference in regression discontinuity designs with a discrete running variable,
    AER 108(8).

    Raises:
        ValueError: more distinct values than rows, or none.
    """
    if min(distinct) < 1 or any(d > n for d, n in zip(distinct, rows, strict=True)):
        raise ValueError(f"distinct: expected 1 to the number of rows {rows}, got {distinct}")
    fewest = min(distinct)
    graded = below(fewest, review=REVIEW_DISTINCT)
    said = f" The fit warned: {' '.join(warnings)}" if warnings else ""
    return diagnostic(
        "mass_points",
        (Status.REVIEW, graded[1]) if warnings else graded,
        fewest,
        f"Within the bandwidth {rows[0]:,} rows below the cutoff share {distinct[0]:,} values of the running variable, "
        f"{rows[1]:,} above share {distinct[1]:,}.{said}",
        "Cluster errors on the running variable's values, or record it on a finer scale.",
    )
