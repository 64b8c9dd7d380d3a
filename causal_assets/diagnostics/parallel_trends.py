"""Would the claim survive if treated and controls had not moved alike?"""

from causal_assets.diagnostics.grading import diagnostic
from causal_assets.types import Diagnostic, Status

# A claim that half the largest drift seen before adoption would undo is none.
FRAGILE = 0.5
# Chance alone rejects the pre-test this often where a FAIL may follow, and this often where a REVIEW may.
REJECTED, DOUBTFUL = 0.01, 0.05
POWER = 0.8  # the field's convention


def parallel_trends(*, p_value: float, power: float, breakdown: float, bend: float, claimed: bool) -> Diagnostic:
    """The arguments are the fields of ``estimators.parallel_trends.PreTrend``; value is the breakdown Mbar.

    FAIL needs both a claim that breaks down below Mbar 0.5 and a pre-test that rejects at 1%: where nothing but noise
    makes the claim fragile, it is for review. A pre-test that does not reject proves nothing unless it had 80% power
    against a trend worth half the estimate (Roth 2022), so without that power it is for review as well.
    """
    fragile = claimed and breakdown < FRAGILE
    doubtful = fragile or p_value < DOUBTFUL or power < POWER
    status = Status.FAIL if fragile and p_value < REJECTED else Status.REVIEW if doubtful else Status.PASS
    claim = (
        f"The effect's interval excludes the threshold up to {breakdown:.2g} times the largest drift before adoption, "
        f"and while the drift's slope changes by less than {bend:.2g} a period"
        if claimed
        else "The effect's interval does not exclude the threshold even if trends are parallel"
    )
    return diagnostic(
        "parallel_trends",
        (status, FRAGILE),
        breakdown,
        f"{claim}; that all drifts before adoption are zero has p = {p_value:.2g}, and the test sees a trend worth "
        f"half the estimate in {power:.0%} of cases.",
        "Look for what drove the arms apart before adoption, compare with units that moved alike, or randomise.",
    )


def untestable(reason: str) -> Diagnostic:
    """Parallel trends where nothing before adoption can speak for or against them: for review, with the reason."""
    return diagnostic(
        "parallel_trends",
        (Status.REVIEW, FRAGILE),
        0.0,
        f"Whether treated and controls moved alike before adoption could not be judged: {reason}.",
        "Add periods before adoption, or argue from elsewhere why both would have moved alike.",
    )
