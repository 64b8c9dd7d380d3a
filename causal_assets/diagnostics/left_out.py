"""Is the answer still about the population that was asked for?"""

from causal_assets.diagnostics.grading import above, diagnostic, share
from causal_assets.types import Diagnostic

# As for overlap: a tenth without an answer, and it is no longer about all of them.
REVIEW_SHARE = 0.1


def left_out(without_answer: int, population: int) -> Diagnostic:
    """Share of the population that was trimmed away or found no match.

    The estimand names who is left, so this asks for a look and never blocks.

    Raises:
        ValueError: nobody in the population, or more left out than it holds.
    """
    part = share(without_answer, population, "left_out")
    return diagnostic(
        "left_out",
        above(part, review=REVIEW_SHARE),
        part,
        f"{without_answer:,} of {population:,} ({part:.1%}) were trimmed or found no match; the effect is that of the "
        "others.",
        "Say whom the answer is about, or ask for the population where both arms occur (ATO).",
    )
