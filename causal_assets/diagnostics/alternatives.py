"""Which other answers to the same question do the data refuse?"""

from collections.abc import Mapping

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Diagnostic


def alternatives(refused: Mapping[str, str]) -> Diagnostic:
    """Alternatives without an answer, each with its reason; value is their number, and one already asks for a look.

    What an alternative would have shown is then not known, which is no evidence for the study's own answer.
    """
    told = "; ".join(f"{method}: {reason}" for method, reason in refused.items())
    return diagnostic(
        "alternatives",
        above(len(refused), review=0),
        len(refused),
        f"Without an answer: {told}." if refused else "Every alternative to the study's own answer has one.",
        "Read the reason: more periods, clusters or untreated units may be needed, or another design.",
    )
