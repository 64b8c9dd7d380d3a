"""Was the study written before its outcomes existed?"""

from datetime import datetime, timedelta

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Diagnostic


def retrospective(registered_at: datetime, outcomes_since: datetime) -> Diagnostic:
    """Days from the first outcome to registration; later than the first outcome is REVIEW.

    Both times with a zone, or both without.
    """
    days = (registered_at - outcomes_since) / timedelta(days=1)
    when = f"{abs(days):,.0f} days {'after' if days > 0 else 'before'} its first outcome"
    meaning = "its choices could have been made knowing the answer" if days > 0 else "its choices were made blind"
    return diagnostic(
        "retrospective",
        above(days, review=0.0),
        days,
        f"The study was registered {when}: {meaning}.",
        "Read it as exploration: confirm it on outcomes that do not exist yet.",
    )
