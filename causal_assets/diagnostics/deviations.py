"""Was the protocol changed after its outcomes had been seen?"""

from collections.abc import Sequence

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Deviation, Diagnostic

MOST_NAMED = 5  # fields a sentence can list


def deviations(found: Sequence[Deviation]) -> Diagnostic:
    """Fields that a stage reads and that were changed after outcomes had been read; one is enough for REVIEW."""
    late = list(dict.fromkeys(deviation.field for deviation in found if deviation.explores))
    named = ", ".join(late[:MOST_NAMED]) + (" and others" if len(late) > MOST_NAMED else "")
    return diagnostic(
        "deviations",
        above(len(late), review=0),
        len(late),
        f"The protocol was changed after its outcomes had been read: {named}."
        if late
        else "Nothing that the analysis reads was changed after its outcomes had been read.",
        "Read it as exploration: register the changed protocol for outcomes that nobody has seen, and run it on those.",
    )
