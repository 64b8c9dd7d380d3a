"""Could the hours before treatment, on the day of treatment, count as outcome?"""

from causal_assets.diagnostics.grading import above, diagnostic, share
from causal_assets.types import Diagnostic

NONE = 0.0  # one unit chosen for what it did that morning is enough to ask


def clean_start(treated_in_the_day: int, treated: int) -> Diagnostic:
    """Share of treated units treated after the day of time zero had begun, though the whole day counts as outcome.

    Raises:
        ValueError: no treated unit, or more than there are.
    """
    late = share(treated_in_the_day, treated, "clean_start")
    return diagnostic(
        "clean_start",
        above(late, review=NONE),
        late,
        f"{treated_in_the_day:,} of {treated:,} treated units were treated during the day of time zero, whose first "
        "hours count as outcome.",
        "Find out whether units were chosen for what they did that day: then their reason is in the outcome.",
    )
