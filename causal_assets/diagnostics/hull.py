"""Do the donors surround the treated unit before treatment?"""

from causal_assets.diagnostics.grading import above, diagnostic, share
from causal_assets.types import Diagnostic

# Noise takes a unit like its donors outside their range now and then; one that is there a quarter of the time is
# matched by extrapolation.
REVIEW_SHARE = 0.25


def hull(outside: int, periods: int) -> Diagnostic:
    """Share of the periods before treatment in which the treated lie outside the range of all donors.

    No weights that are positive and sum to one reach such a period.

    Source: Abadie (2021), Using synthetic controls, JEL 59(2), sec. 4.

    Raises:
        ValueError: no period, or more outside than there are.
    """
    part = share(outside, periods, "hull")
    return diagnostic(
        "hull",
        above(part, review=REVIEW_SHARE),
        part,
        f"In {outside} of {periods} periods before treatment the treated lie above or below every donor.",
        "Demean the series, use shares or growth instead of levels, or add donors of that size.",
    )
