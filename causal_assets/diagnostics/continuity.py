"""Do things fixed before treatment jump at the cutoff too?"""

from collections.abc import Sequence

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.diagnostics.manipulation import FAIL_P, REVIEW_P
from causal_assets.types import Diagnostic, Estimate


def continuity(jumps: Sequence[Estimate]) -> Diagnostic:
    """Smallest p-value of the jumps of covariates at the cutoff, times their number (Bonferroni).

    Without any covariate, REVIEW: nothing shows that units on both sides were alike.

    Source: Lee (2008), Randomized experiments from non-random selection in U.S. House elections, J. Econometrics 142.

    Raises:
        ValueError: a jump without a p-value.
    """
    if not jumps:
        return diagnostic(
            "continuity",
            below(0.0, review=1.0),
            0.0,
            "No covariate is named, so nothing shows that units just above and just below the cutoff were alike.",
            "Name what was known of the units before the cutoff was applied.",
        )
    tested = [(jump.p_value, jump) for jump in jumps if jump.p_value is not None]
    if len(tested) < len(jumps):
        raise ValueError("jumps: each needs a p-value")
    smallest, worst = min(tested, key=lambda pair: pair[0])
    p = min(1.0, smallest * len(jumps))
    return diagnostic(
        "continuity",
        below(p, review=REVIEW_P, fail=FAIL_P),
        p,
        f"At the cutoff {worst.outcome}, fixed before treatment, jumps by {worst.value:+.4g} "
        f"(SE {worst.spread:.3g}), the most of {len(jumps)}; p = {p:.2g} for all together.",
        "Find what else changes at the cutoff, or who sorted around it; adjusting for it is no repair.",
    )
