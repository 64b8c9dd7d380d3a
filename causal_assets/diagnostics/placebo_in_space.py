"""Do untreated units show gaps as large as the one that is claimed?"""

from causal_assets.diagnostics.grading import diagnostic
from causal_assets.types import Diagnostic, Estimate, Status

# A claim whose gap one untreated unit in four exceeds is about the units, not about time.
COMMON = 0.25


def placebo_in_space(found: Estimate, ranked: Estimate) -> Diagnostic:
    """Share of units, the treated included, with a gap as large for their fit; REVIEW where a claim is not extreme.

    ``found`` is the study's answer by permuting time, ``ranked`` the same effect by permuting units.

    Source: Abadie, Diamond & Hainmueller (2010), JASA 105(490).

    Raises:
        ValueError: a rank without a p-value.
    """
    if ranked.p_value is None:
        raise ValueError(f"ranked: {ranked.method} has no p-value")
    claimed = not found.low <= 0 <= found.high
    return diagnostic(
        "placebo_in_space",
        (Status.REVIEW if claimed and ranked.p_value > COMMON else Status.PASS, COMMON),
        ranked.p_value,
        f"Treated alike, {ranked.p_value:.0%} of all units show a gap as large for their fit before treatment; the "
        f"interval {'excludes' if claimed else 'holds'} no effect.",
        "Units of this kind drift by as much without treatment: use more donors or a longer history.",
    )
