"""Does the sign hang on the method of adjustment?"""

from collections.abc import Sequence

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Diagnostic, Estimate


def _sign(estimate: Estimate) -> int:
    """Sign of an effect that can be told from zero, else 0."""
    return (estimate.low > 0) - (estimate.high < 0)


def sign_stability(primary: Estimate, others: Sequence[Estimate]) -> Diagnostic | None:
    """Number of other methods for the same population that contradict the answer; None where there is no other.

    Two methods contradict each other if their estimates have opposite signs and one of them excludes zero. They share
    data and confounders, so agreement proves little and this never blocks.
    """
    if not others:
        return None
    against = [e for e in others if primary.value * e.value < 0 and (_sign(primary) != 0 or _sign(e) != 0)]
    said = "; ".join(f"{e.method} {e.value:+.4g} [{e.low:.4g}, {e.high:.4g}]" for e in against)
    return diagnostic(
        "sign_stability",
        above(len(against), review=0.0),
        len(against),
        f"Of {len(others)} other methods of adjustment {len(against)} contradict the sign of {primary.value:+.4g}"
        + (f": {said}." if against else "."),
        "Find out which model is wrong (balance, overlap) before believing either sign.",
    )
