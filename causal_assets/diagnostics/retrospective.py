"""Was the study written before its outcomes existed?"""

from datetime import datetime, timedelta
from math import ceil, inf

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Diagnostic


def retrospective(registered_at: datetime, outcomes_since: datetime | None) -> Diagnostic:
    """Whole days from the first outcome to registration; later than that outcome, or unknown (None), is REVIEW.

    Both times with a zone, or both without.
    """
    if outcomes_since is None:
        return diagnostic(
            "retrospective",
            above(inf, review=0.0),
            inf,
            "The protocol does not say on which day its outcomes begin, so they may have been known at registration.",
            "State the first day of the outcomes; if it has passed, read the study as exploration.",
        )
    days = ceil((registered_at - outcomes_since) / timedelta(days=1))  # a day begun after the outcome counts
    when = f"{abs(days):,.0f} days {'after' if days > 0 else 'before'} its first outcome"
    meaning = "its choices could have been made knowing the answer" if days > 0 else "its choices were made blind"
    return diagnostic(
        "retrospective",
        above(days, review=0.0),
        days,
        f"The study was registered {when}: {meaning}.",
        "Read it as exploration: confirm it on outcomes that do not exist yet.",
    )
